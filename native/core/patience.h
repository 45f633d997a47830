// Whether to wait awake, learnt from how it went.
//
// A sleep and the wake-up from it cost 15 to 50 µs. So whoever waits first looks again and again, for a while, but only
// where four of five such waits have paid off lately. Where CPUs are scarce they do not: the peer may need the very CPU
// that looks.
//
// Two processes that both sleep find each other slow. So now and then one that has stopped looking tries once more,
// before one sleep in 16, in 32, … in 1024 (or other numbers: Probing), for as long as that fails. The other one then
// finds the first one fast, and when it tries in its turn, stays awake, too.
#ifndef MP_CORE_PATIENCE_H_
#define MP_CORE_PATIENCE_H_

namespace mp::core {

// Before one sleep in how many it tries once more: at first, and after many failures.
struct Probing {
  double first;
  double last;
};

constexpr double kMostPatience = 8;

// Doubles, because it may lie in a Float64Array (frame.h).
struct Patience {
  double score;        // more than 0: it pays; at most kMostPatience
  double sleeps;       // since the last probe
  double probe_after;  // so many

  bool MayTry(const Probing& probing);
  void Paid(const Probing& probing);
  void Failed(const Probing& probing);
};

}  // namespace mp::core

#endif  // MP_CORE_PATIENCE_H_
