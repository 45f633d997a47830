// Parking without a futex: by what macOS has for it, and else by naps.
//
// macOS waits on addresses that processes share by os_sync_wait_on_address, from 14.4 on, and before by the calls that
// its own libraries wait by. Both are looked up, so that the addon loads where they are missing.

#include "core/parking.h"
#include "core/plain_posix.h"

#if defined(MP_PLAIN_POSIX)

#include <dlfcn.h>

#include <algorithm>
#include <cerrno>

namespace mp::core {
namespace {

// <os/os_sync_wait_on_address.h> and <os/clock.h>
constexpr uint32_t kShared = 1;
constexpr uint32_t kMachAbsoluteTime = 32;
using SyncWait = int (*)(void* address, uint64_t value, size_t size, uint32_t flags, uint32_t clock,
                         uint64_t timeout_ns);
using SyncWake = int (*)(void* address, size_t size, uint32_t flags);

// <sys/ulock.h>
constexpr uint32_t kCompareAndWaitShared = 3;
constexpr uint32_t kWakeAll = 0x100;
using UlockWait = int (*)(uint32_t operation, void* address, uint64_t value, uint32_t timeout_us);
using UlockWake = int (*)(uint32_t operation, void* address, uint64_t thread);

struct Calls {
  SyncWait sync_wait = nullptr;
  SyncWake sync_wake_one = nullptr;
  SyncWake sync_wake_all = nullptr;
  UlockWait ulock_wait = nullptr;
  UlockWake ulock_wake = nullptr;
};

template <typename F>
bool Load(F* out, const char* name) {
  *out = reinterpret_cast<F>(dlsym(RTLD_DEFAULT, name));
  return *out != nullptr;
}

Calls FindCalls() {
  Calls calls;
  const bool sync = Load(&calls.sync_wait, "os_sync_wait_on_address_with_timeout") &&
                    Load(&calls.sync_wake_one, "os_sync_wake_by_address_any") &&
                    Load(&calls.sync_wake_all, "os_sync_wake_by_address_all");
  if (sync) return calls;
  calls = {};
  const bool ulock =
      Load(&calls.ulock_wait, "__ulock_wait") && Load(&calls.ulock_wake, "__ulock_wake");
  return ulock ? calls : Calls{};
}

const Calls& TheCalls() {
  static const Calls calls = FindCalls();
  return calls;
}

// Naps that grow, so that a short wait is short and a long one costs little.
void Nap(Word* word, uint32_t expected, const Deadline& deadline) {
  constexpr int64_t kFirstNapNs = 20'000;
  constexpr int64_t kLongestNapNs = 1'000'000;
  int64_t nap = kFirstNapNs;
  int64_t slept = 0;
  while (word->load(std::memory_order_acquire) == expected && slept < kSliceNs &&
         !deadline.passed()) {
    const int64_t now = std::min(nap, deadline.RemainingNs());
    const timespec time = ToTimespec(now);
    nanosleep(&time, nullptr);
    slept += now;
    nap = std::min(nap * 2, kLongestNapNs);
  }
}

// False: the system cannot wait for this.
bool Slept(int answer) { return answer >= 0 || errno == ETIMEDOUT || errno == EINTR; }

}  // namespace

void Park(Word* word, uint32_t expected, const Deadline& deadline) {
  const Calls& calls = TheCalls();
  const int64_t limit = std::min(kSliceNs, deadline.RemainingNs());
  // To both calls a limit of 0 is none, or not valid.
  if (limit == 0) return;
  bool slept = false;
  if (calls.sync_wait != nullptr) {
    slept = Slept(calls.sync_wait(word, expected, sizeof(*word), kShared, kMachAbsoluteTime,
                                  static_cast<uint64_t>(limit)));
  } else if (calls.ulock_wait != nullptr) {
    slept = Slept(calls.ulock_wait(kCompareAndWaitShared, word, expected,
                                   static_cast<uint32_t>((limit + 999) / 1000)));
  }
  if (!slept) Nap(word, expected, deadline);
}

// Those who nap are told by the word.
int Unpark(Word* word, int count) {
  const Calls& calls = TheCalls();
  if (calls.sync_wait != nullptr) {
    const SyncWake wake = count == 1 ? calls.sync_wake_one : calls.sync_wake_all;
    return wake(word, sizeof(*word), kShared) == 0 ? 1 : 0;
  }
  if (calls.ulock_wake != nullptr) {
    const uint32_t all = count == 1 ? 0 : kWakeAll;
    return calls.ulock_wake(kCompareAndWaitShared | all, word, 0) >= 0 ? 1 : 0;
  }
  return 0;
}

}  // namespace mp::core

#endif
