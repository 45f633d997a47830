// Readiness by epoll.

#include "core/plain_posix.h"
#include "core/readiness.h"

#if defined(MP_LINUX)

#include <sys/epoll.h>

#include <cerrno>

namespace mp::core {

namespace {

constexpr int kAtOnce = 16;

}  // namespace

Result<Readiness> Readiness::Create() {
  const int set = epoll_create1(EPOLL_CLOEXEC);
  if (set < 0) return LastError("epoll_create1");
  return Readiness(UniqueFd(set));
}

Result<void> Readiness::Add(int fd, bool read, bool write) {
  epoll_event event{};
  event.events = EPOLLONESHOT | (read ? EPOLLIN | EPOLLRDHUP : 0U) | (write ? EPOLLOUT : 0U);
  event.data.fd = fd;
  if (epoll_ctl(set_.get(), EPOLL_CTL_MOD, fd, &event) == 0) return {};
  if (errno == ENOENT && epoll_ctl(set_.get(), EPOLL_CTL_ADD, fd, &event) == 0) return {};
  return LastError("epoll_ctl");
}

void Readiness::Remove(int fd) { epoll_ctl(set_.get(), EPOLL_CTL_DEL, fd, nullptr); }

bool Readiness::Drain() {
  epoll_event events[kAtOnce];
  bool any = false;
  for (int count = kAtOnce; count == kAtOnce;) {
    count = RetryOnSignal([&] { return epoll_wait(set_.get(), events, kAtOnce, 0); });
    any |= count > 0;
  }
  return any;
}

}  // namespace mp::core

#endif
