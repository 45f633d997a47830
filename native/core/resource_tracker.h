// This process's end of the pipe to the resource tracker (native/tracker/).
//
// All threads of a process have one, and so have its forked children, which inherit it; what is sent and when the tracker
// is started is src/resource_tracker.ts's to decide. The descriptor keeps its number for as long as the process lives,
// whatever pipe it is: whoever writes to it meanwhile does not write to somebody else's file.
#ifndef MP_CORE_RESOURCE_TRACKER_H_
#define MP_CORE_RESOURCE_TRACKER_H_

#include <climits>
#include <cstddef>
#include <cstdint>
#include <string>

#include "core/clock.h"
#include "core/fd.h"
#include "core/result.h"

namespace mp::core {

struct TrackerLink {
  int fd;               // -1: there is no tracker yet
  uint32_t generation;  // changes whenever there is another tracker
};

TrackerLink CurrentTracker();

// Makes `fd` the way to the tracker, unless another thread has replaced it since `generation`: then the answer is false.
// From here on it does not block. EMFILE.
Result<bool> ReplaceTracker(uint32_t generation, UniqueFd fd);

// Nothing is to be said any more.
void CloseTracker();

enum class Told {
  kTaken = 0,
  kFull = 1,  // until the deadline; nothing was sent
  kLost = 2,  // the tracker has ended, or the program has closed the descriptor
  kNone = 3,
};

// What is written to a pipe as a whole or not at all.
#if defined(PIPE_BUF)
constexpr size_t kLongestTold = PIPE_BUF;
#else
constexpr size_t kLongestTold = 512;
#endif

// A message of at most kLongestTold bytes.
Told TellTracker(const void* message, size_t size, const Deadline& deadline);

// The file that this code was loaded from. ENOSYS, ENOENT.
Result<std::string> OwnFile();

}  // namespace mp::core

#endif  // MP_CORE_RESOURCE_TRACKER_H_
