#include "core/lock.h"

#include <algorithm>

namespace mp::core {
namespace {

constexpr auto kSeqCst = std::memory_order_seq_cst;

// Whoever only tries, tries again and again: it does not look into /proc each time.
bool MayLook(const Word* lock) {
  constexpr int64_t kPatienceNs = 50'000'000;
  thread_local const Word* last_lock = nullptr;
  thread_local int64_t last_look = 0;
  const int64_t now = MonotonicNs();
  if (last_lock == lock && now - last_look < kPatienceNs) return false;
  last_lock = lock;
  last_look = now;
  return true;
}

bool TryTake(Word* lock, uint32_t seen, uint32_t wanted) {
  return lock->compare_exchange_strong(seen, wanted, kSeqCst);
}

}  // namespace

Acquired AcquireLock(SegmentHeader* header, Word* lock, uint32_t me, const Deadline& deadline) {
  for (int spins = Spins(); spins >= 0; spins--) {
    const uint32_t seen = lock->load(std::memory_order_relaxed);
    if (seen == 0 && TryTake(lock, 0, me)) return Acquired::kYes;
    if ((seen & kWaiters) != 0) break;  // The queue is long: join it.
    SpinPause();
  }
  uint32_t waited_for = 0;
  for (;;) {
    const bool parked = waited_for != 0;
    uint32_t seen = lock->load(kSeqCst);
    if (seen == 0) {
      // Others may wait, too: whoever has waited says so.
      if (TryTake(lock, 0, parked ? me | kWaiters : me)) return Acquired::kYes;
      continue;
    }
    const bool late = deadline.passed();
    const bool worth_a_look = seen == waited_for || (late && (parked || MayLook(lock)));
    if (worth_a_look && IsDead(header, seen)) {
      if (TryTake(lock, seen, me | kWaiters)) return Acquired::kOwnerDied;
      continue;
    }
    // Whoever has waited says that others may, also when it gives up: it may have been woken in their stead.
    if ((seen & kWaiters) == 0 && (parked || !late)) {
      if (!lock->compare_exchange_strong(seen, seen | kWaiters, kSeqCst)) continue;
      seen |= kWaiters;
    }
    if (late) return Acquired::kNo;
    waited_for = seen;
    Park(lock, seen, deadline);
  }
}

bool ReleaseLock(Word* lock, SegmentHeader* header) {
  uint32_t seen = lock->load(kSeqCst);
  do {
    if (seen == 0) return false;
  } while (!lock->compare_exchange_weak(seen, 0, kSeqCst));
  if ((seen & kWaiters) != 0) {
    Unpark(lock, 1);
    RingBell(header);
  }
  return true;
}

bool AcquireSemaphore(Word* semaphore, const Deadline& deadline) {
  for (;;) {
    uint32_t seen = semaphore->load(kSeqCst);
    if ((seen & kMaxSemaphore) != 0) {
      if (semaphore->compare_exchange_weak(seen, seen - 1, kSeqCst)) return true;
      continue;
    }
    if (deadline.passed()) return false;
    if ((seen & kSemaphoreWaiters) == 0) {
      if (!semaphore->compare_exchange_weak(seen, seen | kSemaphoreWaiters, kSeqCst)) continue;
      seen |= kSemaphoreWaiters;
    }
    Park(semaphore, seen, deadline);
  }
}

bool ReleaseSemaphore(Word* semaphore, SegmentHeader* header, uint32_t max) {
  uint32_t seen = semaphore->load(kSeqCst);
  do {
    if ((seen & kMaxSemaphore) >= max) return false;
  } while (!semaphore->compare_exchange_weak(seen, seen + 1, kSeqCst));
  if ((seen & kSemaphoreWaiters) != 0) {
    uint32_t now = seen + 1;
    // Nobody sleeps: the next release need not ask. Whoever is about to sleep sees the word change, and whoever went
    // to sleep meanwhile, when the word was for a moment another one and then this again, is woken to say so again.
    if (Unpark(semaphore, 1) == 0 &&
        semaphore->compare_exchange_strong(now, now & ~kSemaphoreWaiters, kSeqCst)) {
      Unpark(semaphore, INT32_MAX);
    }
    RingBell(header);
  }
  return true;
}

void OrphanLocks(SegmentHeader* header, uint32_t token) {
  Word* words = reinterpret_cast<Word*>(header);
  // Those who found the segment full have counted beyond its end.
  const uint32_t end = std::min(header->next_slot.load(kSeqCst), header->size - kSlotWords + 1);
  for (uint32_t slot = kFirstSlot; slot < end; slot += kSlotWords) {
    if (words[slot + kTagWord].load(std::memory_order_relaxed) != kLockTag) continue;
    uint32_t seen = words[slot].load(kSeqCst);
    while ((seen & ~kWaiters) == token &&
           !words[slot].compare_exchange_weak(seen, kOrphan | (seen & kWaiters), kSeqCst)) {
    }
  }
}

}  // namespace mp::core
