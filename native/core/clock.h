// Monotonic time, deadlines and sleeping.
//
// A timeout becomes a Deadline once, at the entry of a call; everything below waits for the
// deadline. So a signal that interrupts a wait cannot lengthen it, and a change of the wall clock
// cannot touch it.
#pragma once

#include <cstdint>

#if !defined(_WIN32)
#include <ctime>
#endif

namespace mp::core {

// Nanoseconds of a clock that never goes back; its zero is arbitrary but the same for every process
// since boot.
int64_t MonotonicNs();

class Deadline {
 public:
  // Negative means never. Longer than a century is a century, so that no later arithmetic can
  // overflow.
  static Deadline AfterMs(double ms);
  static Deadline Never() { return Deadline(kNever); }

  bool never() const { return at_ns_ == kNever; }
  bool passed() const { return RemainingNs() == 0; }
  int64_t at_ns() const { return at_ns_; }

  // 0 once passed; a century when never.
  int64_t RemainingNs() const;
  // The same in the unit of poll(): rounded up, so that waiting it out always reaches the deadline;
  // -1 when never.
  int RemainingPollMs() const;

 private:
  static constexpr int64_t kNever = INT64_MAX;
  // Of a call that must not wait: it need not look at the clock.
  static constexpr int64_t kPassed = 0;
  explicit Deadline(int64_t at_ns) : at_ns_(at_ns) {}
  int64_t at_ns_;
};

// Returns when the deadline has passed, whatever signals arrive meanwhile.
void SleepUntil(const Deadline& deadline);

#if !defined(_WIN32)
timespec ToTimespec(int64_t ns);
#endif

}  // namespace mp::core
