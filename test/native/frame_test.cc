#if !defined(_WIN32)

#include "core/frame.h"

#include <doctest.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <string>
#include <thread>
#include <vector>

#include "core/readiness.h"

using namespace mp::core;

namespace {

FdPair NewSockets() {
  auto made = MakeSocketPair(SOCK_STREAM, true);
  REQUIRE(made.ok());
  return std::move(made.value());
}

FrameState NewState() {
  FrameState state{};
  state.length = -1;
  return state;
}

std::string Pattern(size_t size) {
  std::string text(size, '\0');
  for (size_t i = 0; i < size; ++i) text[i] = static_cast<char>(i * 31 + i / 251);
  return text;
}

const Deadline kNever = Deadline::Never();
const std::vector<int> kNoFds;

int64_t Receive(int fd, FrameState* state, std::string* room, bool wait) {
  const auto got = ReceiveFrame(fd, state, room->data(), room->size(), kNever, wait, nullptr);
  REQUIRE(got.ok());
  return got.value();
}

}  // namespace

TEST_CASE("frame: parts leave as one message") {
  FdPair sockets = NewSockets();
  const std::string text = Pattern(5000);
  const FramePart parts[] = {{text.data(), 1}, {nullptr, 0}, {text.data() + 1, 4999}};
  const auto sent = SendFrame(sockets.first.get(), parts, 3, kNoFds, 0, kNever, true);
  REQUIRE(sent.ok());
  CHECK(sent.value() == 5004);
  FrameState state = NewState();
  std::string room(6000, ' ');
  CHECK(Receive(sockets.second.get(), &state, &room, true) == 5000);
  CHECK(room.substr(0, 5000) == text);
  CHECK(Receive(sockets.second.get(), &state, &room, false) == kFrameNotYet);
}

TEST_CASE("frame: more parts than one system call takes") {
  FdPair sockets = NewSockets();
  const std::string text = Pattern(300);
  std::vector<FramePart> parts;
  for (const char& byte : text) parts.push_back({&byte, 1});
  CHECK(
      SendFrame(sockets.first.get(), parts.data(), parts.size(), kNoFds, 0, kNever, true).value() ==
      304);
  FrameState state = NewState();
  std::string room(300, ' ');
  CHECK(Receive(sockets.second.get(), &state, &room, true) == 300);
  CHECK(room == text);
}

TEST_CASE("frame: it may be cut anywhere, on both sides") {
  const std::string text = Pattern(20);
  const FramePart parts[] = {{text.data(), 7}, {text.data() + 7, 13}};
  for (size_t cut = 0; cut <= 24; ++cut) {
    CAPTURE(cut);
    FdPair sockets = NewSockets();
    std::string frame("\0\0\0\x14", 4);
    frame += text;
    REQUIRE(WriteAll(sockets.first.get(), frame.data(), cut).ok());
    FrameState state = NewState();
    std::string room(20, ' ');
    int64_t outcome = Receive(sockets.second.get(), &state, &room, false);
    // Whatever has left, the rest follows from there.
    CHECK(SendFrame(sockets.first.get(), parts, 2, kNoFds, cut, kNever, true).value() == 24);
    if (outcome == kFramePartial) {
      const auto rest = ContinueFrame(sockets.second.get(), &state, room.data(), kNever, true);
      outcome = rest.value();
    } else if (outcome == kFrameNotYet) {
      outcome = Receive(sockets.second.get(), &state, &room, true);
    }
    CHECK(outcome == 20);
    CHECK(room == text);
    CHECK(state.length == -1);
  }
}

TEST_CASE("frame: ends and lengths that cannot be") {
  struct Case {
    std::string bytes;
    int64_t outcome;
  };
  const std::string ones(4, '\xff');
  const Case cases[] = {
      {"", kFrameEnd},
      {std::string("\0\0", 2), kFrameTruncated},
      {std::string("\0\0\0\x02x", 5), kFrameTruncated},
      {ones, kFrameTruncated},
      {std::string("\xff\xff\xff\xfe", 4), kFrameMalformed},
      {std::string("\x80\0\0\0", 4), kFrameMalformed},
      {ones + std::string(8, '\xff'), kFrameMalformed},
      {ones + std::string("\x40\0\0\0\0\0\0\0", 8), kFrameMalformed},
      {std::string("\0\0\0\x09", 4), kFrameTooLong},
      {ones + std::string("\0\0\0\x01\0\0\0\0", 8), kFrameTooLong},
      {std::string(4, '\0'), 0},
  };
  for (const Case& example : cases) {
    CAPTURE(example.bytes.size());
    FdPair sockets = NewSockets();
    REQUIRE(WriteAll(sockets.first.get(), example.bytes.data(), example.bytes.size()).ok());
    sockets.first.Reset();
    FrameState state = NewState();
    std::string room(8, ' ');
    CHECK(Receive(sockets.second.get(), &state, &room, true) == example.outcome);
  }
}

