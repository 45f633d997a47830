#if !defined(_WIN32)

#include "core/readiness.h"

#include <cerrno>

#if defined(__linux__)
#include <sys/epoll.h>
#else
#include <fcntl.h>
#include <sys/event.h>
#include <sys/time.h>
#include <sys/types.h>
#endif

namespace mp::core {

namespace {

constexpr int kAtOnce = 16;

}  // namespace

#if defined(__linux__)

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

#else

Result<Readiness> Readiness::Create() {
  const int set = kqueue();
  if (set < 0) return LastError("kqueue");
  fcntl(set, F_SETFD, FD_CLOEXEC);
  return Readiness(UniqueFd(set));
}

Result<void> Readiness::Add(int fd, bool read, bool write) {
  struct kevent changes[2];
  int count = 0;
  if (read) EV_SET(&changes[count++], fd, EVFILT_READ, EV_ADD | EV_ONESHOT, 0, 0, nullptr);
  if (write) EV_SET(&changes[count++], fd, EVFILT_WRITE, EV_ADD | EV_ONESHOT, 0, 0, nullptr);
  if (kevent(set_.get(), changes, count, nullptr, 0, nullptr) != 0) return LastError("kevent");
  return {};
}

void Readiness::Remove(int fd) {
  for (const int16_t filter : {EVFILT_READ, EVFILT_WRITE}) {
    struct kevent change;
    EV_SET(&change, fd, filter, EV_DELETE, 0, 0, nullptr);
    kevent(set_.get(), &change, 1, nullptr, 0, nullptr);
  }
}

bool Readiness::Drain() {
  struct kevent events[kAtOnce];
  const timespec now{0, 0};
  bool any = false;
  for (int count = kAtOnce; count == kAtOnce;) {
    count = RetryOnSignal([&] { return kevent(set_.get(), nullptr, 0, events, kAtOnce, &now); });
    any |= count > 0;
  }
  return any;
}

#endif

}  // namespace mp::core

#endif
