#include "core/clock.h"

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cmath>

#include "core/plain_posix.h"

#if defined(_WIN32)
#include <windows.h>
#endif

namespace mp::core {

namespace {

constexpr int64_t kNsPerSecond = 1'000'000'000;
constexpr int64_t kNsPerMs = 1'000'000;
constexpr int64_t kCenturyNs = int64_t{100} * 365 * 24 * 3600 * kNsPerSecond;

}  // namespace

Deadline Deadline::AfterMs(double ms) {
  if (ms < 0) return Never();
  if (ms == 0) return Deadline(kPassed);
  const double ns = std::ceil(ms * static_cast<double>(kNsPerMs));
  // Written so that NaN, which the JavaScript side refuses, would end up finite too.
  const int64_t capped =
      ns < static_cast<double>(kCenturyNs) ? static_cast<int64_t>(ns) : kCenturyNs;
  return Deadline(MonotonicNs() + capped);
}

int64_t Deadline::RemainingNs() const {
  if (never()) return kCenturyNs;
  if (at_ns_ == kPassed) return 0;
  return std::max<int64_t>(0, at_ns_ - MonotonicNs());
}

int Deadline::RemainingPollMs() const {
  if (never()) return -1;
  const int64_t ms = (RemainingNs() + kNsPerMs - 1) / kNsPerMs;
  return static_cast<int>(std::min<int64_t>(ms, INT_MAX));
}

#if defined(_WIN32)

int64_t MonotonicNs() {
  LARGE_INTEGER frequency;
  LARGE_INTEGER count;
  QueryPerformanceFrequency(&frequency);
  QueryPerformanceCounter(&count);
  const int64_t seconds = count.QuadPart / frequency.QuadPart;
  const int64_t rest = count.QuadPart % frequency.QuadPart;
  return seconds * kNsPerSecond + rest * kNsPerSecond / frequency.QuadPart;
}

void SleepUntil(const Deadline& deadline) {
  // INFINITE is 0xffffffff; RemainingPollMs never exceeds INT_MAX, so a long sleep is a loop of
  // finite ones.
  while (!deadline.passed()) {
    const int ms = deadline.RemainingPollMs();
    Sleep(ms < 0 ? INFINITE : static_cast<DWORD>(ms));
  }
}

#else

int64_t MonotonicNs() {
#if defined(MP_LINUX)
  constexpr clockid_t kClock = CLOCK_MONOTONIC;
#else
  constexpr clockid_t kClock = CLOCK_MONOTONIC_RAW;  // macOS's other one counts microseconds
#endif
  timespec now;
  clock_gettime(kClock, &now);
  return static_cast<int64_t>(now.tv_sec) * kNsPerSecond + now.tv_nsec;
}

timespec ToTimespec(int64_t ns) {
  timespec ts;
  ts.tv_sec = static_cast<time_t>(ns / kNsPerSecond);
  ts.tv_nsec = static_cast<long>(ns % kNsPerSecond);
  return ts;
}

#if defined(MP_PLAIN_POSIX)

// macOS has no clock_nanosleep: sleep what is left, as often as a signal cuts it short.
void SleepUntil(const Deadline& deadline) {
  while (!deadline.passed()) {
    const timespec rest = ToTimespec(deadline.RemainingNs());
    nanosleep(&rest, nullptr);
  }
}

#else

void SleepUntil(const Deadline& deadline) {
  const timespec at = ToTimespec(deadline.never() ? MonotonicNs() + kCenturyNs : deadline.at_ns());
  while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, nullptr) == EINTR) {
  }
}

#endif
#endif

}  // namespace mp::core
