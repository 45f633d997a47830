#include "core/clock.h"

#include <doctest.h>

#include <climits>
#include <cmath>
#include <initializer_list>

using mp::core::Deadline;
using mp::core::MonotonicNs;
using mp::core::SleepUntil;

TEST_CASE("clock: a deadline of 0 has passed, a negative one never does") {
  CHECK(Deadline::AfterMs(0).passed());
  CHECK(Deadline::AfterMs(-1).never());
  CHECK_FALSE(Deadline::AfterMs(-1).passed());
  CHECK(Deadline::Never().RemainingPollMs() == -1);
}

TEST_CASE("clock: what remains is rounded up for poll, so that waiting it out is enough") {
  const Deadline soon = Deadline::AfterMs(0.5);
  CHECK(soon.RemainingPollMs() <= 1);
  const Deadline later = Deadline::AfterMs(10.5);
  CHECK(later.RemainingPollMs() >= 10);
  CHECK(later.RemainingPollMs() <= 11);
}

TEST_CASE("clock: times beyond every calendar neither overflow nor pass") {
  for (const double ms : {1e12, 1e18, 1e300, static_cast<double>(INFINITY)}) {
    const Deadline far = Deadline::AfterMs(ms);
    CHECK_FALSE(far.passed());
    CHECK(far.RemainingNs() > 0);
    CHECK(far.RemainingPollMs() == INT_MAX);
  }
}

TEST_CASE("clock: sleeping lasts until the deadline, also when it is over") {
  const int64_t start = MonotonicNs();
  SleepUntil(Deadline::AfterMs(20));
  const int64_t took = MonotonicNs() - start;
  CHECK(took >= 20'000'000);
  SleepUntil(Deadline::AfterMs(0));
}
