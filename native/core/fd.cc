#if !defined(_WIN32)

#include "core/fd.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <climits>

#include "core/plain_posix.h"

namespace mp::core {

namespace {

// The most that Linux moves in one read or write; macOS refuses more than INT_MAX with EINVAL.
constexpr size_t kMaxTransfer = 0x7ffff000;

// FIOCLEX and FIONCLEX take one call where fcntl needs two, and cannot disturb another flag.
Result<void> SetCloexec(int fd, bool cloexec) {
  if (ioctl(fd, cloexec ? FIOCLEX : FIONCLEX) == 0) return {};
  // ENOTTY and EACCES come from descriptors without ioctls (O_PATH, some sandboxes): the long way
  // then.
  const int flags = fcntl(fd, F_GETFD);
  if (flags < 0) return LastError("fcntl");
  const int wanted = cloexec ? flags | FD_CLOEXEC : flags & ~FD_CLOEXEC;
  if (fcntl(fd, F_SETFD, wanted) < 0) return LastError("fcntl");
  return {};
}

#if defined(MP_PLAIN_POSIX)

// macOS can make neither a pipe nor a socket pair that is close-on-exec from birth. Between the two
// calls another thread's exec may inherit the pair; Python has the same gap there.
Result<FdPair> OwnPair(const int (&fds)[2], bool cloexec) {
  FdPair pair{UniqueFd(fds[0]), UniqueFd(fds[1])};
  for (const int fd : fds) {
    const auto done = SetCloexec(fd, cloexec);
    if (!done.ok()) return done.error();
  }
  return pair;
}

#endif

Result<void> WaitUntilWritable(int fd) {
  PollSlot slot{fd, POLLOUT, 0};
  const auto ready = PollFds(&slot, 1, Deadline::Never());
  if (!ready.ok()) return ready.error();
  return {};
}

// macOS tells nothing, not even of the end, who asks for nothing.
short Heard(int events) {
#if defined(MP_PLAIN_POSIX)
  if (events == 0) return POLLHUP;
#endif
  return static_cast<short>(events);
}

int PollOnce(std::vector<pollfd>& fds, const Deadline& deadline) {
#if defined(MP_LINUX)
  if (deadline.never()) return ppoll(fds.data(), fds.size(), nullptr, nullptr);
  const timespec rest = ToTimespec(deadline.RemainingNs());
  return ppoll(fds.data(), fds.size(), &rest, nullptr);
#else
  return poll(fds.data(), static_cast<nfds_t>(fds.size()), deadline.RemainingPollMs());
#endif
}

}  // namespace

void UniqueFd::Reset(int fd) {
  const int old = std::exchange(fd_, fd);
  if (old < 0) return;
  const int saved = errno;
  close(old);
  errno = saved;
}

Result<FdPair> MakePipe(bool cloexec) {
  int fds[2];
#if defined(MP_PLAIN_POSIX)
  if (pipe(fds) != 0) return LastError("pipe");
  return OwnPair(fds, cloexec);
#else
  if (pipe2(fds, cloexec ? O_CLOEXEC : 0) != 0) return LastError("pipe");
  return FdPair{UniqueFd(fds[0]), UniqueFd(fds[1])};
#endif
}

Result<FdPair> MakeSocketPair(int type, bool cloexec) {
  int fds[2];
#if defined(MP_PLAIN_POSIX)
  if (socketpair(AF_UNIX, type, 0, fds) != 0) return LastError("socketpair");
#if defined(SO_NOSIGPIPE)
  // In place of MSG_NOSIGNAL, for all who will have the socket.
  const int on = 1;
  for (const int fd : fds) setsockopt(fd, SOL_SOCKET, SO_NOSIGPIPE, &on, sizeof(on));
#endif
  return OwnPair(fds, cloexec);
#else
  if (socketpair(AF_UNIX, type | (cloexec ? SOCK_CLOEXEC : 0), 0, fds) != 0)
    return LastError("socketpair");
  return FdPair{UniqueFd(fds[0]), UniqueFd(fds[1])};
#endif
}

#if defined(MP_PLAIN_POSIX)

Result<UniqueFd> MakeMemoryFile(const char*) { return OsError{ENOSYS, "memfd_create"}; }

Result<void> FreezeMemoryFile(int) { return OsError{ENOSYS, "fcntl"}; }

#else

Result<UniqueFd> MakeMemoryFile(const char* name) {
  UniqueFd fd(memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!fd.valid()) return LastError("memfd_create");
  return fd;
}

Result<void> FreezeMemoryFile(int fd) {
  constexpr int kSeals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL;
  if (fcntl(fd, F_ADD_SEALS, kSeals) < 0) return LastError("fcntl");
  return {};
}

#endif

Result<size_t> ReadSome(int fd, void* data, size_t size) {
  const auto got = RetryOnSignal([&] { return read(fd, data, std::min(size, kMaxTransfer)); });
  if (got < 0) return LastError("read");
  return static_cast<size_t>(got);
}

Result<size_t> WriteSome(int fd, const void* data, size_t size) {
  const auto written = RetryOnSignal([&] { return write(fd, data, std::min(size, kMaxTransfer)); });
  if (written < 0) return LastError("write");
  return static_cast<size_t>(written);
}

Result<void> WriteAll(int fd, const void* data, size_t size) {
  auto next = static_cast<const char*>(data);
  while (size > 0) {
    const auto written = WriteSome(fd, next, size);
    if (written.ok()) {
      next += written.value();
      size -= written.value();
      continue;
    }
    if (written.error().errnum != EAGAIN && written.error().errnum != EWOULDBLOCK)
      return written.error();
    const auto waited = WaitUntilWritable(fd);
    if (!waited.ok()) return waited.error();
  }
  return {};
}

Result<void> CloseFd(int fd) {
  if (close(fd) != 0 && errno != EINTR) return LastError("close");
  return {};
}

Result<UniqueFd> Duplicate(int fd) {
  const int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
  if (copy < 0) return LastError("dup");
  return UniqueFd(copy);
}

Result<void> DuplicateOnto(int fd, int target, bool inheritable) {
  if (inheritable) {
    if (dup2(fd, target) < 0) return LastError("dup2");
    return {};
  }
#if defined(MP_PLAIN_POSIX)
  if (fd == target) return OsError{EINVAL, "dup2"};  // as dup3 has it
  if (dup2(fd, target) < 0) return LastError("dup2");
  return SetCloexec(target, true);
#else
  if (dup3(fd, target, O_CLOEXEC) < 0) return LastError("dup2");
  return {};
#endif
}

Result<void> SetInheritable(int fd, bool inheritable) { return SetCloexec(fd, !inheritable); }

Result<bool> GetInheritable(int fd) {
  const int flags = fcntl(fd, F_GETFD);
  if (flags < 0) return LastError("fcntl");
  return (flags & FD_CLOEXEC) == 0;
}

Result<void> SetBlocking(int fd, bool blocking) {
  const int flags = fcntl(fd, F_GETFL);
  if (flags < 0) return LastError("fcntl");
  const int wanted = blocking ? flags & ~O_NONBLOCK : flags | O_NONBLOCK;
  if (wanted != flags && fcntl(fd, F_SETFL, wanted) < 0) return LastError("fcntl");
  return {};
}

Result<bool> GetBlocking(int fd) {
  const int flags = fcntl(fd, F_GETFL);
  if (flags < 0) return LastError("fcntl");
  return (flags & O_NONBLOCK) == 0;
}

bool IsTty(int fd) { return isatty(fd) == 1; }

Result<int> PollFds(PollSlot* slots, size_t count, const Deadline& deadline) {
  std::vector<pollfd> fds(count);
  for (size_t i = 0; i < count; ++i) fds[i] = pollfd{slots[i].fd, Heard(slots[i].events), 0};
  int ready = 0;
  do {
    ready = RetryOnSignal([&] { return PollOnce(fds, deadline); });
    // poll() counts in an int of milliseconds, so a very long wait may end before its deadline.
  } while (ready == 0 && !deadline.passed());
  if (ready < 0) return LastError("poll");
  for (size_t i = 0; i < count; ++i) slots[i].revents = fds[i].revents;
  return ready;
}

Result<bool> WaitUntilReady(int fd, bool writing, const Deadline& deadline) {
  const int flags = fcntl(fd, F_GETFL);
  if (flags < 0 || (flags & O_NONBLOCK) != 0) return true;
  if ((flags & O_ACCMODE) == (writing ? O_RDONLY : O_WRONLY)) return true;
  PollSlot slot{fd, writing ? POLLOUT : POLLIN, 0};
  const auto ready = PollFds(&slot, 1, deadline);
  if (!ready.ok()) return ready.error();
  return ready.value() > 0;
}

}  // namespace mp::core

#endif
