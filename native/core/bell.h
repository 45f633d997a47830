// A descriptor that is readable from the moment it was rung until it is reset: what event loops and poll() wait for.
// Linux: an eventfd; elsewhere a pipe. Shared with forked children, as descriptors are.
#ifndef MP_CORE_BELL_H_
#define MP_CORE_BELL_H_

#include "core/fd.h"
#include "core/result.h"

namespace mp::core {

class Bell {
 public:
  static Result<Bell> Create();

  // What to poll.
  int fd() const { return read_.get(); }
  // Never blocks; a bell that rings already goes on ringing.
  void Ring() const;
  void Reset() const;
  void Close();

 private:
  UniqueFd read_;
  UniqueFd write_;  // of the pipe
};

}  // namespace mp::core

#endif  // MP_CORE_BELL_H_
