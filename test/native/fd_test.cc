#if !defined(_WIN32)

#include "core/fd.h"

#include <doctest.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <initializer_list>
#include <string>
#include <thread>
#include <vector>

using namespace mp::core;

namespace {

bool IsOpen(int fd) { return fcntl(fd, F_GETFD) != -1; }
bool IsCloexec(int fd) { return (fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0; }

FdPair NewPipe() {
  auto made = MakePipe(true);
  REQUIRE(made.ok());
  return std::move(made.value());
}

// Interrupts a thread with a signal that has a handler, without SA_RESTART, until told to stop: each
// system call in it meets EINTR again and again.
class Interrupter {
 public:
  explicit Interrupter(pthread_t target) {
    struct sigaction action{};
    action.sa_handler = [](int) {};
    sigaction(SIGUSR2, &action, &old_);
    thread_ = std::thread([this, target] {
      while (!stop_.load()) {
        pthread_kill(target, SIGUSR2);
        SleepUntil(Deadline::AfterMs(1));
      }
    });
  }
  ~Interrupter() {
    stop_.store(true);
    thread_.join();
    sigaction(SIGUSR2, &old_, nullptr);
  }

 private:
  std::atomic<bool> stop_{false};
  struct sigaction old_{};
  std::thread thread_;
};

}  // namespace

TEST_CASE("fd: ready is what a call would not sleep on") {
  FdPair pipe = NewPipe();
  const int r = pipe.first.get();
  const int w = pipe.second.get();
  const auto ready = [](int fd, bool writing) {
    return WaitUntilReady(fd, writing, Deadline::AfterMs(0)).value();
  };
  CHECK_FALSE(ready(r, false));
  CHECK(ready(w, true));
  REQUIRE(WriteSome(w, "x", 1).ok());
  CHECK(ready(r, false));
  char byte;
  REQUIRE(ReadSome(r, &byte, 1).ok());
  CHECK_FALSE(ready(r, false));
  // Errors at once: a wrong end, none at all.
  CHECK(ready(w, false));
  CHECK(ready(r, true));
  CHECK(ready(-1, false));
  REQUIRE(SetBlocking(r, false).ok());
  CHECK(ready(r, false));
  REQUIRE(SetBlocking(r, true).ok());
  pipe.second.Reset();
  CHECK(ready(r, false));
}

TEST_CASE("fd: the owner closes, a moved-from owner does not, a released one leaves it open") {
  int raw = -1;
  {
    FdPair pipe = NewPipe();
    raw = pipe.first.get();
    const UniqueFd moved = std::move(pipe.first);
    CHECK(moved.get() == raw);
    CHECK_FALSE(pipe.first.valid());
    CHECK(IsOpen(raw));
  }
  CHECK_FALSE(IsOpen(raw));

  FdPair pipe = NewPipe();
  raw = pipe.first.Release();
  pipe.first.Reset();
  CHECK(IsOpen(raw));
  CHECK(CloseFd(raw).ok());
}

TEST_CASE("fd: closing keeps errno") {
  FdPair pipe = NewPipe();
  errno = EXDEV;
  pipe.first.Reset();
  CHECK(errno == EXDEV);
}

TEST_CASE("fd: pipes and socket pairs are close-on-exec unless asked otherwise") {
  for (const bool cloexec : {true, false}) {
    const auto pipe = MakePipe(cloexec);
    const auto sockets = MakeSocketPair(SOCK_STREAM, cloexec);
    REQUIRE(pipe.ok());
    REQUIRE(sockets.ok());
    for (const FdPair* pair : {&pipe.value(), &sockets.value()}) {
      CHECK(IsCloexec(pair->first.get()) == cloexec);
      CHECK(IsCloexec(pair->second.get()) == cloexec);
    }
  }
}

TEST_CASE("fd: reading and writing move bytes, and the end is 0") {
  FdPair pipe = NewPipe();
  const auto written = WriteSome(pipe.second.get(), "hello", 5);
  REQUIRE(written.ok());
  CHECK(written.value() == 5);
  char text[16] = {};
  const auto got = ReadSome(pipe.first.get(), text, sizeof(text));
  REQUIRE(got.ok());
  CHECK(std::string(text, got.value()) == "hello");
  pipe.second.Reset();
  const auto end = ReadSome(pipe.first.get(), text, sizeof(text));
  REQUIRE(end.ok());
  CHECK(end.value() == 0);
}

TEST_CASE("fd: failures carry the errno and the call") {
  char byte = 0;
  const auto got = ReadSome(-1, &byte, 1);
  REQUIRE_FALSE(got.ok());
  CHECK(got.error().errnum == EBADF);
  CHECK(std::string(got.error().syscall) == "read");
  CHECK(CloseFd(-1).error().errnum == EBADF);
  CHECK(Duplicate(-1).error().errnum == EBADF);
  CHECK(DuplicateOnto(-1, 3, true).error().errnum == EBADF);
  CHECK(SetInheritable(-1, true).error().errnum == EBADF);
  CHECK(GetInheritable(-1).error().errnum == EBADF);
  CHECK(SetBlocking(-1, true).error().errnum == EBADF);
  CHECK(MakeSocketPair(12345, true).error().errnum != 0);
  CHECK_FALSE(IsTty(-1));
}

TEST_CASE("fd: a copy is close-on-exec; one put onto a number is as asked") {
  FdPair pipe = NewPipe();
  const auto copy = Duplicate(pipe.first.get());
  REQUIRE(copy.ok());
  CHECK(IsCloexec(copy.value().get()));
  const int target = copy.value().get();
  CHECK(DuplicateOnto(pipe.second.get(), target, true).ok());
  CHECK_FALSE(IsCloexec(target));
  CHECK(DuplicateOnto(pipe.second.get(), target, false).ok());
  CHECK(IsCloexec(target));
}

TEST_CASE("fd: inheritable and blocking can be turned and read back") {
  FdPair pipe = NewPipe();
  const int fd = pipe.first.get();
  for (const bool on : {true, false, false, true}) {
    CHECK(SetInheritable(fd, on).ok());
    CHECK(GetInheritable(fd).value() == on);
    CHECK(SetBlocking(fd, on).ok());
    CHECK(GetBlocking(fd).value() == on);
  }
}

TEST_CASE("fd: no descriptor left is EMFILE, and nothing leaks on the way") {
  rlimit old{};
  REQUIRE(getrlimit(RLIMIT_NOFILE, &old) == 0);
  const int next_free = Duplicate(0).value().get();
  rlimit tight = old;
  tight.rlim_cur = static_cast<rlim_t>(next_free) + 1;  // room for one: half of a pipe
  REQUIRE(setrlimit(RLIMIT_NOFILE, &tight) == 0);
  const auto pipe = MakePipe(true);
  const auto sockets = MakeSocketPair(SOCK_STREAM, true);
  setrlimit(RLIMIT_NOFILE, &old);
  CHECK(pipe.error().errnum == EMFILE);
  CHECK(sockets.error().errnum == EMFILE);
  CHECK_FALSE(IsOpen(next_free));
}

TEST_CASE("fd: WriteAll writes more than a pipe holds, blocking or not, through interruptions") {
  for (const bool blocking : {true, false}) {
    CAPTURE(blocking);
    FdPair pipe = NewPipe();
    REQUIRE(SetBlocking(pipe.second.get(), blocking).ok());
    const std::vector<char> sent(1 << 20, 'x');
    size_t received = 0;
    const Interrupter interrupter(pthread_self());
    std::thread reader([fd = pipe.first.get(), &received] {
      sigset_t signals;
      sigemptyset(&signals);
      sigaddset(&signals, SIGUSR2);
      pthread_sigmask(SIG_BLOCK, &signals, nullptr);
      std::vector<char> room(70'000);
      for (;;) {
        const auto got = ReadSome(fd, room.data(), room.size());
        if (!got.ok() || got.value() == 0) return;
        received += got.value();
        SleepUntil(Deadline::AfterMs(1));
      }
    });
    CHECK(WriteAll(pipe.second.get(), sent.data(), sent.size()).ok());
    pipe.second.Reset();
    reader.join();
    CHECK(received == sent.size());
  }
}

TEST_CASE("fd: writing to nobody is EPIPE") {
  struct sigaction ignore{};
  struct sigaction old{};
  ignore.sa_handler = SIG_IGN;
  sigaction(SIGPIPE, &ignore, &old);
  FdPair pipe = NewPipe();
  pipe.first.Reset();
  CHECK(WriteAll(pipe.second.get(), "x", 1).error().errnum == EPIPE);
  sigaction(SIGPIPE, &old, nullptr);
}

TEST_CASE("fd: a read goes on after signals") {
  FdPair pipe = NewPipe();
  char byte = 0;
  std::thread writer([fd = pipe.second.get()] {
    SleepUntil(Deadline::AfterMs(50));
    (void)WriteSome(fd, "z", 1);
  });
  {
    const Interrupter interrupter(pthread_self());
    const auto got = ReadSome(pipe.first.get(), &byte, 1);
    REQUIRE(got.ok());
    CHECK(got.value() == 1);
  }
  writer.join();
  CHECK(byte == 'z');
}

TEST_CASE("fd: poll reports what is ready") {
  FdPair pipe = NewPipe();
  PollSlot slots[] = {{pipe.first.get(), POLLIN, 0}, {pipe.second.get(), POLLOUT, 0}, {-1, 0, 0}};
  auto ready = PollFds(slots, 3, Deadline::Never());
  REQUIRE(ready.ok());
  CHECK(ready.value() == 1);
  CHECK(slots[0].revents == 0);
  CHECK(slots[1].revents == POLLOUT);
  (void)WriteSome(pipe.second.get(), "x", 1);
  ready = PollFds(slots, 1, Deadline::AfterMs(0));
  CHECK(ready.value() == 1);
  CHECK(slots[0].revents == POLLIN);
}

TEST_CASE("fd: poll keeps to its deadline, whatever interrupts it") {
  FdPair pipe = NewPipe();
  PollSlot slot{pipe.first.get(), POLLIN, 0};
  const int64_t start = MonotonicNs();
  {
    const Interrupter interrupter(pthread_self());
    const auto ready = PollFds(&slot, 1, Deadline::AfterMs(60));
    REQUIRE(ready.ok());
    CHECK(ready.value() == 0);
  }
  const int64_t took = MonotonicNs() - start;
  CHECK(took >= 60'000'000);
  CHECK(took < 2'000'000'000);
}

#if !defined(MP_PLAIN_POSIX)

TEST_CASE("fd: a frozen memory file is read by all and changed by nobody") {
  auto made = MakeMemoryFile("test");
  REQUIRE(made.ok());
  const UniqueFd file = std::move(made.value());
  CHECK((fcntl(file.get(), F_GETFD) & FD_CLOEXEC) != 0);
  REQUIRE(WriteAll(file.get(), "kept", 4).ok());
  REQUIRE(FreezeMemoryFile(file.get()).ok());
  CHECK(WriteSome(file.get(), "more", 4).error().errnum == EPERM);
  CHECK(ftruncate(file.get(), 0) == -1);
  char text[8];
  CHECK(pread(file.get(), text, sizeof(text), 0) == 4);
  CHECK(std::string(text, 4) == "kept");
}

#endif

#endif
