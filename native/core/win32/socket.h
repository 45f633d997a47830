// What pipe.cc asks of a socket, by the names that it has there, of a stream.
#ifndef MP_CORE_WIN32_SOCKET_H_
#define MP_CORE_WIN32_SOCKET_H_

#include <cerrno>
#include <cstddef>

#include "core/win32/handles.h"
#include "core/win32/streams.h"

namespace mp::core {

using ssize_t = ptrdiff_t;

struct pollfd {
  int fd;
  short events;
  short revents;
};

constexpr int SOCK_STREAM = 1;
constexpr int MSG_PEEK = 2;
constexpr int MSG_DONTWAIT = 0x40;
constexpr int MSG_CTRUNC = 8;
constexpr short POLLIN = kPollIn;
constexpr short POLLERR = 8;
constexpr short POLLHUP = kPollHangUp;
constexpr short POLLNVAL = kPollInvalid;
constexpr int F_GETFD = 1;

// For the hanging up alone.
inline int poll(pollfd* slot, int, int) {
  slot->revents = LookAtStream(HandleOf(slot->fd)).hung_up ? POLLHUP : short{0};
  return slot->revents != 0 ? 1 : 0;
}

inline int fcntl(int fd, int) {
  DWORD flags = 0;
  if (IsHandle(fd) && GetHandleInformation(HandleOf(fd), &flags)) return 0;
  errno = EBADF;
  return -1;
}

inline ssize_t recv(int fd, void* data, size_t size, int flags) {
  const HANDLE stream = HandleOf(fd);
  if ((flags & MSG_PEEK) != 0) {
    const size_t got = PeekStream(stream, data, size);
    if (got > 0) return static_cast<ssize_t>(got);
    if (LookAtStream(stream).hung_up) return 0;
    errno = EAGAIN;
    return -1;
  }
  const auto got = ReadStream(stream, data, size);
  if (got.ok()) return static_cast<ssize_t>(got.value());
  errno = got.error().errnum;
  return -1;
}

inline void sched_yield() { SwitchToThread(); }

}  // namespace mp::core

#endif  // MP_CORE_WIN32_SOCKET_H_
