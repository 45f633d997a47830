// Every interleaving of a few processes in the algorithms of native/core/lock.cc, one atomic access per step, with
// a death at any of them: a model, which is checked against what the header promises. Whoever changes a step there
// changes it here. That the model can fail is tested as well: each mutation takes away one precaution.
//
// Time: a sleep ends by a wake-up, by the waiter's own deadline, or after a slice. Where nobody dies nothing may
// depend on slices, so there they do not exist. Where somebody may die they do, at any time (`kAlways`) or only when
// nobody else can take a step (`kWhenStuck`): the first finds races with them, the second that they are enough.

#include <doctest.h>

#include <cstdint>
#include <string>
#include <vector>

#include "explore.h"

namespace {

using mp::test::Explore;
using mp::test::Verdict;

enum class Slices { kNever, kWhenStuck, kAlways };

enum class Mutation {
  kNone,
  kNoWake,            // release does not wake
  kForgetOthers,      // who has waited takes the lock without saying that others may wait
  kLeaveSilently,     // who gives up after a wake-up does not say so either
  kParkUnchecked,     // sleeps without comparing
  kTakeOverByStore,   // no CAS once the owner is seen dead
  kTakeOverSilently,  // the death is not reported
  kNeverLook,         // nobody asks whether the owner lives
  kClearCarelessly,   // the semaphore's bit is cleared without waking those who slept meanwhile
};

constexpr int kMost = 4;
constexpr uint8_t kWaits = 0x80;  // the waiters' bit of a word

struct Process {
  uint8_t at = 0;
  uint8_t seen = 0;
  uint8_t waited_for = 0;
  uint8_t op = 0;
  bool dead = false;
  bool late = false;
  bool told = false;  // that the owner had died
};

struct State {
  uint8_t word = 0;
  uint8_t deaths_left = 0;
  Process processes[kMost];

  std::string Key() const {
    std::string key{static_cast<char>(word), static_cast<char>(deaths_left)};
    for (const Process& p : processes) {
      for (uint8_t byte : {p.at, p.seen, p.waited_for, p.op}) key += static_cast<char>(byte);
      key += static_cast<char>(p.dead | p.late << 1 | p.told << 2);
    }
    return key;
  }
};

struct Setup {
  int processes = 2;
  int deaths = 0;
  Slices slices = Slices::kNever;
  int impatient = 0;  // as many of them have a deadline
  Mutation mutation = Mutation::kNone;
};

// What both algorithms share: sleeping, waking, dying, time.
class Base {
 public:
  explicit Base(const Setup& setup) : setup_(setup) {}

  enum At : uint8_t { kBegin, kAsleep = 100, kDone = 101 };

  std::string Steps(const State& state, std::vector<State>* next) const {
    std::string violation;
    for (int i = 0; i < setup_.processes; i++) {
      const Process& p = state.processes[i];
      if (p.dead || p.at == kDone) continue;
      // Its own deadline, at any time that it would notice.
      const bool notices = p.at == kAsleep || p.at == Looks();
      if (i < setup_.impatient && !p.late && notices) Wakes(state, i, true, next);
      if (p.at != kAsleep) {
        Step(state, i, next, &violation);
        if (!violation.empty()) return violation;
      }
      if (state.deaths_left > 0 && p.at != kBegin) {
        State after = state;
        after.deaths_left--;
        after.processes[i].dead = true;
        next->push_back(after);
      }
    }
    const bool slice = setup_.slices == Slices::kAlways ||
                       (setup_.slices == Slices::kWhenStuck && !AnyAwake(state));
    for (int i = 0; slice && i < setup_.processes; i++) {
      const Process& p = state.processes[i];
      if (!p.dead && p.at == kAsleep) Wakes(state, i, false, next);
    }
    return violation;
  }

 protected:
  virtual void Step(const State& state, int i, std::vector<State>* next,
                    std::string* violation) const = 0;
  virtual uint8_t Looks() const = 0;

  bool AnyAwake(const State& state) const {
    for (int i = 0; i < setup_.processes; i++) {
      const Process& p = state.processes[i];
      if (!p.dead && p.at != kAsleep && p.at != kDone) return true;
    }
    return false;
  }

  void Wakes(const State& state, int i, bool late, std::vector<State>* next) const {
    State after = state;
    after.processes[i].at = Looks();
    after.processes[i].late |= late;
    next->push_back(after);
  }

