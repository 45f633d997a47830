// The lock and the semaphore behind every synchronisation object, on words of a segment.
//
// Lock: one word, the owner (owner.h; 0 when free).
//   free ──CAS by the owner──▶ held ──somebody waits: CAS sets bit 0──▶ held, awaited
//     ▲                          │                                          │
//     └────────────CAS───────────┴───────CAS, then one waiter is woken──────┘
// JavaScript takes and releases a lock nobody contends for by itself, with the same CAS (src/synchronize.ts);
// whatever fails there comes here. What a death leaves behind, and who makes it good:
//   holding                     a dead owner's name: a waiter sees it within a slice and takes the lock over
//   released, before the wake   a free lock and sleepers: they wake by themselves within a slice
//   woken, before taking it     the same
//   taken over, anywhere        the new owner's name: as holding
// One word at a time decides, so no other state exists. test/native/lock_model_test.cc explores all of it.
//
// Semaphore: one word, bits 0-30 the value, bit 31 others may wait. It has no owner: what a process took and
// died with stays taken.
#ifndef MP_CORE_LOCK_H_
#define MP_CORE_LOCK_H_

#include <cstdint>

#include "core/clock.h"
#include "core/owner.h"
#include "core/parking.h"
#include "core/segment.h"

namespace mp::core {

enum class Acquired : int32_t {
  kNo = 0,
  kYes = 1,
  kOwnerDied = 2,  // taken over: what it protects may be half changed
};

// Waits until the deadline. A lock whose owner died is taken over within two slices. `me` is the caller's token in the
// lock's segment.
Acquired AcquireLock(SegmentHeader* header, Word* lock, uint32_t me, const Deadline& deadline);

// By whoever calls, as in Python. False: it is not held.
bool ReleaseLock(Word* lock, SegmentHeader* header);

constexpr uint32_t kMaxSemaphore = 0x7fffffff;
constexpr uint32_t kSemaphoreWaiters = 0x80000000;

bool AcquireSemaphore(Word* semaphore, const Deadline& deadline);

// False: the value is `max` already.
bool ReleaseSemaphore(Word* semaphore, SegmentHeader* header, uint32_t max);

// At the normal end of a thread: its locks stay locked, in nobody's name.
void OrphanLocks(SegmentHeader* header, uint32_t token);

}  // namespace mp::core

#endif  // MP_CORE_LOCK_H_
