// Every interleaving of a few threads in the algorithms of native/core/owner.cc, one atomic access per step, with a
// death at any of them: they enrol in a table that is too small, take a lock by their names, look at the names of
// others and end, and their ids are given to others. Whoever changes a step there changes it here. That the model can
// fail is tested as well: each mutation takes away one precaution.

#include <doctest.h>

#include <cstdint>
#include <string>
#include <vector>

#include "explore.h"

using mp::test::Explore;
using mp::test::Verdict;

namespace {

enum class Mutation {
  kNone,
  kClaimByStore,   // no CAS once the old owner is seen dead
  kPublishFirst,   // the number before who it is
  kNoClaim,        // written while the old number stands there
  kReadOnce,       // the number is not looked at again after what it leads to
  kTakeTheLiving,  // nobody asks whether the old owner lives
  kIgnoreStart,    // who has the id is the owner
};

constexpr int kMost = 4;
constexpr int kMostEntries = 2;
constexpr uint8_t kClaimed = 0xff;

enum At : uint8_t {
  kUnborn,
  kNext,
  kSee,
  kReadStart,
  kReadThread,
  kSeeAgain,
  kLook,
  kClaim,
  kWriteThread,
  kWriteStart,
  kPublish,
  kTake,
  kOwnerSee,
  kOwnerStart,
  kOwnerThread,
  kOwnerAgain,
  kOwnerLook,
  kTakeOver,
  kInside,
  kGone,
};

struct Entry {
  uint8_t number = 0;
  uint8_t thread = 0;
  uint8_t start = 0;
};

struct Thread {
  uint8_t at = kUnborn;
  uint8_t number = 0;
  uint8_t tries = 0;
  uint8_t seen = 0;
  uint8_t thread = 0;  // as read
  uint8_t start = 0;
};

struct Table {
  uint8_t next = 0;
  uint8_t word = 0;  // the lock's: its owner's number
  uint8_t deaths_left = 0;
  Entry entries[kMostEntries];
  Thread threads[kMost];

  std::string Key() const {
    const auto* bytes = reinterpret_cast<const char*>(this);
    return std::string(bytes, sizeof(*this));
  }
};
static_assert(alignof(Table) == 1, "without gaps, so that its bytes are its key");

struct Setup {
  int threads = 3;
  int entries = 2;
  int deaths = 0;
  Mutation mutation = Mutation::kNone;
};

class EnrolModel {
 public:
  explicit EnrolModel(const Setup& setup) : setup_(setup) {}

  Table Start() const {
    Table table;
    table.deaths_left = static_cast<uint8_t>(setup_.deaths);
    return table;
  }

  std::string Judge(const Table& table) const {
    int inside = 0;
    for (int i = 0; i < setup_.threads; i++) {
      const Thread& one = table.threads[i];
      if (one.at == kInside) inside++;
      if (!HasName(one)) continue;
      if (table.entries[IndexOf(one.number)].number != one.number) return "lost its name";
      for (int j = 0; j < i; j++) {
        if (HasName(table.threads[j]) && table.threads[j].number == one.number) return "one name";
      }
    }
    return inside > 1 ? "two inside" : "";
  }

  bool IsEnd(const Table& table) const {
    for (int i = 0; i < setup_.threads; i++) {
      if (table.threads[i].at != kGone) return false;
    }
    return true;
  }

  std::string Steps(const Table& table, std::vector<Table>* next) const {
    std::string violation;
    for (int i = 0; i < setup_.threads && violation.empty(); i++) {
      const Thread& one = table.threads[i];
      if (one.at == kGone || (one.at == kUnborn && Exists(table, IdOf(i)))) continue;
      Table after = table;
      Step(&after, i, &violation);
      next->push_back(after);
      if (table.deaths_left > 0 && one.at != kUnborn) {
        after = table;
        after.deaths_left--;
        End(&after.threads[i]);
        next->push_back(after);
      }
    }
    return violation;
  }

 private:
  // The first two have the same id, one after the other, and differ in when they started.
  static uint8_t IdOf(int i) { return static_cast<uint8_t>(i < 2 ? 1 : i); }
  static uint8_t StartOf(int i) { return static_cast<uint8_t>(i == 1 ? 2 : 1); }
  static bool Lives(const Thread& one) { return one.at != kUnborn && one.at != kGone; }
  static bool HasName(const Thread& one) { return one.at >= kTake && one.at <= kInside; }
  static void End(Thread* one) {
    *one = Thread{};
    one->at = kGone;
  }
  int IndexOf(uint8_t number) const { return number % setup_.entries; }

  bool Exists(const Table& table, uint8_t id) const {
    for (int i = 0; i < setup_.threads; i++) {
      if (Lives(table.threads[i]) && IdOf(i) == id) return true;
    }
    return false;
  }