  // FUTEX_WAKE of one: whichever the kernel likes. How many there were.
  int Unpark(const State& state, std::vector<State>* woken) const {
    for (int i = 0; i < setup_.processes; i++) {
      if (!state.processes[i].dead && state.processes[i].at == kAsleep) {
        Wakes(state, i, false, woken);
      }
    }
    const int count = static_cast<int>(woken->size());
    if (count == 0) woken->push_back(state);
    return count;
  }

  Setup setup_;
};

// ---- The lock: word = the owner's number, from 1, and the waiters' bit ----

class LockModel : public Base {
 public:
  using Base::Base;

  enum : uint8_t {
    kFastTake = kBegin,
    kLoad,
    kTakeFree,
    kLook,
    kTakeOver,
    kSayWaiting,
    kPark,
    kInside,
    kFastRelease,
    kReleaseLoad,
    kReleaseSwap,
    kWake,
  };

  State Start() const {
    State state;
    state.deaths_left = static_cast<uint8_t>(setup_.deaths);
    return state;
  }

  std::string Judge(const State& state) const {
    int inside = 0;
    for (int i = 0; i < setup_.processes; i++) {
      const Process& p = state.processes[i];
      if (!p.dead && (p.at == kInside || p.at == kFastRelease)) inside++;
    }
    return inside > 1 ? "two inside" : "";
  }

  bool IsEnd(const State& state) const {
    for (int i = 0; i < setup_.processes; i++) {
      if (!state.processes[i].dead && state.processes[i].at != kDone) return false;
    }
    return true;
  }

 protected:
  uint8_t Looks() const override { return kLoad; }

  static int OwnerOf(uint8_t word) { return (word & ~kWaits) - 1; }

  void Step(const State& state, int i, std::vector<State>* next,
            std::string* violation) const override {
    State after = state;
    Process& p = after.processes[i];
    const auto me = static_cast<uint8_t>(i + 1);
    const bool parked = p.waited_for != 0;
    const Mutation mutation = setup_.mutation;
    switch (p.at) {
      case kFastTake:  // JavaScript's, or the spinning one's, which is the same
        if (after.word == 0) {
          after.word = me;
          p.at = kInside;
        } else {
          p.at = kLoad;
        }
        break;
      case kLoad:
        p.seen = after.word;
        if (p.seen == 0) {
          p.at = kTakeFree;
        } else if (mutation != Mutation::kNeverLook && (p.seen == p.waited_for || p.late)) {
          p.at = kLook;
        } else {
          p.at = Undecided(p);
        }
        break;
      case kTakeFree:
        if (after.word == 0) {
          const bool says = parked && mutation != Mutation::kForgetOthers;
          after.word = says ? me | kWaits : me;
          p.at = kInside;
        } else {
          p.at = kLoad;
        }
        break;
      case kLook:
        p.at =
            state.processes[OwnerOf(p.seen)].dead ? static_cast<uint8_t>(kTakeOver) : Undecided(p);
        break;
      case kTakeOver:
        if (after.word == p.seen || mutation == Mutation::kTakeOverByStore) {
          after.word = me | kWaits;
          p.at = kInside;
          p.told = mutation != Mutation::kTakeOverSilently;
          if (!p.told) *violation = "not told";
          if (!state.processes[OwnerOf(p.seen)].dead) *violation = "told of a living owner";
        } else {
          p.at = kLoad;
        }
        break;
      case kSayWaiting:
        if (after.word == p.seen) {
          after.word |= kWaits;
          p.seen |= kWaits;
          p.at = p.late ? static_cast<uint8_t>(kDone) : static_cast<uint8_t>(kPark);
        } else {
          p.at = kLoad;
        }
        break;
      case kPark:
        p.waited_for = p.seen;
        p.at = after.word == p.seen || mutation == Mutation::kParkUnchecked
                   ? static_cast<uint8_t>(kAsleep)
                   : static_cast<uint8_t>(kLoad);
        break;
      case kInside:
        p.at = kFastRelease;
        break;
      case kFastRelease:
        if (after.word == me) {
          after.word = 0;
          p.at = kDone;
        } else {
          p.at = kReleaseLoad;
        }
        break;
      case kReleaseLoad:
        p.seen = after.word;
        p.at = kReleaseSwap;
        if (OwnerOf(p.seen) != i) *violation = "released what is another's";
        break;
      case kReleaseSwap:
        if (after.word == p.seen) {
          after.word = 0;
          p.at = (p.seen & kWaits) != 0 ? static_cast<uint8_t>(kWake) : static_cast<uint8_t>(kDone);
        } else {
          p.seen = after.word;
        }
        break;
      case kWake:
        p.at = kDone;
        if (mutation != Mutation::kNoWake) {
          Unpark(after, next);
          return;
        }
        break;
    }
    if (p.at == kDone) p.seen = p.waited_for = 0;
    next->push_back(after);
  }

