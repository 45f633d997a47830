// A descriptor that is readable from the moment it was rung until it is reset: what event loops and poll() wait for.
// A pipe, which a process that is no fork can open through /proc, as it could not an eventfd; on Linux one descriptor
// that is both ends of it. Shared with forked children, as descriptors are. Or the other end of a connected socket: then
// ringing is a byte of its own kind, which is the other end's to take (pipe.h).
#ifndef MP_CORE_BELL_H_
#define MP_CORE_BELL_H_

#include "core/fd.h"
#include "core/result.h"
#include "core/shared_memory.h"

namespace mp::core {

class Bell {
 public:
  static Result<Bell> Create();
  // One that another process has created, by its descriptors; `write` is invalid where one is both ends. EPROTO: the
  // reading end is not that of the pipe of that identity, or the other one is none to write to.
  static Result<Bell> Attach(UniqueFd read, UniqueFd write, const FileIdentity& identity);
  // Rings at the other end of a socket that is somebody else's to close.
  static Bell AtSocket(int fd);
  // What arrives there.
  static constexpr unsigned char kRing = 0xbe;

  // What to poll; not of a socket's.
  int fd() const { return read_.get(); }
  // What to ring it by, -1 where it is the same.
  int write_fd() const { return write_.get(); }
  // Which pipe it is, while it is open anywhere: which file its reading end is.
  Result<FileIdentity> Identity() const;
  // Never blocks; a bell that rings already goes on ringing.
  void Ring() const;
  void Reset() const;

 private:
  int ringer() const { return write_.valid() ? write_.get() : read_.get(); }
  void RingOwn() const;

  UniqueFd read_;
  UniqueFd write_;
  int socket_ = -1;
#if defined(_WIN32)
  FileIdentity identity_{};
#endif
};

}  // namespace mp::core

#endif  // MP_CORE_BELL_H_
