// Waiting for a word in memory that processes share, and waking those that wait.
//
// A word says by its own value whether somebody waits; nothing else is recorded anywhere. So a process that is
// killed while it waits leaves nothing behind, and a wake-up that a killed process did not send, or did not
// use, is made good by the waiters themselves: nobody sleeps longer than a slice before it looks again.
#ifndef MP_CORE_PARKING_H_
#define MP_CORE_PARKING_H_

#include <atomic>
#include <cstdint>

#include "core/clock.h"

namespace mp::core {

using Word = std::atomic<uint32_t>;
static_assert(sizeof(Word) == 4 && Word::is_always_lock_free, "words are shared as they are");

// After so long a waiter looks for itself: at most this, twice, is what a death costs the survivors.
#if defined(MP_TEST_STEPS)
constexpr int64_t kSliceNs = 5'000'000;
#else
constexpr int64_t kSliceNs = 250'000'000;
#endif

// Sleeps while *word == expected: until woken, for a slice, or until the deadline. Returns early when a signal
// arrives: callers look and loop.
void Park(Word* word, uint32_t expected, const Deadline& deadline);

// The same, after a few microseconds awake: for words that another process is about to change.
void SpinAndPark(Word* word, uint32_t expected, const Deadline& deadline);

// Wakes at most `count` that wait for the word, of all processes. How many there were, where the system tells.
int Unpark(Word* word, int count);

// How often to look before sleeping is cheaper: 0 on a machine with one processor.
int Spins();

// Lets the other side of a lock that is held for nanoseconds go on.
void SpinPause();

}  // namespace mp::core

#endif  // MP_CORE_PARKING_H_