 private:
  uint8_t Undecided(const Process& p) const {
    const bool parked = p.waited_for != 0;
    const bool says = !p.late || (parked && setup_.mutation != Mutation::kLeaveSilently);
    if ((p.seen & kWaits) == 0 && says) return kSayWaiting;
    return p.late ? static_cast<uint8_t>(kDone) : static_cast<uint8_t>(kPark);
  }
};

// ---- The semaphore: word = the value and the waiters' bit; each process has its acquisitions and releases ----

class SemaphoreModel : public Base {
 public:
  SemaphoreModel(const Setup& setup, uint8_t value, std::vector<std::string> programs)
      : Base(setup), value_(value), programs_(std::move(programs)) {}

  enum : uint8_t {
    kNext = kBegin,
    kLoad,
    kTake,
    kSayWaiting,
    kPark,
    kReleaseLoad,
    kReleaseSwap,
    kWake,
    kClear,
    kWakeAll,
  };

  State Start() const {
    State state;
    state.word = value_;
    state.deaths_left = static_cast<uint8_t>(setup_.deaths);
    return state;
  }

  std::string Judge(const State& state) const {
    return (state.word & ~kWaits) > 8 ? "more than there is" : "";
  }

  // What a process died with stays taken: others may then wait for ever, but not while there is something.
  bool IsEnd(const State& state) const {
    bool dead = false;
    bool waiting = false;
    for (int i = 0; i < setup_.processes; i++) {
      const Process& p = state.processes[i];
      dead |= p.dead;
      if (p.dead || p.at == kDone) continue;
      if (p.at != kAsleep) return false;
      waiting = true;
    }
    return !waiting || (dead && (state.word & ~kWaits) == 0);
  }

 protected:
  uint8_t Looks() const override { return kLoad; }

  void Step(const State& state, int i, std::vector<State>* next, std::string*) const override {
    State after = state;
    Process& p = after.processes[i];
    const std::string& program = programs_[static_cast<size_t>(i)];
    const auto finished = [&p] {
      p.at = kNext;
      p.seen = 0;
    };
    switch (p.at) {
      case kNext:
        if (p.op == program.size()) {
          p.at = kDone;
        } else {
          p.at = program[p.op++] == 'a' ? static_cast<uint8_t>(kLoad)
                                        : static_cast<uint8_t>(kReleaseLoad);
        }
        break;
      case kLoad:
        p.seen = after.word;
        p.at = (p.seen & ~kWaits) != 0  ? static_cast<uint8_t>(kTake)
               : (p.seen & kWaits) == 0 ? static_cast<uint8_t>(kSayWaiting)
                                        : static_cast<uint8_t>(kPark);
        break;
      case kTake:
        if (after.word == p.seen) {
          after.word--;
          finished();
        } else {
          p.at = kLoad;
        }
        break;
      case kSayWaiting:
        if (after.word == p.seen) {
          after.word |= kWaits;
          p.seen |= kWaits;
          p.at = kPark;
        } else {
          p.at = kLoad;
        }
        break;
      case kPark:
        p.at = after.word == p.seen || setup_.mutation == Mutation::kParkUnchecked
                   ? static_cast<uint8_t>(kAsleep)
                   : static_cast<uint8_t>(kLoad);
        break;
      case kReleaseLoad:
        p.seen = after.word;
        p.at = kReleaseSwap;
        break;
      case kReleaseSwap:
        if (after.word == p.seen) {
          after.word++;
          if ((p.seen++ & kWaits) != 0) {
            p.at = kWake;
          } else {
            finished();
          }
        } else {
          p.seen = after.word;
        }
        break;
      case kWake: {
        std::vector<State> woken;
        const int count = setup_.mutation == Mutation::kNoWake ? 1 : Unpark(after, &woken);
        if (setup_.mutation == Mutation::kNoWake) woken.push_back(after);
        for (State& one : woken) {
          Process& q = one.processes[i];
          q.at = count == 0 ? static_cast<uint8_t>(kClear) : static_cast<uint8_t>(kNext);
          if (count != 0) q.seen = 0;
          next->push_back(one);
        }
        return;
      }
      case kClear:
        if (after.word == p.seen) {
          after.word &= static_cast<uint8_t>(~kWaits);
          p.at = kWakeAll;
        } else {
          finished();
        }
        break;
      case kWakeAll:
        for (int j = 0; j < setup_.processes; j++) {
          Process& q = after.processes[j];
          if (setup_.mutation != Mutation::kClearCarelessly && !q.dead && q.at == kAsleep) {
            q.at = kLoad;
          }
        }
        finished();
        break;
    }
    next->push_back(after);
  }

