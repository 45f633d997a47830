// Wait on a 32-bit word and wake its waiters. Private to one process; the parking layer for words
// shared between processes builds on the same calls.
#ifndef MP_CORE_FUTEX_H_
#define MP_CORE_FUTEX_H_

#include <atomic>
#include <cstdint>

namespace mp::core {

// Sleeps while *word == expected, for at most timeout_ns (-1: no limit). May return early: callers loop.
void FutexWait(std::atomic<uint32_t>* word, uint32_t expected, int64_t timeout_ns);
void FutexWake(std::atomic<uint32_t>* word, int count);

}  // namespace mp::core

#endif  // MP_CORE_FUTEX_H_
