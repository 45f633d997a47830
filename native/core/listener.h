// Asynchronous waits: one thread per segment and process, which sleeps on the segment's doorbell and tells which
// of the watched words are worth another try. Waiting costs an entry in a list, not a thread.
//
// The thread starts with the first wait, sleeps without a limit while there is none, and while there are some
// looks at least once a slice, so that a process that died before it rang is no matter. It ends with its
// Listener, on its own time. A fork does not copy it: the child of a fork makes a Listener of its own and never
// touches the copied one.
#ifndef MP_CORE_LISTENER_H_
#define MP_CORE_LISTENER_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "core/segment.h"

namespace mp::core {

enum class WatchFor : uint32_t {
  kLock = 0,       // free, or its owner has died
  kSemaphore = 1,  // above 0
  kChange = 2,     // not `expected` any more
};

class Listener {
 public:
  // `notify` is called on the thread, as long as the Listener lives, when TakeReady() has something to give.
  Listener(std::shared_ptr<Segment> segment, std::function<void()> notify);
  ~Listener();
  Listener(const Listener&) = delete;
  Listener& operator=(const Listener&) = delete;

  // Reported once, and removed by that.
  void Watch(uint32_t id, uint32_t index, WatchFor what, uint32_t expected);
  void Forget(uint32_t id);
  std::vector<uint32_t> TakeReady();

  struct State;

 private:
  std::shared_ptr<State> state_;
};

}  // namespace mp::core

#endif  // MP_CORE_LISTENER_H_