 private:
  uint8_t value_;
  std::vector<std::string> programs_;
};

Verdict ExploreLock(int processes, int deaths, Slices slices, int impatient = 0,
                    Mutation mutation = Mutation::kNone) {
  return Explore(LockModel({processes, deaths, slices, impatient, mutation}));
}

// One waits twice, one once; two release, one of them twice.
Verdict ExploreSemaphore(int deaths, Slices slices, Mutation mutation = Mutation::kNone) {
  return Explore(SemaphoreModel({4, deaths, slices, 0, mutation}, 0, {"aa", "a", "r", "rr"}));
}

}  // namespace

TEST_CASE("lock model: without deaths all get in, one at a time, and nobody needs a slice") {
  for (int processes : {2, 3, 4}) {
    const Verdict verdict = ExploreLock(processes, 0, Slices::kNever);
    CAPTURE(processes);
    CHECK(verdict.violation == "");
    CHECK(verdict.states > 50);
  }
}

TEST_CASE("lock model: who gives up leaves nobody asleep") {
  for (int impatient : {1, 2, 3}) {
    CAPTURE(impatient);
    CHECK(ExploreLock(3, 0, Slices::kNever, impatient).violation == "");
  }
  CHECK(ExploreLock(4, 0, Slices::kNever, 1).violation == "");
}

TEST_CASE(
    "lock model: one death at any step, and slices at any time or only when nobody else can go "
    "on") {
  for (const Slices slices : {Slices::kWhenStuck, Slices::kAlways}) {
    for (int impatient : {0, 1, 2}) {
      CAPTURE(impatient);
      CHECK(ExploreLock(2, 1, slices, impatient).violation == "");
      CHECK(ExploreLock(3, 1, slices, impatient).violation == "");
    }
    CHECK(ExploreLock(3, 2, slices).violation == "");
  }
}

TEST_CASE("lock model: each precaution is needed") {
  using M = Mutation;
  CHECK(ExploreLock(2, 0, Slices::kNever, 0, M::kNoWake).violation == "stuck");
  CHECK(ExploreLock(3, 0, Slices::kNever, 0, M::kForgetOthers).violation == "stuck");
  CHECK(ExploreLock(4, 0, Slices::kNever, 1, M::kLeaveSilently).violation == "stuck");
  CHECK(ExploreLock(2, 0, Slices::kNever, 0, M::kParkUnchecked).violation == "stuck");
  CHECK(ExploreLock(3, 1, Slices::kAlways, 0, M::kTakeOverByStore).violation != "");
  CHECK(ExploreLock(2, 1, Slices::kWhenStuck, 0, M::kTakeOverSilently).violation == "not told");
  CHECK(ExploreLock(2, 1, Slices::kWhenStuck, 0, M::kNeverLook).violation == "never ends");
  CHECK(ExploreLock(2, 1, Slices::kNever).violation == "stuck");
}

TEST_CASE("semaphore model: as many get through as there is, and nobody needs a slice") {
  CHECK(ExploreSemaphore(0, Slices::kNever).violation == "");
  const Setup three{3, 0, Slices::kNever, 0, Mutation::kNone};
  CHECK(Explore(SemaphoreModel(three, 1, {"ar", "ar", "ar"})).violation == "");
  CHECK(Explore(SemaphoreModel(three, 0, {"a", "a", "rr"})).violation == "");
}

TEST_CASE("semaphore model: a death costs at most what the dead one had") {
  for (const Slices slices : {Slices::kWhenStuck, Slices::kAlways}) {
    const Setup three{3, 1, slices, 0, Mutation::kNone};
    CHECK(Explore(SemaphoreModel(three, 1, {"ar", "ar", "ar"})).violation == "");
    CHECK(ExploreSemaphore(1, slices).violation == "");
  }
}

TEST_CASE("semaphore model: each precaution is needed") {
  CHECK(ExploreSemaphore(0, Slices::kNever, Mutation::kNoWake).violation == "stuck");
  CHECK(ExploreSemaphore(0, Slices::kNever, Mutation::kParkUnchecked).violation == "stuck");
  CHECK(ExploreSemaphore(0, Slices::kNever, Mutation::kClearCarelessly).violation == "stuck");
}
