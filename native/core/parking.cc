// What is the same however the system waits: parking_linux.cc and parking_plain.cc have Park and Unpark.

#include "core/parking.h"

#include <thread>

#if defined(_WIN32)
#include <windows.h>
#endif

namespace mp::core {

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
