#if !defined(_WIN32)

#include "core/named_semaphore.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <time.h>

#include <algorithm>

#include "core/mapping_budget.h"
#include "core/plain_posix.h"

namespace mp::core {

namespace {

#if defined(MP_PLAIN_POSIX)

// macOS waits without a limit or not at all: in between, look again and again, ever more seldom.
constexpr int64_t kFirstPauseNs = 50'000;
constexpr int64_t kLongestPauseNs = 10'000'000;

int WaitUntil(sem_t* semaphore, const Deadline& deadline) {
  int64_t pause = kFirstPauseNs;
  for (;;) {
    if (sem_trywait(semaphore) == 0) return 0;
    if (errno != EAGAIN && errno != EINTR) return -1;
    const int64_t rest = deadline.RemainingNs();
    if (rest == 0) {
      errno = ETIMEDOUT;
      return -1;
    }
    const timespec nap = ToTimespec(std::min(pause, rest));
    nanosleep(&nap, nullptr);
    pause = std::min(pause * 2, kLongestPauseNs);
  }
}

#else

using ClockWait = int (*)(sem_t*, clockid_t, const timespec*);

// glibc 2.30 has it; musl has not. Looked up, so that an older C library can load the addon.
ClockWait FindClockWait() {
  static const auto found = reinterpret_cast<ClockWait>(dlsym(RTLD_DEFAULT, "sem_clockwait"));
  return found;
}

constexpr int64_t kNsPerSecond = 1'000'000'000;

// By the time of day, a little at a time, so that a change of it is noticed soon.
constexpr int64_t kLongestSliceNs = kNsPerSecond / 10;

int WaitBySlices(sem_t* semaphore, const Deadline& deadline) {
  for (;;) {
    timespec at;
    clock_gettime(CLOCK_REALTIME, &at);
    const int64_t until =
        at.tv_sec * kNsPerSecond + at.tv_nsec + std::min(deadline.RemainingNs(), kLongestSliceNs);
    at = ToTimespec(until);
    if (sem_timedwait(semaphore, &at) == 0) return 0;
    if (errno != ETIMEDOUT && errno != EINTR) return -1;
    if (deadline.passed()) {
      errno = ETIMEDOUT;
      return -1;
    }
  }
}

int WaitUntil(sem_t* semaphore, const Deadline& deadline) {
  const ClockWait clock_wait = FindClockWait();
  if (clock_wait == nullptr) return WaitBySlices(semaphore, deadline);
  const timespec at = ToTimespec(deadline.at_ns());
  return RetryOnSignal([&] { return clock_wait(semaphore, CLOCK_MONOTONIC, &at); });
}

#endif

}  // namespace

Result<NamedSemaphore> NamedSemaphore::Open(const std::string& name, int flags, unsigned mode,
                                            unsigned value) {
  if (!MayMapMore()) return OsError{ENOMEM, "sem_open"};
  sem_t* handle = SEM_FAILED;
  do {
    handle = sem_open(name.c_str(), flags, static_cast<mode_t>(mode), value);
  } while (handle == SEM_FAILED && errno == EINTR);
  if (handle == SEM_FAILED) return LastError("sem_open");
  CountMapping(1);
  return NamedSemaphore(handle);
}

Result<void> NamedSemaphore::Unlink(const std::string& name) {
  if (sem_unlink(name.c_str()) != 0) return LastError("sem_unlink");
  return {};
}

Result<bool> NamedSemaphore::Wait(const Deadline& deadline) {
  if (deadline.never()) {
    if (RetryOnSignal([&] { return sem_wait(handle_); }) != 0) return LastError("sem_wait");
    return true;
  }
  // No look at the clock, and no system call, when there is a count to take.
  if (RetryOnSignal([&] { return sem_trywait(handle_); }) == 0) return true;
  if (errno != EAGAIN) return LastError("sem_trywait");
  if (deadline.passed()) return false;
  if (WaitUntil(handle_, deadline) == 0) return true;
  if (errno == ETIMEDOUT) return false;
  return LastError("sem_timedwait");
}

Result<void> NamedSemaphore::Post() {
  if (sem_post(handle_) != 0) return LastError("sem_post");
  return {};
}

#if defined(__APPLE__)

Result<int> NamedSemaphore::Value() { return OsError{ENOSYS, "sem_getvalue"}; }

#else

Result<int> NamedSemaphore::Value() {
  int value = 0;
  if (sem_getvalue(handle_, &value) != 0) return LastError("sem_getvalue");
  return value;
}

#endif

void NamedSemaphore::Close() {
  sem_t* handle = std::exchange(handle_, nullptr);
  if (handle == nullptr) return;
  sem_close(handle);
  CountMapping(-1);
}

}  // namespace mp::core

#endif
