// Every interleaving of a few producers, blocked consumers and event loops at one end of a channel: the waiting bit, the
// futex, the wish for the bell and the bell, as native/core/channel.cc has them, one atomic access per step. Nobody
// dies and there are no slices: whoever sleeps must be woken for an item that is there. That the model can fail is
// tested as well: each mutation takes away one precaution. (What deaths do to the memory is in channel_test.cc.)

#include <doctest.h>

#include <cstdint>
#include <string>
#include <vector>

#include "explore.h"

namespace {

using mp::test::Explore;
using mp::test::kSmallSpaces;

enum class Mutation {
  kNone,
  kParkUnchecked,    // sleeps without comparing the word
  kClearCarelessly,  // the bit is cleared and those who slept meanwhile are not woken
  kRingOnce,         // nobody looks for the wish after the bit was cleared
  kBitFirst,         // the bit before the wish
  kResetBlindly,     // after a reset nobody looks whether an item has come
  kKeepItToOneself,  // it is seen, but the bell is not rung for the others
};

constexpr int kMost = 5;

enum At : uint8_t {
  // A producer, for each item.
  kCommit,
  kRing,
  kRingStore,
  kRingBell,
  kUnpark,
  kLoadBit,
  kClearBit,
  kUnparkAll,
  kRing2,
  kRingStore2,
  kRingBell2,
  // A blocked consumer.
  kLook,
  kSetBit,
  kPark,
  kAsleep,
  kTake,
  // An event loop.
  kAttempt,
  kReset,
  kWish,
  kWishBit,
  kCheck,
  kRingOthers,
  kRingOthersStore,
  kRingOthersBell,
  kPolling,
  kDone,
};

struct Agent {
  uint8_t at = kDone;
  uint8_t left = 0;  // items to put
  uint8_t seen = 0;  // the word, as it was read
};

struct State {
  uint8_t puts = 0;
  uint8_t gots = 0;
  bool bit = false;
  bool wish = false;
  bool rings = false;
  Agent agents[kMost];

  uint8_t Word() const { return static_cast<uint8_t>(puts << 1 | (bit ? 1 : 0)); }
  std::string Key() const {
    std::string key{static_cast<char>(puts), static_cast<char>(gots),
                    static_cast<char>(bit | wish << 1 | rings << 2)};
    for (const Agent& agent : agents) {
      for (uint8_t byte : {agent.at, agent.left, agent.seen}) key += static_cast<char>(byte);
    }
    return key;
  }
};

struct Setup {
  int producers = 1;
  int blocked = 1;
  int loops = 1;
  Mutation mutation = Mutation::kNone;
};

class ChannelModel {
 public:
  explicit ChannelModel(const Setup& setup) : setup_(setup) {}

  // As many items as there are to take them.
  State Start() const {
    State state;
    const int takers = setup_.blocked + setup_.loops;
    int agent = 0;
    for (int i = 0; i < setup_.producers; i++) {
      const int items = takers / setup_.producers + (i < takers % setup_.producers ? 1 : 0);
      state.agents[agent++] = {items > 0 ? kCommit : kDone, static_cast<uint8_t>(items), 0};
    }
    for (int i = 0; i < setup_.blocked; i++) state.agents[agent++].at = kLook;
    for (int i = 0; i < setup_.loops; i++) state.agents[agent++].at = kAttempt;
    return state;
  }

  std::string Judge(const State& state) const {
    return state.gots > state.puts ? "taken twice" : "";
  }

  bool IsEnd(const State& state) const {
    for (const Agent& agent : state.agents) {
      if (agent.at != kDone) return false;
    }
    return true;
  }

  std::string Steps(const State& state, std::vector<State>* next) const {
    for (int i = 0; i < kMost; i++) {
      const uint8_t at = state.agents[i].at;
      if (at == kDone || at == kAsleep) continue;
      // Level-triggered.
      if (at == kPolling && !state.rings) continue;
      Step(state, i, next);
    }
    return "";
  }

