#include "core/owner.h"

#include "core/plain_posix.h"
#include "core/process.h"

#if defined(MP_LINUX)
#include <sys/syscall.h>
#include <unistd.h>
#elif defined(_WIN32)
#include <windows.h>
#else
#include <unistd.h>
#endif

namespace mp::core {
namespace {

// All of them: a reader must not see a new thread under an old number. Nobody is in a hurry here.
constexpr auto kSeqCst = std::memory_order_seq_cst;

struct Identity {
  uint32_t thread;
  uint64_t start;
};

// Where the system did not tell, because it had no descriptor left, say: nobody's lock is taken on a guess.
constexpr uint64_t kUnknownStart = 0;

// Where threads have no numbers that other processes see, it is the process that lives or has died.
Identity CurrentThread() {
#if defined(MP_LINUX)
  const auto thread = static_cast<int>(syscall(SYS_gettid));
#elif defined(_WIN32)
  const auto thread = static_cast<int>(GetCurrentThreadId());
#else
  const auto thread = static_cast<int>(getpid());
#endif
  const auto facts = LookAtProcess(thread);
  const bool known = facts.ok() && facts.value();
  return {static_cast<uint32_t>(thread), known ? facts.value()->start_time : kUnknownStart};
}

bool HasDied(const Identity& owner) {
  const auto facts = LookAtProcess(static_cast<int>(owner.thread));
  if (!facts.ok()) return false;
  if (!facts.value() || facts.value()->zombie) return true;
  return owner.start != kUnknownStart && facts.value()->start_time != owner.start;
}

Identity Read(const OwnerEntry& entry) {
  const uint64_t low = entry.start_low.load(kSeqCst);
  const uint64_t high = entry.start_high.load(kSeqCst);
  return {entry.thread.load(kSeqCst), high << 32 | low};
}

void Write(OwnerEntry* entry, const Identity& owner) {
  entry->thread.store(owner.thread, kSeqCst);
  entry->start_low.store(static_cast<uint32_t>(owner.start), kSeqCst);
  entry->start_high.store(static_cast<uint32_t>(owner.start >> 32), kSeqCst);
}

// Pairs with Claim: a number is replaced only when its owner has died, and what is read between two loads of the same
// number belongs to it.
bool IsGone(const OwnerEntry& entry, uint32_t number) {
  if (entry.number.load(kSeqCst) != number) return true;
  const Identity owner = Read(entry);
  if (entry.number.load(kSeqCst) != number) return true;
  return HasDied(owner);
}

// False: its owner lives, or somebody else is claiming it.
bool Claim(OwnerEntry* entry, uint32_t number, const Identity& me) {
  uint32_t seen = entry->number.load(kSeqCst);
  if (seen == kClaiming || (seen != 0 && !IsGone(*entry, seen))) return false;
  if (!entry->number.compare_exchange_strong(seen, kClaiming, kSeqCst)) return false;
  Write(entry, me);
  entry->number.store(number, kSeqCst);
  return true;
}

// From 1 to kLastNumber, and again.
uint32_t NextNumber(SegmentHeader* header) {
  uint32_t last = header->next_owner.load(kSeqCst);
  uint32_t next;
  do {
    next = last >= kLastNumber ? 1 : last + 1;
  } while (!header->next_owner.compare_exchange_weak(last, next, kSeqCst));
  return next;
}

}  // namespace

Result<uint32_t> Enrol(SegmentHeader* header) {
  const Identity me = CurrentThread();
  for (uint32_t tries = 0; tries < kOwners; tries++) {
    const uint32_t number = NextNumber(header);
    if (Claim(&header->owners[number % kOwners], number, me)) return number << 1;
  }
  return OsError{EAGAIN, "enrol"};
}

bool IsDead(const SegmentHeader* header, uint32_t lock_word) {
  const uint32_t number = lock_word >> 1;
  if (number == 0 || number > kLastNumber) return false;
  return IsGone(header->owners[number % kOwners], number);
}

}  // namespace mp::core
