// The lock, the semaphore, owners, segments and the listener themselves, with threads: each is an owner of its own.

#if !defined(_WIN32)

#include <doctest.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "core/listener.h"
#include "core/lock.h"
#include "core/plain_posix.h"
#include "core/process.h"

using mp::core::Acquired;
using mp::core::Deadline;
using mp::core::Enrol;
using mp::core::IsDead;
using mp::core::kFirstSlot;
using mp::core::kOwners;
using mp::core::Listener;
using mp::core::OwnerEntry;
using mp::core::Segment;
using mp::core::SegmentHeader;
using mp::core::WatchFor;
using mp::core::Word;

namespace {

constexpr double kLongMs = 20'000;

std::shared_ptr<Segment> MakeSegment() {
  auto created = Segment::Create();
  REQUIRE(created.ok());
  return created.value();
}

void Nap(int milliseconds) { std::this_thread::sleep_for(std::chrono::milliseconds(milliseconds)); }

uint32_t Named(const std::shared_ptr<Segment>& segment) {
  const auto token = Enrol(segment->header());
  REQUIRE(token.ok());
  return token.value();
}

OwnerEntry* EntryOf(const std::shared_ptr<Segment>& segment, uint32_t token) {
  return &segment->header()->owners[(token >> 1) % kOwners];
}

// The name of a thread that has ended, or of a process, where threads have none.
uint32_t DeadOwner(const std::shared_ptr<Segment>& segment) {
  uint32_t token = 0;
#if defined(MP_PLAIN_POSIX)
  Word* name = segment->words() + kFirstSlot + mp::core::kSlotWords - 2;
  const pid_t child = fork();
  if (child == 0) {
    name->store(Named(segment));
    _exit(0);
  }
  int status = 0;
  REQUIRE(waitpid(child, &status, 0) == child);
  token = name->exchange(0);
#else
  std::thread([&] { token = Named(segment); }).join();
  // The kernel forgets a thread shortly after it was joined.
  for (int i = 0; i < 2000 && !IsDead(segment->header(), token); i++) Nap(1);
#endif
  return token;
}

}  // namespace

TEST_CASE("segment: its header and its slots") {
  const auto segment = MakeSegment();
  const SegmentHeader* header = segment->header();
  CHECK(header->magic == mp::core::kSegmentMagic);
  CHECK(header->size == mp::core::kSegmentBytes / 4);
  CHECK(header->first_slot == kFirstSlot);
  CHECK(header->next_slot.load() == kFirstSlot);
  CHECK(header->next_owner.load() == 0);
  CHECK(header->data_used.load() == 0);
  CHECK(segment->words()[header->size - 1].load() == 0);
}

namespace {

// The error of attaching to a copy of this descriptor; 0: none.
int AttachError(int fd, const mp::core::SegmentIdentity& identity, mp::core::SegmentKind kind) {
  auto copy = mp::core::Duplicate(fd);
  REQUIRE(copy.ok());
  const auto attached = Segment::Attach(std::move(copy.value()), identity, kind);
  return attached.ok() ? 0 : attached.error().errnum;
}

}  // namespace

TEST_CASE("segment: attached by its descriptor, and only as what it is") {
  using mp::core::SegmentKind;
  const auto segment = MakeSegment();
  const auto other = MakeSegment();
  const auto identity = segment->header()->identity;
  CHECK(identity != other->header()->identity);

  auto copy = mp::core::Duplicate(segment->fd());
  auto attached = Segment::Attach(std::move(copy.value()), identity, SegmentKind::kSlots);
  REQUIRE(attached.ok());
  CHECK(attached.value()->base() != segment->base());
  attached.value()->header()->lent.store(17);
  CHECK(segment->header()->lent.load() == 17);

  CHECK(AttachError(segment->fd(), other->header()->identity, SegmentKind::kSlots) == EPROTO);
  CHECK(AttachError(segment->fd(), identity, SegmentKind::kChannel) == EPROTO);
  CHECK(AttachError(segment->fd(), identity, SegmentKind::kPlain) == EPROTO);
  segment->header()->version++;
  CHECK(AttachError(segment->fd(), identity, SegmentKind::kSlots) == EPROTO);
  segment->header()->version--;

  const auto pipe = mp::core::MakePipe(true);
  CHECK(AttachError(pipe.value().first.get(), identity, SegmentKind::kSlots) == EPROTO);
}

