#if !defined(_WIN32)

#include "core/fd_passing.h"

#include <doctest.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <initializer_list>
#include <string>

using namespace mp::core;

namespace {

FdPair NewSockets() {
  auto made = MakeSocketPair(SOCK_STREAM, true);
  REQUIRE(made.ok());
  return std::move(made.value());
}

int LowestFree() {
  const auto probe = Duplicate(0);
  REQUIRE(probe.ok());
  return probe.value().get();
}

}  // namespace

TEST_CASE("fd passing: descriptors arrive as copies of the same files, close-on-exec") {
  FdPair sockets = NewSockets();
  auto pipe = MakePipe(false);
  REQUIRE(pipe.ok());
  const auto sent = SendFds(sockets.first.get(), "hi", 2,
                            {pipe.value().first.get(), pipe.value().second.get()}, 0);
  REQUIRE(sent.ok());
  CHECK(sent.value() == 2);

  char text[8];
  const auto received = ReceiveFds(sockets.second.get(), text, sizeof(text), 4, 0);
  REQUIRE(received.ok());
  CHECK(std::string(text, received.value().bytes) == "hi");
  REQUIRE(received.value().fds.size() == 2);
  const int copy_of_write_end = received.value().fds[1].get();
  CHECK((fcntl(copy_of_write_end, F_GETFD) & FD_CLOEXEC) != 0);
  CHECK(copy_of_write_end != pipe.value().second.get());
  CHECK(WriteAll(copy_of_write_end, "through", 7).ok());
  CHECK(ReadSome(pipe.value().first.get(), text, sizeof(text)).value() == 7);
}

TEST_CASE("fd passing: more than asked for is closed and said, never delivered") {
  for (const size_t most : {size_t{0}, size_t{1}, size_t{2}}) {
    CAPTURE(most);
    FdPair sockets = NewSockets();
    REQUIRE(SendFds(sockets.first.get(), "x", 1, {0, 0, 0}, 0).ok());
    const int before = LowestFree();
    {
      char byte = 0;
      const auto received = ReceiveFds(sockets.second.get(), &byte, 1, most, 0);
      REQUIRE(received.ok());
      CHECK(received.value().fds.size() == most);
      CHECK((received.value().flags & MSG_CTRUNC) != 0);
    }
    CHECK(LowestFree() == before);
  }
}

TEST_CASE("fd passing: no descriptors is a plain message, and the end is empty") {
  FdPair sockets = NewSockets();
  REQUIRE(SendFds(sockets.first.get(), "x", 1, {}, 0).ok());
  char byte = 0;
  auto received = ReceiveFds(sockets.second.get(), &byte, 1, 4, 0);
  REQUIRE(received.ok());
  CHECK(received.value().bytes == 1);
  CHECK(received.value().fds.empty());
  CHECK(received.value().flags == 0);
  sockets.first.Reset();
  received = ReceiveFds(sockets.second.get(), &byte, 1, 4, 0);
  REQUIRE(received.ok());
  CHECK(received.value().bytes == 0);
}

TEST_CASE("fd passing: misuse") {
  FdPair sockets = NewSockets();
  char byte = 0;
  CHECK(SendFds(sockets.first.get(), "x", 1, {-1}, 0).error().errnum == EBADF);
  CHECK(SendFds(-1, "x", 1, {0}, 0).error().errnum == EBADF);
  CHECK(ReceiveFds(-1, &byte, 1, 1, 0).error().errnum == EBADF);
  CHECK(ReceiveFds(sockets.first.get(), &byte, 1, 1, MSG_DONTWAIT).error().errnum == EAGAIN);
  auto pipe = MakePipe(true);
  CHECK(ReceiveFds(pipe.value().first.get(), &byte, 1, 1, 0).error().errnum == ENOTSOCK);
  sockets.second.Reset();
  CHECK(SendFds(sockets.first.get(), "x", 1, {0}, 0).error().errnum == EPIPE);
}

#endif
