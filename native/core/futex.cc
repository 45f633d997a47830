#include "futex.h"

#if defined(__linux__)
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <ctime>
#else
#include <chrono>
#include <thread>
#endif

namespace mp::core {

#if defined(__linux__)

void FutexWait(std::atomic<uint32_t>* word, uint32_t expected, int64_t timeout_ns) {
  timespec limit{};
  if (timeout_ns >= 0) {
    limit.tv_sec = static_cast<time_t>(timeout_ns / 1000000000);
    limit.tv_nsec = static_cast<long>(timeout_ns % 1000000000);
  }
  syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, expected, timeout_ns < 0 ? nullptr : &limit, nullptr,
          0);
}

void FutexWake(std::atomic<uint32_t>* word, int count) {
  syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, count, nullptr, nullptr, 0);
}

#elif !defined(_WIN32)  // core/win32/parking.cc

// No futex: nap. Only the fork's rendezvous waits here, for microseconds.
void FutexWait(std::atomic<uint32_t>* word, uint32_t expected, int64_t) {
  if (word->load(std::memory_order_acquire) == expected) {
    std::this_thread::sleep_for(std::chrono::microseconds(50));
  }
}

void FutexWake(std::atomic<uint32_t>*, int) {}

#endif

}  // namespace mp::core
