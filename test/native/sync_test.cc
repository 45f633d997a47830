// The lock, the semaphore, owners, segments and the listener themselves, with threads: each is an owner of its own.

#if !defined(_WIN32)

#include <doctest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "core/listener.h"
#include "core/lock.h"
#include "core/process.h"

using mp::core::Acquired;
using mp::core::CurrentOwner;
using mp::core::Deadline;
using mp::core::IsDead;
using mp::core::Listener;
using mp::core::Owner;
using mp::core::Segment;
using mp::core::SegmentHeader;
using mp::core::WatchFor;
using mp::core::Word;

namespace {

constexpr double kLongMs = 20'000;
constexpr uint32_t kFirstSlot = sizeof(SegmentHeader) / sizeof(Word);

std::shared_ptr<Segment> MakeSegment() {
  auto created = Segment::Create();
  REQUIRE(created.ok());
  return created.value();
}

void Nap(int milliseconds) { std::this_thread::sleep_for(std::chrono::milliseconds(milliseconds)); }

// The name of a thread that has ended.
Owner DeadOwner() {
  Owner owner{};
  std::thread([&] { owner = CurrentOwner(); }).join();
  // The kernel forgets a thread shortly after it was joined.
  for (int i = 0; i < 2000 && !IsDead(owner.token, owner.start); i++) Nap(1);
  return owner;
}

}  // namespace

TEST_CASE("segment: its header and its slots") {
  const auto segment = MakeSegment();
  const SegmentHeader* header = segment->header();
  CHECK(header->magic == mp::core::kSegmentMagic);
  CHECK(header->size == mp::core::kSegmentBytes / 4);
  CHECK(header->next_slot.load() == kFirstSlot);
  CHECK(header->data_used.load() == 0);
  CHECK(segment->words()[header->size - 1].load() == 0);
}

TEST_CASE("segment: a bell nobody listens to is not rung") {
  const auto segment = MakeSegment();
  mp::core::RingBell(segment->header());
  CHECK(segment->header()->doorbell.load() == 0);
  segment->header()->bell_used.store(1);
  mp::core::RingBell(segment->header());
  CHECK(segment->header()->doorbell.load() == 1);
}

TEST_CASE("owner: a thread is alive under its own name only") {
  const Owner me = CurrentOwner();
  CHECK(me.token != 0);
  CHECK((me.token & mp::core::kWaiters) == 0);
  CHECK((me.token >> 31) == 0);
  CHECK_FALSE(IsDead(me.token, me.start));
  CHECK_FALSE(IsDead(me.token | mp::core::kWaiters, me.start));
  // Killed between taking the lock and writing when it had started: the old time says nothing.
  CHECK_FALSE(IsDead(me.token, me.start + 1));
}

TEST_CASE("owner: another thread with the same id is not the owner") {
  const Owner me = CurrentOwner();
  for (uint32_t bit = 23; bit <= 30; bit++) {
    const uint32_t forged = me.token ^ (uint32_t{1} << bit);
    CHECK(IsDead(forged, me.start + 7));
    CHECK(IsDead(forged, me.start));
  }
}

TEST_CASE("owner: what has ended is dead, a zombie too; an orphan is nobody") {
  const Owner gone = DeadOwner();
  CHECK(IsDead(gone.token, gone.start));
  CHECK_FALSE(IsDead(mp::core::kOrphan, 0));
  CHECK_FALSE(IsDead(mp::core::kOrphan | mp::core::kWaiters, 0));

  const auto segment = MakeSegment();
  Word* name = segment->words() + kFirstSlot;
  const pid_t child = fork();
  if (child == 0) {
    const Owner owner = CurrentOwner();
    name[1].store(owner.start);
    name[0].store(owner.token);
    for (;;) pause();
  }
  while (name[0].load() == 0) Nap(1);
  CHECK_FALSE(IsDead(name[0].load(), name[1].load()));
  kill(child, SIGKILL);
  bool dead = false;
  for (int i = 0; i < 2000 && !dead; i++) {
    dead = IsDead(name[0].load(), name[1].load());
    Nap(1);
  }
  CHECK(dead);
  int status = 0;
  CHECK(waitpid(child, &status, 0) == child);
  CHECK(IsDead(name[0].load(), name[1].load()));
}

TEST_CASE("lock: taken, tried, released") {
  const auto segment = MakeSegment();
  Word* lock = segment->words() + kFirstSlot;
  const Owner me = CurrentOwner();
  CHECK_FALSE(mp::core::ReleaseLock(lock, segment->header()));
  CHECK(mp::core::AcquireLock(lock, me, Deadline::Never()) == Acquired::kYes);
  CHECK(lock[0].load() == me.token);
  CHECK(mp::core::AcquireLock(lock, me, Deadline::AfterMs(0)) == Acquired::kNo);
  CHECK(lock[0].load() == me.token);
  CHECK(mp::core::AcquireLock(lock, me, Deadline::AfterMs(20)) == Acquired::kNo);
  CHECK(mp::core::ReleaseLock(lock, segment->header()));
  CHECK(lock[0].load() == 0);
}