TEST_CASE("frame: a large one, with a thread at each end") {
  FdPair sockets = NewSockets();
  const std::string text = Pattern(3'000'000);
  std::thread sender([&] {
    const FramePart part{text.data(), text.size()};
    SendFrame(sockets.first.get(), &part, 1, kNoFds, 0, kNever, true).ok();
  });
  FrameState state = NewState();
  std::string room(16, ' ');
  CHECK(Receive(sockets.second.get(), &state, &room, true) == kFrameTooLong);
  CHECK(state.length == 3'000'000);
  std::string payload(text.size(), ' ');
  CHECK(ContinueFrame(sockets.second.get(), &state, payload.data(), kNever, true).value() ==
        3'000'000);
  sender.join();
  CHECK(payload == text);
}

TEST_CASE(
    "frame: a send that does not wait tells how far it came, and a deadline ends one that does") {
  FdPair sockets = NewSockets();
  const std::string text = Pattern(3'000'000);
  const FramePart part{text.data(), text.size()};
  const auto first = SendFrame(sockets.first.get(), &part, 1, kNoFds, 0, kNever, false);
  REQUIRE(first.ok());
  CHECK(first.value() > 4);
  CHECK(first.value() < 3'000'004);
  const auto second =
      SendFrame(sockets.first.get(), &part, 1, kNoFds, first.value(), Deadline::AfterMs(10), true);
  CHECK(second.value() == first.value());
  sockets.second.Reset();
  const auto third = SendFrame(sockets.first.get(), &part, 1, kNoFds, first.value(), kNever, true);
  CHECK(!third.ok());
  CHECK((third.error().errnum == EPIPE || third.error().errnum == ECONNRESET));
}

TEST_CASE("frame: descriptors travel with the first byte") {
  FdPair sockets = NewSockets();
  auto pipe = MakePipe(true);
  REQUIRE(pipe.ok());
  const FramePart part{"hello", 5};
  const std::vector<int> fds{pipe.value().first.get(), pipe.value().second.get()};
  CHECK(SendFrame(sockets.first.get(), &part, 1, fds, 0, kNever, true).value() == 9);
  FrameState state = NewState();
  char room[8];
  std::vector<UniqueFd> received;
  const auto got =
      ReceiveFrame(sockets.second.get(), &state, room, sizeof room, kNever, true, &received);
  CHECK(got.value() == 5);
  REQUIRE(received.size() == 2);
  CHECK((fcntl(received[0].get(), F_GETFD) & FD_CLOEXEC) != 0);
  CHECK(WriteAll(received[1].get(), "x", 1).ok());
  CHECK(ReadSome(pipe.value().first.get(), room, 1).value() == 1);
}

TEST_CASE("frame: pipes carry frames, too") {
  auto made = MakePipe(true);
  REQUIRE(made.ok());
  FdPair& pipe = made.value();
  const std::string text = Pattern(30'000);
  const FramePart part{text.data(), text.size()};
  FrameState state = NewState();
  std::string room(30'000, ' ');
  CHECK(Receive(pipe.first.get(), &state, &room, false) == kFrameNotYet);
  size_t sent = 0;
  while (sent < 30'004) {
    sent = SendFrame(pipe.second.get(), &part, 1, kNoFds, sent, kNever, false).value();
  }
  CHECK(Receive(pipe.first.get(), &state, &room, true) == 30'000);
  CHECK(room == text);
  CHECK(SendFrame(pipe.second.get(), &part, 1, {0}, 0, kNever, true).error().errnum == ENOTSOCK);
}

TEST_CASE("readiness: one shot, any of several, and no flag of the descriptor is touched") {
  FdPair one = NewSockets();
  FdPair other = NewSockets();
  auto made = Readiness::Create();
  REQUIRE(made.ok());
  Readiness& set = made.value();
  CHECK(set.Add(one.first.get(), true, false).ok());
  CHECK(set.Add(other.first.get(), true, false).ok());
  CHECK(!set.Drain());
  CHECK(WriteAll(other.second.get(), "x", 1).ok());
  PollSlot slot{set.fd(), 1, 0};
  CHECK(PollFds(&slot, 1, Deadline::AfterMs(1000)).value() == 1);
  CHECK(set.Drain());
  CHECK(!set.Drain());  // Though the byte is still there.
  CHECK(set.Add(other.first.get(), true, true).ok());
  CHECK(set.Drain());
  set.Remove(other.first.get());
  set.Remove(other.first.get());
  CHECK(GetBlocking(other.first.get()).value());
}

#endif
