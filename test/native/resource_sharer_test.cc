#include "core/resource_sharer.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <vector>

#include "core/local_socket.h"
#include "doctest/doctest.h"

namespace {

using namespace mp::core;

Ticket TicketOf(uint8_t number) {
  Ticket ticket{};
  ticket[0] = number;
  return ticket;
}

// The reading end of a new pipe goes on the shelf, the writing end is the caller's.
UniqueFd SharePipe(uint8_t number, std::string* address, bool standing = false) {
  auto pipe = MakePipe(true);
  REQUIRE(pipe.ok());
  const auto shared = ShareFd(pipe.value().first.get(), TicketOf(number), standing);
  REQUIRE(shared.ok());
  *address = shared.value();
  return std::move(pipe.value().second);
}

bool HasReader(const UniqueFd& writing) {
  PollSlot slot{writing.get(), 4 /* POLLOUT */, 0};
  (void)PollFds(&slot, 1, Deadline::AfterMs(0));
  return (slot.revents & 8 /* POLLERR */) == 0;
}

void AwaitNoReader(const UniqueFd& writing) {
  const Deadline deadline = Deadline::AfterMs(10'000);
  while (HasReader(writing) && !deadline.passed()) SleepUntil(Deadline::AfterMs(1));
  CHECK(!HasReader(writing));
}

Deadline Soon() { return Deadline::AfterMs(20'000); }

}  // namespace

TEST_CASE("a descriptor is fetched once") {
  std::string address;
  const UniqueFd writing = SharePipe(1, &address);
  {
    auto fetched = FetchFd(address, TicketOf(1), Soon());
    REQUIRE(fetched.ok());
    REQUIRE(WriteSome(writing.get(), "x", 1).ok());
    char byte = 0;
    REQUIRE(ReadSome(fetched.value().get(), &byte, 1).ok());
    CHECK(byte == 'x');
    CHECK((fcntl(fetched.value().get(), F_GETFD) & FD_CLOEXEC) != 0);
  }
  AwaitNoReader(writing);
  const auto again = FetchFd(address, TicketOf(1), Soon());
  CHECK(again.error().errnum == ENXIO);
}

TEST_CASE("a standing one is fetched until it is revoked") {
  std::string address;
  const UniqueFd writing = SharePipe(8, &address, true);
  for (int i = 0; i < 3; i++) CHECK(FetchFd(address, TicketOf(8), Soon()).ok());
  CHECK(HasReader(writing));
  RevokeFd(TicketOf(8));
  AwaitNoReader(writing);
  CHECK(FetchFd(address, TicketOf(8), Soon()).error().errnum == ENXIO);
}

TEST_CASE("what is revoked is closed, and cannot be fetched") {
  std::string address;
  const UniqueFd writing = SharePipe(2, &address);
  RevokeFd(TicketOf(2));
  CHECK(!HasReader(writing));
  CHECK(FetchFd(address, TicketOf(2), Soon()).error().errnum == ENXIO);
  RevokeFd(TicketOf(2));
}

TEST_CASE("nobody is there") {
  CHECK(FetchFd("@node-mp-nobody", TicketOf(3), Soon()).error().errnum == ECONNREFUSED);
  CHECK(FetchFd("/nowhere/s", TicketOf(3), Soon()).error().errnum == ENOENT);
  CHECK(FetchFd("", TicketOf(3), Soon()).error().errnum == ENAMETOOLONG);
  CHECK(FetchFd(std::string(300, 'x'), TicketOf(3), Soon()).error().errnum == ENAMETOOLONG);
}

TEST_CASE("guests who say nothing, or half of it, hold up nobody") {
  std::string address;
  const UniqueFd writing = SharePipe(4, &address);
  std::vector<UniqueFd> guests;
  for (int i = 0; i < 20; i++) {
    auto guest = ConnectLocally(address, Soon());
    REQUIRE(guest.ok());
    if (i % 2 == 0) REQUIRE(WriteSome(guest.value().get(), "half", 4).ok());
    guests.push_back(std::move(guest.value()));
  }
  CHECK(FetchFd(address, TicketOf(4), Soon()).ok());
  AwaitNoReader(writing);
}

TEST_CASE("nobody accepts: a time limit") {
  auto listener = ListenLocally();
  REQUIRE(listener.ok());
  const auto fetched = FetchFd(listener.value().address, TicketOf(5), Deadline::AfterMs(20));
  CHECK(fetched.error().errnum == ETIMEDOUT);
}

TEST_CASE("a child has no copies, no address of its parent's, and shares by itself") {
  std::string address;
  const UniqueFd writing = SharePipe(6, &address);
  const pid_t child = fork();
  if (child == 0) {
    auto pipe = MakePipe(true);
    const auto own = ShareFd(pipe.value().first.get(), TicketOf(6), false);
    const bool good = own.ok() && own.value() != address &&
                      FetchFd(own.value(), TicketOf(6), Soon()).ok() &&
                      FetchFd(own.value(), TicketOf(6), Soon()).error().errnum == ENXIO &&
                      FetchFd(address, TicketOf(6), Soon()).ok();
    _exit(good ? 0 : 1);
  }
  int status = -1;
  waitpid(child, &status, 0);
  CHECK(status == 0);
  AwaitNoReader(writing);
}

TEST_CASE("one of another user is refused") {
  if (getuid() != 0) return;
  std::string address;
  const UniqueFd writing = SharePipe(7, &address);
  const pid_t child = fork();
  if (child == 0) {
    if (setuid(65534) != 0) _exit(2);
    // The sharer may have hung up already.
    signal(SIGPIPE, SIG_IGN);
    // Refused on this side, and on the other one where this side does not look.
    if (FetchFd(address, TicketOf(7), Soon()).error().errnum != EACCES) _exit(3);
    auto socket = ConnectLocally(address, Soon());
    if (!socket.ok()) _exit(0);
    const Ticket ticket = TicketOf(7);
    (void)WriteSome(socket.value().get(), ticket.data(), ticket.size());
    PollSlot slot{socket.value().get(), 1 /* POLLIN */, 0};
    (void)PollFds(&slot, 1, Soon());
    char byte = 1;
    const auto got = ReadSome(socket.value().get(), &byte, 1);
    _exit(got.ok() && got.value() > 0 ? 1 : 0);
  }
  int status = -1;
  waitpid(child, &status, 0);
  CHECK(status == 0);
  CHECK(HasReader(writing));
  RevokeFd(TicketOf(7));
}