TEST_CASE("lock: threads exclude each other") {
  const auto segment = MakeSegment();
  Word* lock = segment->words() + kFirstSlot;
  constexpr int kThreads = 8;
  constexpr int kRounds = 5000;
  int counter = 0;  // plain: the lock is all that protects it
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; i++) {
    threads.emplace_back([&] {
      const Owner me = CurrentOwner();
      for (int round = 0; round < kRounds; round++) {
        while (mp::core::AcquireLock(lock, me, Deadline::AfterMs(round % 7 == 0 ? 1 : kLongMs)) ==
               Acquired::kNo) {
        }
        counter++;
        mp::core::ReleaseLock(lock, segment->header());
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(counter == kThreads * kRounds);
  CHECK((lock[0].load() & ~mp::core::kWaiters) == 0);
}

TEST_CASE("lock: of those who wait for a dead owner's one is told") {
  const auto segment = MakeSegment();
  Word* lock = segment->words() + kFirstSlot;
  const Owner gone = DeadOwner();
  lock[1].store(gone.start);
  lock[0].store(gone.token);
  std::atomic<int> told{0};
  std::atomic<int> all{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 5; i++) {
    threads.emplace_back([&] {
      const Acquired outcome =
          mp::core::AcquireLock(lock, CurrentOwner(), Deadline::AfterMs(kLongMs));
      if (outcome == Acquired::kOwnerDied) told++;
      if (outcome != Acquired::kNo) all++;
      mp::core::ReleaseLock(lock, segment->header());
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(told == 1);
  CHECK(all == 5);
}

TEST_CASE("lock: what an ended thread holds stays held, in nobody's name") {
  const auto segment = MakeSegment();
  SegmentHeader* header = segment->header();
  Word* words = segment->words();
  const Owner me = CurrentOwner();
  for (uint32_t slot : {kFirstSlot, kFirstSlot + 16, kFirstSlot + 32}) {
    words[slot + mp::core::kTagWord].store(mp::core::kLockTag);
    words[slot].store(me.token | mp::core::kWaiters);
  }
  words[kFirstSlot + 16 + mp::core::kTagWord].store(mp::core::kLockTag + 1);
  words[kFirstSlot + 32].store(me.token + 2);
  header->next_slot.store(kFirstSlot + 48);
  mp::core::OrphanLocks(header, me.token);
  CHECK(words[kFirstSlot].load() == (mp::core::kOrphan | mp::core::kWaiters));
  CHECK(words[kFirstSlot + 16].load() == (me.token | mp::core::kWaiters));
  CHECK(words[kFirstSlot + 32].load() == me.token + 2);
  CHECK(mp::core::AcquireLock(words + kFirstSlot, me, Deadline::AfterMs(300)) == Acquired::kNo);
  CHECK(mp::core::ReleaseLock(words + kFirstSlot, header));
}

TEST_CASE("lock: the end of a full segment is the end, however far was counted") {
  const auto segment = MakeSegment();
  SegmentHeader* header = segment->header();
  const uint32_t last = header->size - mp::core::kSlotWords;
  const Owner me = CurrentOwner();
  segment->words()[last + mp::core::kTagWord].store(mp::core::kLockTag);
  segment->words()[last].store(me.token);
  header->next_slot.store(header->size + 4096);
  mp::core::OrphanLocks(header, me.token);
  CHECK(segment->words()[last].load() == mp::core::kOrphan);
}

TEST_CASE("semaphore: counts, waits, and is bounded") {
  const auto segment = MakeSegment();
  Word* semaphore = segment->words() + kFirstSlot;
  SegmentHeader* header = segment->header();
  semaphore->store(1);
  CHECK(mp::core::AcquireSemaphore(semaphore, Deadline::Never()));
  CHECK_FALSE(mp::core::AcquireSemaphore(semaphore, Deadline::AfterMs(0)));
  CHECK_FALSE(mp::core::AcquireSemaphore(semaphore, Deadline::AfterMs(20)));
  CHECK(mp::core::ReleaseSemaphore(semaphore, header, 1));
  CHECK_FALSE(mp::core::ReleaseSemaphore(semaphore, header, 1));
  semaphore->store(mp::core::kMaxSemaphore);
  CHECK_FALSE(mp::core::ReleaseSemaphore(semaphore, header, mp::core::kMaxSemaphore));
}

TEST_CASE("semaphore: nothing is lost between threads") {
  const auto segment = MakeSegment();
  Word* semaphore = segment->words() + kFirstSlot;
  constexpr int kRounds = 4000;
  std::atomic<int> taken{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; i++) {
    threads.emplace_back([&] {
      for (int round = 0; round < kRounds; round++) {
        if (mp::core::AcquireSemaphore(semaphore, Deadline::AfterMs(kLongMs))) taken++;
      }
    });
    threads.emplace_back([&] {
      for (int round = 0; round < kRounds; round++) {
        mp::core::ReleaseSemaphore(semaphore, segment->header(), mp::core::kMaxSemaphore);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(taken == 4 * kRounds);
  CHECK((semaphore->load() & mp::core::kMaxSemaphore) == 0);
}

namespace {

// Collects what a listener reports.
class Reports {
 public:
  void Ring() {
    std::lock_guard<std::mutex> lock(mutex_);
    rung_ = true;
    condition_.notify_all();
  }
  std::vector<uint32_t> Take(Listener* listener, size_t count) {
    std::vector<uint32_t> all;
    while (all.size() < count) {
      std::unique_lock<std::mutex> lock(mutex_);
      const bool rung =
          condition_.wait_for(lock, std::chrono::seconds(20), [this] { return rung_; });
      rung_ = false;
      lock.unlock();
      for (uint32_t id : listener->TakeReady()) all.push_back(id);
      if (!rung) break;
    }
    return all;
  }

 private:
  std::mutex mutex_;
  std::condition_variable condition_;
  bool rung_ = false;
};

}  // namespace

TEST_CASE("listener: tells when a lock is free, a semaphore above 0, a word another one") {
  const auto segment = MakeSegment();
  Word* words = segment->words();
  const uint32_t lock = kFirstSlot;
  const uint32_t semaphore = kFirstSlot + 16;
  const uint32_t word = kFirstSlot + 32;
  const Owner me = CurrentOwner();
  words[lock].store(me.token);
  auto reports = std::make_shared<Reports>();
  Listener listener(segment, [reports] { reports->Ring(); });
  listener.Watch(1, lock, WatchFor::kLock, 0);
  listener.Watch(2, semaphore, WatchFor::kSemaphore, 0);
  listener.Watch(3, word, WatchFor::kChange, 0);
  listener.Watch(4, word, WatchFor::kChange, 0);
  listener.Forget(4);
  CHECK((words[lock].load() & mp::core::kWaiters) != 0);
  CHECK((words[semaphore].load() & mp::core::kSemaphoreWaiters) != 0);
  CHECK(listener.TakeReady().empty());
  mp::core::ReleaseLock(words + lock, segment->header());
  CHECK(reports->Take(&listener, 1) == std::vector<uint32_t>{1});
  mp::core::ReleaseSemaphore(words + semaphore, segment->header(), 5);
  CHECK(reports->Take(&listener, 1) == std::vector<uint32_t>{2});
  words[word].store(9);
  mp::core::RingBell(segment->header());
  CHECK(reports->Take(&listener, 1) == std::vector<uint32_t>{3});
  listener.Watch(5, word, WatchFor::kChange, 0);
  CHECK(reports->Take(&listener, 1) == std::vector<uint32_t>{5});
}

TEST_CASE("listener: a dead owner and a bell that was not rung cost a slice") {
  const auto segment = MakeSegment();
  Word* words = segment->words();
  const Owner gone = DeadOwner();
  for (uint32_t i = 0; i < 100; i++) words[kFirstSlot + 16 * i].store(gone.token);
  auto reports = std::make_shared<Reports>();
  Listener listener(segment, [reports] { reports->Ring(); });
  for (uint32_t i = 0; i < 100; i++) {
    listener.Watch(i, kFirstSlot + 16 * i, WatchFor::kLock, 0);
  }
  CHECK(reports->Take(&listener, 100).size() == 100);
  listener.Watch(200, kFirstSlot + 8, WatchFor::kChange, 0);
  words[kFirstSlot + 8].store(1);
  CHECK(reports->Take(&listener, 1).size() == 1);
}

TEST_CASE("listener: threads that take turns are all told") {
  const auto segment = MakeSegment();
  Word* lock = segment->words() + kFirstSlot;
  std::vector<std::thread> threads;
  std::atomic<int> served{0};
  for (int i = 0; i < 4; i++) {
    threads.emplace_back([&] {
      const Owner me = CurrentOwner();
      auto reports = std::make_shared<Reports>();
      Listener listener(segment, [reports] { reports->Ring(); });
      for (uint32_t round = 0; round < 200; round++) {
        while (mp::core::AcquireLock(lock, me, Deadline::AfterMs(0)) == Acquired::kNo) {
          listener.Watch(round, kFirstSlot, WatchFor::kLock, 0);
          if (reports->Take(&listener, 1).empty()) return;
        }
        mp::core::ReleaseLock(lock, segment->header());
      }
      served++;
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(served == 4);
}

#endif  // !_WIN32
