// A descriptor that is readable from the moment it was rung until it is reset: what event loops and poll() wait for.
// Linux: an eventfd; elsewhere a pipe. Shared with forked children, as descriptors are. Or the other end of a
// connected socket: then ringing is a byte of its own kind, which is the other end's to take (pipe.h).
#ifndef MP_CORE_BELL_H_
#define MP_CORE_BELL_H_

#include "core/fd.h"
#include "core/result.h"

namespace mp::core {

class Bell {
 public:
  static Result<Bell> Create();
  // Rings at the other end of a socket that is somebody else's to close.
  static Bell AtSocket(int fd);
  // What arrives there.
  static constexpr unsigned char kRing = 0xbe;

  // What to poll; not of a socket's.
  int fd() const { return read_.get(); }
  // Never blocks; a bell that rings already goes on ringing.
  void Ring() const;
  void Reset() const;
  void Close();

 private:
  void RingOwn() const;

  UniqueFd read_;
  UniqueFd write_;  // of the pipe
  int socket_ = -1;
};

}  // namespace mp::core

#endif  // MP_CORE_BELL_H_
