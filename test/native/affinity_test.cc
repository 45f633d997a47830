#include "core/plain_posix.h"

#if defined(MP_LINUX)

#include "core/affinity.h"

#include <doctest.h>
#include <sched.h>

#include <algorithm>
#include <initializer_list>

using namespace mp::core;

TEST_CASE("affinity: what is set is read back, and only that") {
  const auto all = GetAffinity(0);
  REQUIRE(all.ok());
  REQUIRE_FALSE(all.value().empty());
  CHECK(std::is_sorted(all.value().begin(), all.value().end()));
  CHECK(static_cast<int>(all.value().size()) <= CPU_SETSIZE);

  const int last = all.value().back();
  REQUIRE(SetAffinity(0, {last}).ok());
  CHECK(GetAffinity(0).value() == std::vector<int>{last});
  CHECK(SetAffinity(0, all.value()).ok());
  CHECK(GetAffinity(0).value() == all.value());
}

TEST_CASE("affinity: CPUs that are not there count for nothing, however high their number") {
  const auto all = GetAffinity(0);
  REQUIRE(all.ok());
  for (const int absent : {5000, 1 << 19, 1 << 20, 2147483647}) {
    CAPTURE(absent);
    CHECK(SetAffinity(0, {absent}).error().errnum == EINVAL);
    std::vector<int> with_absent = all.value();
    with_absent.push_back(absent);
    CHECK(SetAffinity(0, with_absent).ok());
    CHECK(GetAffinity(0).value() == all.value());
  }
  CHECK(SetAffinity(0, {}).error().errnum == EINVAL);
}

TEST_CASE("affinity: no such process is ESRCH") {
  CHECK(GetAffinity(2147483647).error().errnum == ESRCH);
  CHECK(SetAffinity(2147483647, {0}).error().errnum == ESRCH);
}

#endif