 private:
  void Step(const State& state, int i, std::vector<State>* next) const {
    State after = state;
    Agent& me = after.agents[i];
    const Mutation mutation = setup_.mutation;
    auto go = [&](At at) { me.at = at; };
    switch (me.at) {
      case kCommit:
        after.puts++;
        me.left--;
        go(state.bit ? kRing : me.left > 0 ? kCommit : kDone);
        break;
      case kRing:
        go(state.wish ? kRingStore : kUnpark);
        break;
      case kRingStore:
        after.wish = false;
        go(kRingBell);
        break;
      case kRingBell:
        after.rings = true;
        go(kUnpark);
        break;
      case kUnpark:
        if (Sleepers(state)) {
          // Whichever the kernel likes.
          for (int sleeper = 0; sleeper < kMost; sleeper++) {
            if (state.agents[sleeper].at != kAsleep) continue;
            State woken = state;
            woken.agents[sleeper].at = kLook;
            woken.agents[i].at = kRing2;
            next->push_back(woken);
          }
          return;
        }
        go(kLoadBit);
        break;
      case kLoadBit:
        me.seen = state.Word();
        go(state.bit ? kClearBit : kRing2);
        break;
      case kClearBit:
        if (state.Word() == me.seen) {
          after.bit = false;
          go(mutation == Mutation::kClearCarelessly ? kRing2 : kUnparkAll);
        } else {
          go(kRing2);
        }
        me.seen = 0;
        break;
      case kUnparkAll:
        for (Agent& agent : after.agents) {
          if (agent.at == kAsleep) agent.at = kLook;
        }
        go(kRing2);
        break;
      case kRing2:
        go(state.wish && mutation != Mutation::kRingOnce ? kRingStore2
           : me.left > 0                                 ? kCommit
                                                         : kDone);
        break;
      case kRingStore2:
        after.wish = false;
        go(kRingBell2);
        break;
      case kRingBell2:
        after.rings = true;
        go(me.left > 0 ? kCommit : kDone);
        break;

      case kLook:
        me.seen = state.Word();
        go(state.puts != state.gots ? kTake : state.bit ? kPark : kSetBit);
        break;
      case kSetBit:
        if (state.Word() == me.seen) {
          after.bit = true;
          me.seen |= 1;
          go(kPark);
        } else {
          go(kLook);
        }
        break;
      case kPark:
        go(state.Word() == me.seen || mutation == Mutation::kParkUnchecked ? kAsleep : kLook);
        me.seen = 0;
        break;
      case kTake:
        me.seen = 0;
        if (state.puts != state.gots) {
          after.gots++;
          go(kDone);
        } else {
          go(kLook);
        }
        break;

      case kAttempt:
        if (state.puts != state.gots) {
          after.gots++;
          go(kDone);
        } else {
          go(kReset);
        }
        break;
      case kReset:
        after.rings = false;
        go(mutation == Mutation::kBitFirst ? kWishBit : kWish);
        break;
      case kWish:
        after.wish = true;
        go(mutation == Mutation::kBitFirst ? kCheck : kWishBit);
        break;
      case kWishBit:
        after.bit = true;
        go(mutation == Mutation::kBitFirst ? kWish : kCheck);
        break;
      case kCheck:
        if (state.puts == state.gots || mutation == Mutation::kResetBlindly) {
          go(kPolling);
        } else {
          go(mutation == Mutation::kKeepItToOneself ? kAttempt : kRingOthers);
        }
        break;
      case kRingOthers:
        go(state.wish ? kRingOthersStore : kPolling);
        break;
      case kRingOthersStore:
        after.wish = false;
        go(kRingOthersBell);
        break;
      case kRingOthersBell:
        after.rings = true;
        go(kPolling);
        break;
      case kPolling:
        go(kAttempt);
        break;
      default:
        break;
    }
    next->push_back(after);
  }

  static bool Sleepers(const State& state) {
    for (const Agent& agent : state.agents) {
      if (agent.at == kAsleep) return true;
    }
    return false;
  }

  Setup setup_;
};

std::string ViolationOf(const Setup& setup) { return Explore(ChannelModel(setup)).violation; }

}  // namespace

TEST_CASE("channel model: nobody sleeps beside an item") {
  for (const Setup& setup :
       {Setup{1, 1, 0}, Setup{1, 2, 0}, Setup{2, 2, 0}, Setup{1, 0, 1}, Setup{1, 0, 2},
        Setup{2, 0, 2}, Setup{1, 1, 1}, Setup{2, 1, 1}, Setup{1, 2, 1}, Setup{1, 1, 2}}) {
    CAPTURE(setup.producers);
    CAPTURE(setup.blocked);
    CAPTURE(setup.loops);
    CHECK(ViolationOf(setup) == "");
  }
  if (kSmallSpaces) return;
  for (const Setup& setup : {Setup{2, 2, 1}, Setup{2, 1, 2}, Setup{2, 0, 3}, Setup{2, 3, 0}}) {
    CAPTURE(setup.blocked);
    CAPTURE(setup.loops);
    CHECK(ViolationOf(setup) == "");
  }
}

TEST_CASE("channel model: without any of its precautions somebody does") {
  auto found = [](Mutation mutation) {
    for (const Setup& setup : {Setup{1, 1, 0}, Setup{2, 2, 0}, Setup{1, 0, 2}, Setup{2, 0, 2},
                               Setup{2, 1, 1}, Setup{1, 1, 2}, Setup{2, 1, 2}, Setup{2, 0, 3}}) {
      Setup mutated = setup;
      mutated.mutation = mutation;
      if (!ViolationOf(mutated).empty()) return true;
    }
    return false;
  };
  CHECK(found(Mutation::kParkUnchecked));
  CHECK(found(Mutation::kClearCarelessly));
  CHECK(found(Mutation::kRingOnce));
  CHECK(found(Mutation::kBitFirst));
  CHECK(found(Mutation::kResetBlindly));
  CHECK(found(Mutation::kKeepItToOneself));
}
