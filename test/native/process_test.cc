#if !defined(_WIN32)

#include "core/process.h"

#include <doctest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <initializer_list>
#include <string>
#include <thread>

#include "core/fd.h"
#include "core/spawn.h"

using namespace mp::core;

namespace {

int Start(const std::string& script) {
  SpawnRequest request;
  request.path = "/bin/sh";
  request.argv = {"sh", "-c", script};
  request.env = {"PATH=/usr/bin:/bin"};
  const auto pid = Spawn(request);
  REQUIRE(pid.ok());
  return pid.value();
}

void KillAndReap(int pid) {
  CHECK(KillProcess(pid, SIGKILL).ok());
  CHECK(WaitPid(pid, 0).ok());
}

// While it lives no descriptor can be made, so that pidfd_open fails too.
class NoDescriptorsLeft {
 public:
  NoDescriptorsLeft() {
    getrlimit(RLIMIT_NOFILE, &old_);
    rlimit none = old_;
    none.rlim_cur = 0;
    setrlimit(RLIMIT_NOFILE, &none);
  }
  ~NoDescriptorsLeft() { setrlimit(RLIMIT_NOFILE, &old_); }

 private:
  rlimit old_{};
};

}  // namespace

TEST_CASE("process: any way of waiting has a limit") {
  const int pid = Start("exec sleep 1000");
  CHECK(WaitPid(pid, 0, Deadline::AfterMs(5)).value().pid == 0);
  CHECK(WaitPid(-1, 0, Deadline::AfterMs(5)).value().pid == 0);
  CHECK(WaitPid(pid, WUNTRACED, Deadline::AfterMs(0)).value().pid == 0);
  CHECK(KillProcess(pid, SIGSTOP).ok());
  const auto stopped = WaitPid(pid, WUNTRACED, Deadline::AfterMs(20'000)).value();
  CHECK(stopped.pid == pid);
  CHECK(WIFSTOPPED(stopped.status));
  CHECK(KillProcess(pid, SIGKILL).ok());
  const auto ended = WaitPid(pid, 0, Deadline::AfterMs(20'000)).value();
  CHECK(ended.pid == pid);
  CHECK(WTERMSIG(ended.status) == SIGKILL);
  CHECK(WaitPid(pid, 0, Deadline::AfterMs(5)).error().errnum == ECHILD);
}

TEST_CASE("process: waiting for ever returns the status") {
  const auto waited = WaitForChild(Start("exit 3"), Deadline::Never());
  REQUIRE(waited.ok());
  CHECK(waited.value().outcome == ChildWait::kEnded);
  CHECK(WEXITSTATUS(waited.value().status) == 3);
}

TEST_CASE("process: a timed wait sees the end at once, with and without pidfd") {
  for (const bool with_pidfd : {true, false}) {
    CAPTURE(with_pidfd);
    const int pid = Start("sleep 0.1; exit 4");
    const int64_t start = MonotonicNs();
    const auto wait = [&] { return WaitForChild(pid, Deadline::AfterMs(20'000)); };
    const auto waited = with_pidfd ? wait() : [&] {
      const NoDescriptorsLeft none;
      return wait();
    }();
    REQUIRE(waited.ok());
    CHECK(waited.value().outcome == ChildWait::kEnded);
    CHECK(WEXITSTATUS(waited.value().status) == 4);
    CHECK(MonotonicNs() - start < 10'000'000'000);
  }
}

TEST_CASE("process: a timed wait ends in time, with and without pidfd") {
  const int pid = Start("exec sleep 30");
  for (const bool with_pidfd : {true, false}) {
    CAPTURE(with_pidfd);
    const int64_t start = MonotonicNs();
    const auto wait = [&] { return WaitForChild(pid, Deadline::AfterMs(30)); };
    const auto waited = with_pidfd ? wait() : [&] {
      const NoDescriptorsLeft none;
      return wait();
    }();
    REQUIRE(waited.ok());
    CHECK(waited.value().outcome == ChildWait::kTimedOut);
    CHECK(MonotonicNs() - start >= 30'000'000);
  }
  CHECK(WaitForChild(pid, Deadline::AfterMs(0)).value().outcome == ChildWait::kTimedOut);
  KillAndReap(pid);
}

TEST_CASE("process: polling reaps a child that has ended") {
  const int pid = Start("exit 5");
  TimedWait last{ChildWait::kTimedOut, 0};
  for (int i = 0; i < 1000 && last.outcome == ChildWait::kTimedOut; ++i) {
    const auto look = WaitForChild(pid, Deadline::AfterMs(0));
    REQUIRE(look.ok());
    last = look.value();
    SleepUntil(Deadline::AfterMs(5));
  }
  CHECK(last.outcome == ChildWait::kEnded);
  CHECK(WEXITSTATUS(last.status) == 5);
}

TEST_CASE("process: somebody else's child, or one reaped before, is not ours") {
  const int pid = Start("exit 0");
  REQUIRE(WaitPid(pid, 0).ok());
  for (const auto& deadline : {Deadline::Never(), Deadline::AfterMs(0), Deadline::AfterMs(1000)}) {
    const auto waited = WaitForChild(pid, deadline);
    REQUIRE(waited.ok());
    CHECK(waited.value().outcome == ChildWait::kNotOurs);
  }
  CHECK(WaitForChild(getppid(), Deadline::AfterMs(1000)).value().outcome == ChildWait::kNotOurs);
}

TEST_CASE("process: a child that another thread reaps during the wait is not ours") {
  const int pid = Start("exec sleep 30");
  std::thread thief([pid] {
    SleepUntil(Deadline::AfterMs(50));
    kill(pid, SIGKILL);
    waitpid(pid, nullptr, 0);
  });
  const auto waited = WaitForChild(pid, Deadline::AfterMs(20'000));
  thief.join();
  REQUIRE(waited.ok());
  // Both were woken by the same end: one of them got the status.
  if (waited.value().outcome == ChildWait::kEnded)
    CHECK(WTERMSIG(waited.value().status) == SIGKILL);
  else
    CHECK(waited.value().outcome == ChildWait::kNotOurs);
}

TEST_CASE("process: waiting for one child leaves the others alone") {
  const int other = Start("exit 1");
  const int mine = Start("sleep 0.05; exit 2");
  CHECK(WEXITSTATUS(WaitForChild(mine, Deadline::AfterMs(20'000)).value().status) == 2);
  CHECK(WEXITSTATUS(WaitPid(other, 0).value().status) == 1);
}

TEST_CASE("process: waitpid with WNOHANG answers pid 0, and ECHILD without a child") {
  const int pid = Start("exec sleep 30");
  const auto waited = WaitPid(pid, WNOHANG);
  REQUIRE(waited.ok());
  CHECK(waited.value().pid == 0);
  CHECK(waited.value().status == 0);
  KillAndReap(pid);
  CHECK(WaitPid(pid, 0).error().errnum == ECHILD);
}

TEST_CASE(
    "process: the start time tells processes apart, zombies keep theirs, the gone have none") {
  const auto own = ProcessStartTime(getpid());
  REQUIRE(own.ok());
  REQUIRE(own.value().has_value());
  CHECK(ProcessStartTime(getpid()).value() == own.value());

  const int pid = Start("exit 0");
  siginfo_t info{};
  REQUIRE(waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WNOWAIT) == 0);
  const auto zombie = ProcessStartTime(pid);
  REQUIRE(zombie.ok());
  REQUIRE(zombie.value().has_value());
  CHECK(*zombie.value() >= *own.value());
  REQUIRE(WaitPid(pid, 0).ok());
  const auto gone = ProcessStartTime(pid);
  REQUIRE(gone.ok());
  CHECK_FALSE(gone.value().has_value());
}

#if defined(__linux__)
TEST_CASE("process: a name with blanks and parentheses does not shift the start time") {
  const int pid = Start("printf 'x) 1 2' > /proc/$$/comm; kill -STOP $$; exit 0");
  REQUIRE(WaitPid(pid, WUNTRACED).ok());
  const auto own = ProcessStartTime(getpid());
  const auto named = ProcessStartTime(pid);
  REQUIRE(named.ok());
  REQUIRE(named.value().has_value());
  CHECK(*named.value() >= *own.value());
  CHECK(*named.value() < *own.value() + 100 * 3600);  // an hour at 100 ticks a second
  KillAndReap(pid);
}
#endif

TEST_CASE("process: signalling what is not there is ESRCH, an impossible signal EINVAL") {
  CHECK(KillProcess(getpid(), 0).ok());
  CHECK(KillProcess(getpid(), 12345).error().errnum == EINVAL);
  const int pid = Start("exit 0");
  REQUIRE(WaitPid(pid, 0).ok());
  CHECK(KillProcess(pid, 0).error().errnum == ESRCH);
  CHECK(GetSid(pid).error().errnum == ESRCH);
  CHECK(GetPgid(pid).error().errnum == ESRCH);
  CHECK(SetPgid(pid, 0).error().errnum == ESRCH);
}

#endif
