// Waiting for words that processes share, by named semaphores: WaitOnAddress knows threads of one process alone.
//
// Each word that somebody waits for has a spot: two semaphores, which all processes find by the identity of the segment
// and the place in it. A wake-up stays there until somebody takes it, so that it may come before its sleeper.
//   one   a wake-up of one sleeper
//   all   at most one wake-up, which whoever takes it and finds another word hands on: so it reaches them all, one after
//         the other, and the last one leaves it for a sleeper to come, who wakes up once for nothing
// Spots go with the last process that has the segment. When a process dies here it may have taken a wake-up along: the
// others sleep no longer than a slice.
#if defined(_WIN32)

#include <windows.h>

#include <algorithm>
#include <cwchar>
#include <iterator>
#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "core/futex.h"
#include "core/parking.h"
#include "core/win32/handles.h"
#include "core/win32/memory.h"

namespace mp::core {

namespace {

// More wake-ups than this need not lie there.
constexpr LONG kMostWakeUps = 64;

struct Spot {
  UniqueHandle one;
  UniqueHandle all;
};

struct Range {
  const char* end;
  SegmentIdentity identity;
  std::map<const Word*, std::shared_ptr<Spot>> spots;
};

struct Table {
  std::mutex mutex;
  std::map<const char*, Range> ranges;
};

Table& TheTable() {
  static auto* table = new Table;
  return *table;
}

std::wstring NameOf(const SegmentIdentity& identity, ptrdiff_t offset, wchar_t which) {
  wchar_t name[96];
  const uint32_t* words = identity.words;
  swprintf(name, std::size(name), L"Local\\nmp-%08x%08x%08x%08x-%llx-%lc", words[0], words[1],
           words[2], words[3], static_cast<unsigned long long>(offset), which);
  return name;
}

// Null: there is none to be had, or the word is in no segment.
std::shared_ptr<Spot> SpotOf(const Word* word) {
  Table& table = TheTable();
  std::lock_guard<std::mutex> lock(table.mutex);
  const auto* address = reinterpret_cast<const char*>(word);
  auto found = table.ranges.upper_bound(address);
  if (found == table.ranges.begin()) return nullptr;
  --found;
  Range& range = found->second;
  if (address >= range.end) return nullptr;
  std::shared_ptr<Spot>& spot = range.spots[word];
  if (spot != nullptr) return spot;
  const ptrdiff_t offset = address - found->first;
  auto made = std::make_shared<Spot>();
  made->one = UniqueHandle(
      CreateSemaphoreW(nullptr, 0, kMostWakeUps, NameOf(range.identity, offset, L'1').c_str()));
  made->all =
      UniqueHandle(CreateSemaphoreW(nullptr, 0, 1, NameOf(range.identity, offset, L'a').c_str()));
  if (!made->one.valid() || !made->all.valid()) return nullptr;
  return spot = std::move(made);
}

}  // namespace

void AnnounceSegment(const void* base, size_t bytes, const SegmentIdentity& identity) {
  Table& table = TheTable();
  std::lock_guard<std::mutex> lock(table.mutex);
  const auto* begin = static_cast<const char*>(base);
  table.ranges[begin] = Range{begin + bytes, identity, {}};
}

void ForgetSegment(const void* base) {
  Table& table = TheTable();
  std::lock_guard<std::mutex> lock(table.mutex);
  table.ranges.erase(static_cast<const char*>(base));
}

void Park(Word* word, uint32_t expected, const Deadline& deadline) {
  constexpr DWORD kNapMs = 1;
  const auto spot = SpotOf(word);
  if (word->load(std::memory_order_seq_cst) != expected) return;
  if (spot == nullptr) {
    Sleep(WaitMs(deadline, kNapMs));
    return;
  }
  const HANDLE wakes[] = {spot->one.get(), spot->all.get()};
  const DWORD woken =
      WaitForMultipleObjects(2, wakes, FALSE, WaitMs(deadline, kSliceNs / 1'000'000));
  if (woken == WAIT_OBJECT_0 + 1 && word->load(std::memory_order_seq_cst) != expected) {
    ReleaseSemaphore(spot->all.get(), 1, nullptr);
  }
}

int Unpark(Word* word, int count) {
  const auto spot = SpotOf(word);
  if (spot == nullptr) return 0;
  if (count > 1) {
    ReleaseSemaphore(spot->all.get(), 1, nullptr);
    return 1;
  }
  // A wake-up that lies there already: nobody sleeps.
  LONG before = 0;
  return ReleaseSemaphore(spot->one.get(), 1, &before) && before == 0 ? 1 : 0;
}

// ---- of one process (futex.h) ----

// Only a fork's rendezvous waits there, and there is none.
void FutexWait(std::atomic<uint32_t>*, uint32_t, int64_t) {}
void FutexWake(std::atomic<uint32_t>*, int) {}

}  // namespace mp::core

#endif
