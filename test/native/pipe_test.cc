// The ends of a pipe: what goes in at one comes out at the other, in order, with its descriptors, and the end is told.

#if !defined(_WIN32)

#include <doctest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "core/fd_passing.h"
#include "core/lock.h"
#include "core/owner.h"
#include "core/pipe.h"

using mp::core::Deadline;
using mp::core::kMostSmall;
using mp::core::Part;
using mp::core::PipeEnd;
using mp::core::UniqueFd;

namespace {

PipeEnd::Pair MakePair(bool duplex = true) {
  auto pair = PipeEnd::Create(duplex);
  REQUIRE(pair.ok());
  return std::move(pair.value());
}

// An end and the calling thread's token there.
struct User {
  PipeEnd* end;
  uint32_t token;

  explicit User(PipeEnd* one)
      : end(one), token(mp::core::Enrol(one->segment()->header()).value()) {}

  // 0 or an errno.
  int Send(const std::string& text, const std::vector<int>& fds = {}) {
    const Part part{text.data(), text.size()};
    const auto sent = end->Send(&part, 1, fds, 0, token, Deadline::Never(), true);
    if (!sent.ok()) return sent.error().errnum;
    return sent.value() == PipeEnd::SentWhole(text.size()) ? 0 : -1;
  }

  // As far as it goes without waiting, from where it was.
  uint64_t Begin(const std::string& text, const std::vector<int>& fds, uint64_t from = 0) {
    const Part part{text.data(), text.size()};
    const auto sent = end->Send(&part, 1, fds, from, token, Deadline::AfterMs(0), false);
    REQUIRE(sent.ok());
    return sent.value();
  }