  // What LookAtProcess is asked for.
  bool HasDied(const Table& table, uint8_t id, uint8_t start) const {
    for (int i = 0; i < setup_.threads; i++) {
      if (!Lives(table.threads[i]) || IdOf(i) != id) continue;
      return StartOf(i) != start && setup_.mutation != Mutation::kIgnoreStart;
    }
    return true;
  }

  void Step(Table* table, int i, std::string* violation) const {
    const Mutation mutation = setup_.mutation;
    Thread& one = table->threads[i];
    Entry& mine = table->entries[IndexOf(one.number)];
    const Entry& owners = table->entries[IndexOf(one.seen)];
    const auto forget = [&one] { one.seen = one.thread = one.start = 0; };
    switch (one.at) {
      case kUnborn:
        one.at = kNext;
        break;
      case kNext:
        forget();
        if (one.tries++ == setup_.entries) {
          End(&one);
          return;
        }
        one.number = ++table->next;
        one.at = kSee;
        break;
      case kSee:
        one.seen = mine.number;
        one.at = one.seen == kClaimed ? kNext : one.seen == 0 ? kClaim : kReadStart;
        break;
      case kReadStart:
        one.start = mine.start;
        one.at = kReadThread;
        break;
      case kReadThread:
        one.thread = mine.thread;
        one.at = mutation == Mutation::kReadOnce ? kLook : kSeeAgain;
        break;
      case kSeeAgain:
        one.at = mine.number == one.seen ? kLook : kClaim;
        break;
      case kLook:
        one.at = HasDied(*table, one.thread, one.start) || mutation == Mutation::kTakeTheLiving
                     ? kClaim
                     : kNext;
        break;
      case kClaim:
        if (mine.number == one.seen || mutation == Mutation::kClaimByStore) {
          mine.number = mutation == Mutation::kPublishFirst ? one.number
                        : mutation == Mutation::kNoClaim    ? one.seen
                                                            : kClaimed;
          forget();
          one.at = kWriteThread;
        } else {
          one.at = kNext;
        }
        break;
      case kWriteThread:
        mine.thread = IdOf(i);
        one.at = kWriteStart;
        break;
      case kWriteStart:
        mine.start = StartOf(i);
        one.at = kPublish;
        break;
      case kPublish:
        mine.number = one.number;
        one.tries = 0;
        one.at = kTake;
        break;
      case kTake:
        forget();
        one.seen = table->word;
        if (one.seen == 0) table->word = one.number;
        one.at = one.seen == 0 ? kInside : kOwnerSee;
        break;
      case kOwnerSee:
        one.at = owners.number == one.seen ? kOwnerStart : kTakeOver;
        break;
      case kOwnerStart:
        one.start = owners.start;
        one.at = kOwnerThread;
        break;
      case kOwnerThread:
        one.thread = owners.thread;
        one.at = mutation == Mutation::kReadOnce ? kOwnerLook : kOwnerAgain;
        break;
      case kOwnerAgain:
        one.at = owners.number == one.seen ? kOwnerLook : kTakeOver;
        break;
      case kOwnerLook:
        one.at = HasDied(*table, one.thread, one.start) ? kTakeOver : kTake;
        break;
      case kTakeOver:
        if (table->word != one.seen) {
          one.at = kTake;
          break;
        }
        for (int j = 0; j < setup_.threads; j++) {
          if (HasName(table->threads[j]) && table->threads[j].number == one.seen) {
            *violation = "took over from the living";
          }
        }
        table->word = one.number;
        forget();
        one.at = kInside;
        break;
      case kInside:
        if (table->word == one.number) table->word = 0;
        End(&one);
        break;
    }
  }

  Setup setup_;
};

Verdict Enrols(int threads, int entries, int deaths, Mutation mutation = Mutation::kNone) {
  return Explore(EnrolModel({threads, entries, deaths, mutation}));
}

}  // namespace

TEST_CASE(
    "enrol model: nobody who lives loses a name or a lock, and locks of the dead are taken over") {
  for (int entries : {1, 2}) {
    for (int deaths : {0, 1, 2}) {
      CAPTURE(entries);
      CAPTURE(deaths);
      const Verdict verdict = Enrols(3, entries, deaths);
      CHECK(verdict.violation == "");
      CHECK(verdict.states > 50);
    }
  }
  if (!mp::test::kSmallSpaces) CHECK(Enrols(4, 1, 1).violation == "");
}

TEST_CASE("enrol model: each precaution is needed") {
  using M = Mutation;
  CHECK(Enrols(3, 1, 1, M::kClaimByStore).violation == "lost its name");
  CHECK(Enrols(3, 1, 1, M::kPublishFirst).violation == "lost its name");
  CHECK(Enrols(3, 1, 1, M::kNoClaim).violation == "lost its name");
  CHECK(Enrols(3, 1, 1, M::kTakeTheLiving).violation == "lost its name");
  CHECK(Enrols(3, 2, 1, M::kIgnoreStart).violation == "never ends");
  // The second look only saves a wait for another slice: who was read half changed has died.
  CHECK(Enrols(3, 2, 2, M::kReadOnce).violation == "");
}
