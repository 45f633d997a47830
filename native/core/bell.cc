#include "core/bell.h"

#if !defined(_WIN32)

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>

#include "core/fd_passing.h"
#include "core/plain_posix.h"

namespace mp::core {
namespace {

#if defined(MP_LINUX)

// Both ends in one. Invalid: this system does not show descriptors.
UniqueFd BothEnds(int end) {
  char path[32];
  std::snprintf(path, sizeof(path), "/proc/self/fd/%d", end);
  UniqueFd both(RetryOnSignal([&] { return open(path, O_RDWR | O_CLOEXEC | O_NONBLOCK); }));
  // A page instead of sixteen: a byte is all that is ever written.
  if (both.valid()) (void)fcntl(both.get(), F_SETPIPE_SZ, 4096);
  return both;
}

#else

UniqueFd BothEnds(int) { return UniqueFd(); }

#endif

Result<FileIdentity> IdentityOf(int fd) {
  struct stat status;
  if (fstat(fd, &status) != 0) return LastError("fstat");
  if (!S_ISFIFO(status.st_mode)) return OsError{EPROTO, "attach"};
  return FileIdentity{static_cast<uint64_t>(status.st_dev), static_cast<uint64_t>(status.st_ino)};
}

Result<void> CheckIsPipe(int fd, const FileIdentity& identity) {
  const auto found = IdentityOf(fd);
  if (!found.ok()) return found.error();
  if (found.value().device != identity.device || found.value().inode != identity.inode) {
    return OsError{EPROTO, "attach"};
  }
  return SetBlocking(fd, false);
}

// To macOS the two ends of a pipe are two files: this one is known by what it can do only.
Result<void> CheckIsWritingEnd(int fd) {
  const auto found = IdentityOf(fd);
  if (!found.ok()) return found.error();
  const int flags = fcntl(fd, F_GETFL);
  if (flags < 0 || (flags & O_ACCMODE) != O_WRONLY) return OsError{EPROTO, "attach"};
  return SetBlocking(fd, false);
}

}  // namespace

Result<Bell> Bell::Create() {
  auto pipe = MakePipe(true);
  if (!pipe.ok()) return pipe.error();
  Bell bell;
  bell.read_ = BothEnds(pipe.value().first.get());
  if (bell.read_.valid()) return bell;
  for (const UniqueFd* end : {&pipe.value().first, &pipe.value().second}) {
    const auto set = SetBlocking(end->get(), false);
    if (!set.ok()) return set.error();
  }
  bell.read_ = std::move(pipe.value().first);
  bell.write_ = std::move(pipe.value().second);
  return bell;
}

Result<Bell> Bell::Attach(UniqueFd read, UniqueFd write, const FileIdentity& identity) {
  auto checked = CheckIsPipe(read.get(), identity);
  if (checked.ok() && write.valid()) checked = CheckIsWritingEnd(write.get());
  if (!checked.ok()) return checked.error();
  Bell bell;
  bell.read_ = std::move(read);
  bell.write_ = std::move(write);
  return bell;
}

Result<FileIdentity> Bell::Identity() const { return IdentityOf(read_.get()); }

Bell Bell::AtSocket(int fd) {
  Bell bell;
  bell.socket_ = fd;
  return bell;
}

void Bell::Ring() const {
  if (socket_ < 0) {
    RingOwn();
    return;
  }
  // A socket that is full is readable: it rings already.
  if (!MaySendNow(socket_)) return;
  (void)RetryOnSignal([&] { return send(socket_, &kRing, 1, MSG_DONTWAIT | kNoSignal); });
}

void Bell::RingOwn() const {
  const char one = 1;
  (void)RetryOnSignal([&] { return write(ringer(), &one, 1); });
}

void Bell::Reset() const {
  char bytes[512];
  while (RetryOnSignal([&] { return read(read_.get(), bytes, sizeof(bytes)); }) > 0) {
  }
}

}  // namespace mp::core

#endif  // !_WIN32
