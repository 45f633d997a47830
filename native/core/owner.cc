#include "core/owner.h"

#if !defined(_WIN32)

#include "core/process.h"

#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#else
#include <unistd.h>
#endif

namespace mp::core {
namespace {

constexpr uint32_t kThreadMask = 0x3fffff;

uint32_t Digest(uint32_t start) {
  const uint32_t mixed = start * 2654435761u;  // Knuth's multiplicative hash
  return mixed >> 24;
}

int CurrentThread() {
#if defined(__linux__)
  return static_cast<int>(syscall(SYS_gettid));
#else
  return static_cast<int>(getpid());
#endif
}

uint32_t Token(int thread, uint32_t start) {
  // 0xff with thread 0 is kOrphan, but no thread has the id 0.
  return (Digest(start) << 23) | ((static_cast<uint32_t>(thread) & kThreadMask) << 1);
}

}  // namespace

Owner CurrentOwner() {
  const int thread = CurrentThread();
  const auto facts = LookAtProcess(thread);
  const uint32_t start =
      facts.ok() && facts.value() ? static_cast<uint32_t>(facts.value()->start_time) : 0;
  return {Token(thread, start), start};
}

bool IsDead(uint32_t lock_word, uint32_t) {
  const auto thread = static_cast<int>((lock_word >> 1) & kThreadMask);
  if (thread == 0) return false;
  const auto facts = LookAtProcess(thread);
  if (!facts.ok()) return false;  // It cannot be looked at: nobody's lock is taken on a guess.
  if (!facts.value() || facts.value()->zombie) return true;
  return Token(thread, static_cast<uint32_t>(facts.value()->start_time)) != (lock_word & ~kWaiters);
}

}  // namespace mp::core

#endif  // !_WIN32