  struct Received {
    int64_t outcome;
    std::string text;
  };
  Received Receive(double ms = 20'000) {
    char scratch[kMostSmall];
    std::string payload;
    std::string large;
    for (;;) {
      const auto got = end->Receive(
          scratch,
          end->amidst() && payload.size() == end->incoming_length() ? payload.data() : nullptr,
          large.empty() ? nullptr : large.data(), large.size(), token, Deadline::AfterMs(ms),
          ms != 0);
      if (!got.ok()) return {-100 - got.error().errnum, ""};
      switch (got.value()) {
        case mp::core::kPipeBegun:
          payload.resize(end->incoming_length());
          continue;
        case mp::core::kPipeLarge:
          large.resize(end->large_length());
          continue;
        case mp::core::kPipeLargeDone:
          return {0, large};
        case mp::core::kPipeDone:
          return {0, payload};
      }
      if (got.value() < 0) return {got.value(), ""};
      return {0, {scratch, static_cast<size_t>(got.value())}};
    }
  }
};

std::string Text(size_t size) {
  std::string text(size, '\0');
  for (size_t i = 0; i < size; i++) text[i] = static_cast<char>(i * 31 + i / 251 + size);
  return text;
}

// No descriptor can be sent for now; what is there is eaten by whoever receives.
void FillSocket(const PipeEnd& end) {
  const char ring = static_cast<char>(mp::core::Bell::kRing);
  while (mp::core::MaySendNow(end.fd()) && send(end.fd(), &ring, 1, MSG_DONTWAIT) == 1) {
  }
}

// The same side once more, as another process has it.
std::unique_ptr<PipeEnd> Again(const PipeEnd& end) {
  auto socket = mp::core::Duplicate(end.fd());
  auto memory = mp::core::Duplicate(end.memory_fd());
  auto again = PipeEnd::Open(std::move(socket.value()), std::move(memory.value()), end.side());
  REQUIRE(again.ok());
  return std::move(again.value());
}

double CpuMs() {
  rusage usage;
  getrusage(RUSAGE_THREAD, &usage);
  return (usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1e3 +
         (usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e3;
}

}  // namespace

TEST_CASE("pipe: messages of all sizes, both ways") {
  auto pair = MakePair();
  User a(pair.first.get());
  std::thread echo([&] {
    User b(pair.second.get());
    for (;;) {
      const auto got = b.Receive();
      if (got.outcome != 0) break;
      CHECK(b.Send(got.text) == 0);
    }
  });
  for (size_t size : {0, 1, 4096, 4097, 65'536, 262'144, 262'145, 3'000'000}) {
    CHECK(a.Send(Text(size)) == 0);
    CHECK(a.Receive().text == Text(size));
  }
  pair.first.reset();
  echo.join();
}

TEST_CASE("pipe: nothing, in time, and the end") {
  auto pair = MakePair();
  User a(pair.first.get());
  User b(pair.second.get());
  CHECK(a.Receive(0).outcome == mp::core::kPipeNotYet);
  CHECK(a.Receive(5).outcome == mp::core::kPipeNotYet);
  CHECK_FALSE(a.end->Ready());
  CHECK(b.Send("last") == 0);
  CHECK(a.end->Ready());
  pair.second.reset();
  CHECK(a.Receive().text == "last");
  CHECK(a.Receive().outcome == mp::core::kPipeEnd);
  CHECK(a.Receive(0).outcome == mp::core::kPipeEnd);
  CHECK(a.Send("to nobody") == EPIPE);
}

TEST_CASE("pipe: one direction") {
  auto pair = MakePair(false);
  User reader(pair.first.get());
  User writer(pair.second.get());
  CHECK(reader.Send("x") == EBADF);
  CHECK(writer.Receive(0).outcome == -100 - EBADF);
  CHECK(writer.Send("x") == 0);
  CHECK(reader.Receive().text == "x");
}

TEST_CASE("pipe: descriptors come with their message") {
  auto pair = MakePair();
  User a(pair.first.get());
  User b(pair.second.get());
  for (size_t size : {0, 10, 500'000}) {
    auto ends = mp::core::MakePipe(true);
    REQUIRE(ends.ok());
    std::thread sender([&] {
      User own(pair.first.get());
      CHECK(own.Send("before") == 0);
      CHECK(own.Send(Text(size), {ends.value().second.get()}) == 0);
      CHECK(own.Send("after") == 0);
    });
    CHECK(b.Receive().text == "before");
    CHECK(b.Receive().text == Text(size));
    const auto fds = b.end->TakeFds();
    REQUIRE(fds.size() == 1);
    CHECK(b.Receive().text == "after");
    sender.join();
    CHECK(write(fds[0].get(), "!", 1) == 1);
    char byte = 0;
    CHECK(read(ends.value().first.get(), &byte, 1) == 1);
    CHECK(byte == '!');
  }
}

TEST_CASE("pipe: descriptors that are announced and do not come") {
  auto pair = MakePair();
  User a(pair.first.get());
  // What is no descriptor fails only when the message has begun.
  const pid_t child = fork();
  if (child == 0) {
    User own(pair.second.get());
    (void)own.Send("x", {-1});
    kill(getpid(), SIGKILL);
  }
  int status = 0;
  waitpid(child, &status, 0);
  CHECK(a.Receive(5).outcome == mp::core::kPipeNotYet);
  User b(pair.second.get());
  CHECK(b.Send("x", {-1}) == EBADF);
  CHECK(a.Receive(5).outcome == mp::core::kPipeNotYet);
  CHECK(b.Send("the next one") == 0);
  CHECK(a.Receive().text == "the next one");
  CHECK_FALSE(a.end->amidst());
}

TEST_CASE("pipe: another sender's messages come while descriptors are awaited") {
  for (size_t size : {10, 500'000}) {
    auto pair = MakePair();
    User a(pair.first.get());
    User b(pair.second.get());
    auto third = Again(*pair.second);
    User c(third.get());
    auto ends = mp::core::MakePipe(true);
    REQUIRE(ends.ok());
    const std::vector<int> fds{ends.value().second.get()};
    FillSocket(*pair.second);
    const uint64_t sent = b.Begin(Text(size), fds);
    CHECK(sent < PipeEnd::SentWhole(size));
    for (size_t other : {5, 50'000, 5}) CHECK(c.Send(Text(other)) == 0);
    for (size_t other : {5, 50'000, 5}) CHECK(a.Receive().text == Text(other));
    CHECK(a.Receive(5).outcome == mp::core::kPipeNotYet);
    std::thread sender([&] {
      const std::string text = Text(size);
      const Part part{text.data(), text.size()};
      const auto done = b.end->Send(&part, 1, fds, sent, b.token, Deadline::Never(), true);
      CHECK(done.ok());
    });
    CHECK(a.Receive().text == Text(size));
    CHECK(a.end->TakeFds().size() == 1);
    sender.join();
  }
}

TEST_CASE("pipe: the end comes while descriptors are awaited") {
  for (bool arrived : {false, true}) {
    auto pair = MakePair();
    User a(pair.first.get());
    User b(pair.second.get());
    FillSocket(*pair.second);
    const uint64_t sent = b.Begin("x", {0});
    CHECK(a.Receive(0).outcome == mp::core::kPipeNotYet);
    if (arrived) (void)b.Begin("x", {0}, sent);
    pair.second.reset();
    const int64_t expected = arrived ? int64_t{0} : int64_t{mp::core::kPipeTruncated};
    CHECK(a.Receive().outcome == expected);
    CHECK(a.Receive().outcome == mp::core::kPipeEnd);
  }
}

TEST_CASE("pipe: descriptors that nobody takes cost no time") {
  auto pair = MakePair();
  auto doomed = Again(*pair.first);
  User a(pair.first.get());
  User b(pair.second.get());
  FillSocket(*pair.second);
  const uint64_t sent = b.Begin("", {0});
  CHECK(User(doomed.get()).Receive(0).outcome == mp::core::kPipeNotYet);
  doomed.reset();
  CHECK(b.Begin("", {0}, sent) == PipeEnd::SentWhole(0));
  CHECK(a.end->Arm(true, false, a.token) == PipeEnd::Armed::kSoon);
  const double before = CpuMs();
  CHECK(a.Receive(300).outcome == mp::core::kPipeNotYet);
  CHECK(CpuMs() - before < 100);
  CHECK(b.Send("small") == 0);
  CHECK(a.end->Arm(true, false, a.token) == PipeEnd::Armed::kNow);
  CHECK(a.Receive().text == "small");
  // Until the next ones come.
  CHECK(b.Send("x", {0}) == 0);
  CHECK(a.Receive().text == "x");
  CHECK(a.end->TakeFds().size() == 1);
  CHECK(a.end->Arm(true, false, a.token) == PipeEnd::Armed::kYes);
  // What strangers write is nothing.
  CHECK(send(pair.second->fd(), "???", 3, 0) == 3);
  CHECK(a.end->Arm(true, false, a.token) == PipeEnd::Armed::kYes);
  CHECK(send(pair.second->fd(), "???", 3, 0) == 3);
  CHECK(b.Send("y", {0}) == 0);
  CHECK(a.Receive().text == "y");
}

TEST_CASE("pipe: who was stopped with the lock of a socket stops nobody else") {
  auto pair = MakePair();
  User a(pair.first.get());
  User b(pair.second.get());
  auto channel = mp::core::Channel::Open(pair.first->segment(), 0, mp::core::Bell());
  REQUIRE(channel.ok());
  mp::core::SegmentHeader* header = pair.first->segment()->header();
  mp::core::Word* lock = &channel.value()->control()->socket_locks[0];
  uint32_t stopped = 0;
  std::thread owner([&] {
    stopped = mp::core::Enrol(header).value();
    (void)mp::core::AcquireLock(header, lock, stopped, Deadline::Never());
    CHECK(a.Receive(0).outcome == mp::core::kPipeNotYet);
    CHECK(a.Receive(20).outcome == mp::core::kPipeNotYet);
    CHECK(a.end->Arm(true, false, a.token) == PipeEnd::Armed::kSoon);
    CHECK(b.Send("x") == 0);
    CHECK(a.Receive().text == "x");
    CHECK(b.Send("", {0}) == 0);
    CHECK(a.Receive(0).outcome == mp::core::kPipeNotYet);
    CHECK(a.Receive(20).outcome == mp::core::kPipeNotYet);
    mp::core::ReleaseLock(lock, header);
    CHECK(a.Receive().outcome == 0);
    CHECK(a.end->TakeFds().size() == 1);
  });
  owner.join();
}

TEST_CASE("pipe: descriptors that cannot be sent") {
  if (getuid() != 0) return;
  auto pair = MakePair();
  User a(pair.first.get());
  const pid_t child = fork();
  if (child == 0) {
    // Too many are under way for this user.
    const rlimit few{20, 20};
    int sockets[2];
    (void)socketpair(AF_UNIX, SOCK_STREAM, 0, sockets);
    User own(pair.second.get());
    const bool less = setuid(65534) == 0 && setrlimit(RLIMIT_NOFILE, &few) == 0;
    const std::vector<int> fds(30, 0);
    const auto lent = mp::core::SendFds(sockets[0], "x", 1, fds, 0);
    const int error = own.Send("x", {0});
    const int next = own.Send("the next one");
    _exit(less && lent.ok() && error == ETOOMANYREFS && next == 0 ? 0 : 1);
  }
  int status = 0;
  waitpid(child, &status, 0);
  CHECK(status == 0);
  CHECK(a.Receive().text == "the next one");
}

TEST_CASE("pipe: a message without its end is dropped") {
  auto pair = MakePair();
  User a(pair.first.get());
  const pid_t child = fork();
  if (child == 0) {
    User own(pair.second.get());
    const std::string text = Text(5'000'000);
    const Part part{text.data(), text.size()};
    (void)own.end->Send(&part, 1, {}, 0, own.token, Deadline::AfterMs(0), false);
    kill(getpid(), SIGKILL);
  }
  int status = 0;
  waitpid(child, &status, 0);
  User b(pair.second.get());
  std::thread sender([&] { CHECK(User(pair.second.get()).Send(Text(600'000)) == 0); });
  CHECK(a.Receive().text == Text(600'000));
  sender.join();
  // Where there is nobody left it is reported.
  const std::string text = Text(5'000'000);
  const Part part{text.data(), text.size()};
  CHECK(b.end->Send(&part, 1, {}, 0, b.token, Deadline::AfterMs(0), false).ok());
  pair.second.reset();
  CHECK(a.Receive().outcome == mp::core::kPipeTruncated);
  CHECK(a.Receive().outcome == mp::core::kPipeEnd);
}

TEST_CASE("pipe: an end that has travelled") {
  auto pair = MakePair();
  User a(pair.first.get());
  CHECK(a.Send("before") == 0);
  auto socket = mp::core::Duplicate(pair.second->fd());
  auto memory = mp::core::Duplicate(pair.second->memory_fd());
  pair.second.reset();
  auto end = PipeEnd::Open(std::move(socket.value()), std::move(memory.value()), 1);
  REQUIRE(end.ok());
  User b(end.value().get());
  CHECK(b.Receive().text == "before");
  CHECK(b.Send("after") == 0);
  CHECK(a.Receive().text == "after");
  auto other = mp::core::MakePipe(true);
  CHECK_FALSE(
      PipeEnd::Open(std::move(other.value().first), std::move(other.value().second), 0).ok());
}

// The sender's pieces are never longer, and memory for what it says would be had before anything is read.
TEST_CASE("pipe: a piece that is longer than pieces are") {
  const auto pair = MakePair();
  const auto channel =
      mp::core::Channel::Open(pair.first->segment(), 0, mp::core::Bell::AtSocket(-1));
  REQUIRE(channel.ok());
  User receiver(pair.first.get());
  const std::string bytes(mp::core::kPieceBytes + 1, 'x');
  const Part piece[] = {{bytes.data(), 16}, {bytes.data(), bytes.size()}};
  constexpr uint8_t kPiece = 2;
  REQUIRE(channel.value()->Put(piece, 2, receiver.token, Deadline::AfterMs(0), kPiece).value());
  CHECK(receiver.Receive().outcome == -100 - EBADMSG);
}

#endif  // !_WIN32
