#include "core/parking.h"

#include <algorithm>
#include <thread>

#include "core/plain_posix.h"

#if defined(__linux__) && !defined(MP_PLAIN_POSIX)
#define MP_HAS_FUTEX
#endif

#if defined(MP_HAS_FUTEX)
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>
#elif defined(_WIN32)
#include <windows.h>
#else
#include <chrono>
#endif

namespace mp::core {

#if defined(MP_HAS_FUTEX)

void Park(Word* word, uint32_t expected, const Deadline& deadline) {
  const timespec limit = ToTimespec(std::min(kSliceNs, deadline.RemainingNs()));
  syscall(SYS_futex, word, FUTEX_WAIT, expected, &limit, nullptr, 0);
}

int Unpark(Word* word, int count) {
  const long woken = syscall(SYS_futex, word, FUTEX_WAKE, count, nullptr, nullptr, 0);
  return woken < 0 ? 0 : static_cast<int>(woken);
}

#elif !defined(_WIN32)  // core/win32/parking.cc

// No futex: naps that grow, so that a short wait is short and a long one costs little.
void Park(Word* word, uint32_t expected, const Deadline& deadline) {
  int64_t nap = 20'000;
  int64_t slept = 0;
  while (word->load(std::memory_order_acquire) == expected && slept < kSliceNs &&
         !deadline.passed()) {
    const int64_t now = std::min(nap, deadline.RemainingNs());
    std::this_thread::sleep_for(std::chrono::nanoseconds(now));
    slept += now;
    nap = std::min<int64_t>(nap * 2, 1'000'000);
  }
}

int Unpark(Word*, int) { return 0; }

#endif

// A critical section of JavaScript takes a fraction of a microsecond: waiting that long awake is cheaper than a sleep.
int Spins() {
  static const int spins = std::thread::hardware_concurrency() > 1 ? 100 : 0;
  return spins;
}

void SpinAndPark(Word* word, uint32_t expected, const Deadline& deadline) {
  for (int spins = Spins(); spins > 0; spins--) {
    if (word->load(std::memory_order_acquire) != expected) return;
    SpinPause();
  }
  Park(word, expected, deadline);
}

void SpinPause() {
#if defined(_WIN32)
  YieldProcessor();
#elif defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

}  // namespace mp::core
