// Readiness by kqueue, as macOS has it.

#include "core/plain_posix.h"
#include "core/readiness.h"

#if defined(MP_PLAIN_POSIX)

#include <fcntl.h>
#include <sys/event.h>
#include <sys/time.h>
#include <sys/types.h>

#include <cerrno>
#include <utility>

namespace mp::core {

namespace {

constexpr int kAtOnce = 16;

int Change(int set, int fd, int filter, unsigned flags) {
  struct kevent change;
  EV_SET(&change, static_cast<uintptr_t>(fd), static_cast<int16_t>(filter),
         static_cast<uint16_t>(flags), 0, 0, nullptr);
  return RetryOnSignal([&] { return kevent(set, &change, 1, nullptr, 0, nullptr); });
}

}  // namespace

Result<Readiness> Readiness::Create() {
  const int set = kqueue();
  if (set < 0) return LastError("kqueue");
  fcntl(set, F_SETFD, FD_CLOEXEC);
  return Readiness(UniqueFd(set));
}

Result<void> Readiness::Add(int fd, bool read, bool write) {
  // To a kqueue they are two interests, each with an end of its own.
  Remove(fd);
  for (const auto& [wanted, filter] :
       {std::pair(read, EVFILT_READ), std::pair(write, EVFILT_WRITE)}) {
    if (wanted && Change(set_.get(), fd, filter, EV_ADD | EV_ONESHOT) != 0) {
      const OsError error = LastError("kevent");
      Remove(fd);
      return error;
    }
  }
  return {};
}

void Readiness::Remove(int fd) {
  Change(set_.get(), fd, EVFILT_READ, EV_DELETE);
  Change(set_.get(), fd, EVFILT_WRITE, EV_DELETE);
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

}  // namespace mp::core

#endif