TEST_CASE("segment: plain memory has its bytes behind the header") {
  const auto plain = Segment::CreatePlain(100'000);
  REQUIRE(plain.ok());
  auto copy = mp::core::Duplicate(plain.value()->fd());
  auto attached = Segment::Attach(std::move(copy.value()), plain.value()->header()->identity,
                                  mp::core::SegmentKind::kPlain);
  REQUIRE(attached.ok());
  CHECK(attached.value()->bytes() >= mp::core::kPlainOffset + 100'000);
  static_cast<char*>(plain.value()->plain_base())[99'999] = 'x';
  CHECK(static_cast<char*>(attached.value()->plain_base())[99'999] == 'x');
}

#if defined(MP_LINUX)
TEST_CASE("segment: nobody can cut it off, and what can be cut off is not attached") {
  const auto segment = MakeSegment();
  CHECK(ftruncate(segment->fd(), 4096) != 0);
  const mp::core::UniqueFd loose(memfd_create("node-multiprocessing", MFD_CLOEXEC));
  REQUIRE(ftruncate(loose.get(), mp::core::kSegmentBytes) == 0);
  REQUIRE(pwrite(loose.get(), segment->base(), 4096, 0) == 4096);
  CHECK(AttachError(loose.get(), segment->header()->identity, mp::core::SegmentKind::kSlots) ==
        EPROTO);
}

TEST_CASE("segment: opened as another process has it open") {
  const auto segment = MakeSegment();
  const pid_t child = fork();
  if (child == 0) {
    pause();
    _exit(0);
  }
  auto opened = mp::core::OpenOf(child, segment->fd());
  REQUIRE(opened.ok());
  CHECK(Segment::Attach(std::move(opened.value()), segment->header()->identity,
                        mp::core::SegmentKind::kSlots)
            .ok());
  const mp::core::UniqueFd device(open("/dev/null", O_RDWR | O_CLOEXEC));
  CHECK(mp::core::OpenOf(getpid(), device.get()).error().errnum == EPROTO);
  CHECK(mp::core::OpenOf(child, 9999).error().errnum == ENOENT);
  kill(child, SIGKILL);
  waitpid(child, nullptr, 0);
  CHECK(mp::core::OpenOf(child, segment->fd()).error().errnum == ENOENT);
}
#endif

TEST_CASE("segment: a bell nobody listens to is not rung") {
  const auto segment = MakeSegment();
  mp::core::RingBell(segment->header());
  CHECK(segment->header()->doorbell.load() == 0);
  segment->header()->bell_used.store(1);
  mp::core::RingBell(segment->header());
  CHECK(segment->header()->doorbell.load() == 1);
}

TEST_CASE("owner: a thread is alive under its own name only") {
  const auto segment = MakeSegment();
  const SegmentHeader* header = segment->header();
  const uint32_t me = Named(segment);
  CHECK(me == 2);
  CHECK_FALSE(IsDead(header, me));
  CHECK_FALSE(IsDead(header, me | mp::core::kWaiters));
  const uint32_t again = Named(segment);
  CHECK(again == 4);
  CHECK_FALSE(IsDead(header, me));
  // Names that nobody has got yet, or whose entry is somebody else's.
  CHECK(IsDead(header, 6));
  CHECK(IsDead(header, me + (kOwners << 1)));
}

TEST_CASE(
    "owner: another thread with the same id is not the owner, whichever bit of its start differs") {
  const auto segment = MakeSegment();
  const uint32_t me = Named(segment);
  OwnerEntry* entry = EntryOf(segment, me);
  for (Word* half : {&entry->start_low, &entry->start_high}) {
    for (uint32_t bit = 0; bit < 32; bit++) {
      half->fetch_xor(uint32_t{1} << bit);
      CHECK(IsDead(segment->header(), me));
      half->fetch_xor(uint32_t{1} << bit);
    }
  }
  CHECK_FALSE(IsDead(segment->header(), me));
  // When it started was not known: then only that nobody has its id says that it died.
  entry->start_low.store(0);
  entry->start_high.store(0);
  CHECK_FALSE(IsDead(segment->header(), me));
  entry->thread.store(0x3fffff);
  CHECK(IsDead(segment->header(), me));
}

TEST_CASE("owner: what has ended is dead, a zombie too; an orphan is nobody") {
  const auto segment = MakeSegment();
  const SegmentHeader* header = segment->header();
  CHECK(IsDead(header, DeadOwner(segment)));
  CHECK_FALSE(IsDead(header, 0));
  CHECK_FALSE(IsDead(header, mp::core::kWaiters));
  CHECK_FALSE(IsDead(header, mp::core::kOrphan));
  CHECK_FALSE(IsDead(header, mp::core::kOrphan | mp::core::kWaiters));

  Word* name = segment->words() + kFirstSlot;
  const pid_t child = fork();
  if (child == 0) {
    name->store(Enrol(segment->header()).value());
    for (;;) pause();
  }
  while (name->load() == 0) Nap(1);
  CHECK_FALSE(IsDead(header, name->load()));
  kill(child, SIGKILL);
  bool dead = false;
  for (int i = 0; i < 2000 && !dead; i++) {
    dead = IsDead(header, name->load());
    Nap(1);
  }
  CHECK(dead);
  int status = 0;
  CHECK(waitpid(child, &status, 0) == child);
  CHECK(IsDead(header, name->load()));
}

TEST_CASE("owner: numbers begin again after the last one, and never name an orphan") {
  const auto segment = MakeSegment();
  segment->header()->next_owner.store(mp::core::kLastNumber - 2);
  CHECK(Named(segment) == (mp::core::kLastNumber - 1) << 1);
  const uint32_t last = Named(segment);
  CHECK(last == mp::core::kLastNumber << 1);
  CHECK(last + 2 == mp::core::kOrphan);
  CHECK_FALSE(IsDead(segment->header(), last));
  CHECK(Named(segment) == 2);
  segment->header()->next_owner.store(0xffffffff);
  // The entry of 1 is in use.
  CHECK(Named(segment) == 4);
}

TEST_CASE("owner: the entry of a dead thread is used again, and its name stays a dead one's") {
  const auto segment = MakeSegment();
  SegmentHeader* header = segment->header();
  const uint32_t gone = DeadOwner(segment);
  const uint32_t alive = Named(segment);
  header->next_owner.store((gone >> 1) + kOwners - 1);
  const uint32_t heir = Named(segment);
  CHECK(heir == gone + (kOwners << 1));
  CHECK(EntryOf(segment, heir) == EntryOf(segment, gone));
  CHECK_FALSE(IsDead(header, heir));
  CHECK(IsDead(header, gone));
  // One that lives keeps its own.
  CHECK(Named(segment) == alive + ((kOwners + 1) << 1));
  CHECK_FALSE(IsDead(header, alive));
}

TEST_CASE(
    "owner: one that died in the middle of enrolling costs an entry, and nobody waits for it") {
  const auto segment = MakeSegment();
  SegmentHeader* header = segment->header();
  header->owners[1].number.store(mp::core::kClaiming);
  CHECK(Named(segment) == 4);
  header->next_owner.store(kOwners);
  CHECK(Named(segment) == (kOwners + 3) << 1);
  CHECK(header->owners[1].number.load() == mp::core::kClaiming);
}

TEST_CASE("owner: a full table is an error, until somebody has died") {
  const auto segment = MakeSegment();
  SegmentHeader* header = segment->header();
  const uint32_t gone = DeadOwner(segment);
  const uint32_t first = Named(segment);
  const OwnerEntry* mine = EntryOf(segment, first);
  for (uint32_t number = (first >> 1) + 1; number < kOwners + 1; number++) {
    OwnerEntry* entry = &header->owners[number % kOwners];
    entry->thread.store(mine->thread.load());
    entry->start_low.store(mine->start_low.load());
    entry->start_high.store(mine->start_high.load());
    entry->number.store(number);
  }
  header->next_owner.store(kOwners);
  const uint32_t heir = Named(segment);
  CHECK(EntryOf(segment, heir) == EntryOf(segment, gone));
  const auto refused = Enrol(header);
  REQUIRE_FALSE(refused.ok());
  CHECK(refused.error().errnum == EAGAIN);
  CHECK_FALSE(IsDead(header, first));
  EntryOf(segment, first)->thread.store(0x3fffff);
  CHECK(EntryOf(segment, Named(segment)) == EntryOf(segment, first));
}

TEST_CASE(
    "owner: threads that enrol at once all have names of their own, and nobody alive loses one") {
  const auto segment = MakeSegment();
  SegmentHeader* header = segment->header();
  // All but four entries are lost, so that threads that live, end and come meet at few.
  constexpr uint32_t kFree = 4;
  for (uint32_t i = kFree; i < kOwners; i++) header->owners[i].number.store(mp::core::kClaiming);
  constexpr uint32_t kAtOnce = 3;
  std::atomic<uint32_t> wrong{0};
  std::atomic<uint32_t> got{0};
  Word* words = segment->words() + kFirstSlot;
  const auto live = [&] {
    for (uint32_t round = 0; round < 15; round++) {
      std::thread([&] {
        // Onwards to the entries that are not lost.
        header->next_owner.fetch_or(kOwners - 1);
        const auto token = Enrol(header);
        if (!token.ok()) return;
        got++;
        const uint32_t number = token.value() >> 1;
        Word* user = words + number % kOwners;
        // Whoever had it before has died, and has said so.
        if (user->exchange(number) != 0) wrong++;
        for (int look = 0; look < 20; look++) {
          if (IsDead(header, token.value())) wrong++;
        }
        user->store(0);
      }).join();
    }
  };
  std::vector<std::thread> threads;
  for (uint32_t i = 0; i < kAtOnce; i++) threads.emplace_back(live);
  for (std::thread& thread : threads) thread.join();
  CHECK(wrong == 0);
#if defined(MP_LINUX)
  CHECK(got > kFree);
#else
  // A thread that has ended is its process, which lives.
  CHECK(got == kFree);
#endif
}

TEST_CASE("lock: taken, tried, released") {
  const auto segment = MakeSegment();
  Word* lock = segment->words() + kFirstSlot;
  const uint32_t me = Named(segment);
  CHECK_FALSE(mp::core::ReleaseLock(lock, segment->header()));
  CHECK(mp::core::AcquireLock(segment->header(), lock, me, Deadline::Never()) == Acquired::kYes);
  CHECK(lock[0].load() == me);
  CHECK(mp::core::AcquireLock(segment->header(), lock, me, Deadline::AfterMs(0)) == Acquired::kNo);
  CHECK(lock[0].load() == me);
  CHECK(mp::core::AcquireLock(segment->header(), lock, me, Deadline::AfterMs(20)) == Acquired::kNo);
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
      const uint32_t me = Named(segment);
      for (int round = 0; round < kRounds; round++) {
        while (mp::core::AcquireLock(segment->header(), lock, me,
                                     Deadline::AfterMs(round % 7 == 0 ? 1 : kLongMs)) ==
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
  const uint32_t gone = DeadOwner(segment);
  lock[0].store(gone);
  std::atomic<int> told{0};
  std::atomic<int> all{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 5; i++) {
    threads.emplace_back([&] {
      const Acquired outcome = mp::core::AcquireLock(segment->header(), lock, Named(segment),
                                                     Deadline::AfterMs(kLongMs));
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
  const uint32_t me = Named(segment);
  for (uint32_t slot : {kFirstSlot, kFirstSlot + 16, kFirstSlot + 32}) {
    words[slot + mp::core::kTagWord].store(mp::core::kLockTag);
    words[slot].store(me | mp::core::kWaiters);
  }
  words[kFirstSlot + 16 + mp::core::kTagWord].store(mp::core::kLockTag + 1);
  words[kFirstSlot + 32].store(me + 2);
  header->next_slot.store(kFirstSlot + 48);
  mp::core::OrphanLocks(header, me);
  CHECK(words[kFirstSlot].load() == (mp::core::kOrphan | mp::core::kWaiters));
  CHECK(words[kFirstSlot + 16].load() == (me | mp::core::kWaiters));
  CHECK(words[kFirstSlot + 32].load() == me + 2);
  CHECK(mp::core::AcquireLock(segment->header(), words + kFirstSlot, me, Deadline::AfterMs(300)) ==
        Acquired::kNo);
  CHECK(mp::core::ReleaseLock(words + kFirstSlot, header));
}

TEST_CASE("lock: the end of a full segment is the end, however far was counted") {
  const auto segment = MakeSegment();
  SegmentHeader* header = segment->header();
  const uint32_t last = header->size - mp::core::kSlotWords;
  const uint32_t me = Named(segment);
  segment->words()[last + mp::core::kTagWord].store(mp::core::kLockTag);
  segment->words()[last].store(me);
  header->next_slot.store(header->size + 4096);
  mp::core::OrphanLocks(header, me);
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
  const uint32_t me = Named(segment);
  words[lock].store(me);
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
  const uint32_t gone = DeadOwner(segment);
  for (uint32_t i = 0; i < 100; i++) words[kFirstSlot + 16 * i].store(gone);
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
      const uint32_t me = Named(segment);
      auto reports = std::make_shared<Reports>();
      Listener listener(segment, [reports] { reports->Ring(); });
      for (uint32_t round = 0; round < 200; round++) {
        while (mp::core::AcquireLock(segment->header(), lock, me, Deadline::AfterMs(0)) ==
               Acquired::kNo) {
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
