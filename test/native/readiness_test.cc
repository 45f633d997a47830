#if !defined(_WIN32)

#include <doctest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <utility>

#include "core/fd.h"
#include "core/readiness.h"

using mp::core::Deadline;
using mp::core::FdPair;
using mp::core::PollSlot;
using mp::core::Readiness;

namespace {

// As the event loop learns of it.
bool Tells(const Readiness& set) {
  PollSlot slot{set.fd(), 1 /* POLLIN */, 0};
  return mp::core::PollFds(&slot, 1, Deadline::AfterMs(20)).value() == 1;
}

struct Watched {
  FdPair ends = std::move(mp::core::MakeSocketPair(SOCK_STREAM, true).value());
  Readiness set = std::move(Readiness::Create().value());
  int fd() const { return ends.first.get(); }
  void Send() const { REQUIRE(write(ends.second.get(), "x", 1) == 1); }
};

}  // namespace

TEST_CASE("readiness: told once, and again when asked again") {
  Watched w;
  REQUIRE(w.set.Add(w.fd(), true, false).ok());
  CHECK_FALSE(Tells(w.set));
  CHECK_FALSE(w.set.Drain());
  w.Send();
  CHECK(Tells(w.set));
  CHECK(w.set.Drain());
  CHECK_FALSE(Tells(w.set));
  REQUIRE(w.set.Add(w.fd(), true, false).ok());
  CHECK(Tells(w.set));
}

TEST_CASE("readiness: the end is something to read") {
  Watched w;
  REQUIRE(w.set.Add(w.fd(), true, false).ok());
  w.ends.second.Reset();
  CHECK(Tells(w.set));
  CHECK(w.set.Drain());
}

TEST_CASE("readiness: a later interest replaces the earlier one") {
  Watched w;
  REQUIRE(w.set.Add(w.fd(), true, true).ok());
  CHECK(Tells(w.set));
  REQUIRE(w.set.Add(w.fd(), true, false).ok());
  CHECK_FALSE(Tells(w.set));
  REQUIRE(w.set.Add(w.fd(), false, true).ok());
  CHECK(Tells(w.set));
  CHECK(w.set.Drain());
  w.Send();
  CHECK_FALSE(Tells(w.set));
}

TEST_CASE("readiness: what was removed, closed or never there tells nothing") {
  Watched w;
  w.set.Remove(w.fd());
  REQUIRE(w.set.Add(w.fd(), true, false).ok());
  w.set.Remove(w.fd());
  w.Send();
  CHECK_FALSE(Tells(w.set));
  const int fd = w.fd();
  REQUIRE(w.set.Add(fd, true, false).ok());
  w.ends.first.Reset();
  w.set.Remove(fd);
  CHECK_FALSE(Tells(w.set));
  CHECK(w.set.Add(fd, true, false).error().errnum == EBADF);
}

#endif
