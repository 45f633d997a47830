#if !defined(_WIN32)

#include "core/process.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cinttypes>
#include <cstdio>
#include <cstring>

#include "core/fd.h"
#include "core/pidfd.h"
#include "core/plain_posix.h"

#if defined(__linux__)
#include <poll.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#elif defined(__APPLE__)
#include <pthread.h>
#include <sys/sysctl.h>
#endif

namespace mp::core {

namespace {

constexpr int64_t kFirstNapNs = 100'000;
constexpr int64_t kLongestNapNs = 10'000'000;

// Sleeps between looks at a child that cannot be waited for with a timeout: short at first, because
// most children that are joined are about to end, then longer.
class Backoff {
 public:
  void Nap(const Deadline& deadline) {
    const int64_t ns = std::min(nap_ns_, deadline.RemainingNs());
    SleepUntil(Deadline::AfterMs(static_cast<double>(ns) / 1e6));
    nap_ns_ = std::min(nap_ns_ * 2, kLongestNapNs);
  }

 private:
  int64_t nap_ns_ = kFirstNapNs;
};

Result<TimedWait> Reap(int pid, int options) {
  const auto waited = WaitPid(pid, options);
  if (!waited.ok()) {
    if (waited.error().errnum == ECHILD) return TimedWait{ChildWait::kNotOurs, 0};
    return waited.error();
  }
  if (waited.value().pid == 0) return TimedWait{ChildWait::kTimedOut, 0};
  return TimedWait{ChildWait::kEnded, waited.value().status};
}

bool StillRunning(const Result<TimedWait>& look) {
  return look.ok() && look.value().outcome == ChildWait::kTimedOut;
}

Result<TimedWait> WaitByNapping(int pid, const Deadline& deadline) {
  Backoff backoff;
  for (;;) {
    const auto look = Reap(pid, WNOHANG);
    if (!StillRunning(look) || deadline.passed()) return look;
    backoff.Nap(deadline);
  }
}

}  // namespace

Result<WaitResult> WaitPid(int pid, int options) {
  int status = 0;
  const pid_t waited = RetryOnSignal([&] { return waitpid(pid, &status, options); });
  if (waited < 0) return LastError("waitpid");
  return WaitResult{static_cast<int>(waited), waited == 0 ? 0 : status};
}

Result<TimedWait> WaitForChild(int pid, const Deadline& deadline) {
  if (deadline.never()) return Reap(pid, 0);
  if (deadline.passed()) return Reap(pid, WNOHANG);

  // None to be had (an old kernel, a sandbox, no free descriptor) is no failure.
  const UniqueFd pidfd(OpenPidfd(pid));
  if (!pidfd.valid()) return WaitByNapping(pid, deadline);
  // Looking after the opening, not before: a child seen here cannot have been reaped earlier, so
  // the pidfd is its own and not that of a later process with the same number.
  const auto look = Reap(pid, WNOHANG);
  if (!StillRunning(look)) return look;

#if defined(MP_LINUX)
  PollSlot slot{pidfd.get(), POLLIN, 0};
  const auto ready = PollFds(&slot, 1, deadline);
  if (!ready.ok()) return ready.error();
#endif
  // Readable, or time is up: in both cases the look inside decides. A child under a debugger may
  // have ended without being ours to reap yet, hence the naps rather than a single look.
  return WaitByNapping(pid, deadline);
}

Result<WaitResult> WaitPid(int pid, int options, const Deadline& deadline) {
  if (deadline.never()) return WaitPid(pid, options);
  if (pid > 0 && options == 0) {
    const auto waited = WaitForChild(pid, deadline);
    if (!waited.ok()) return waited.error();
    switch (waited.value().outcome) {
      case ChildWait::kTimedOut:
        return WaitResult{0, 0};
      case ChildWait::kNotOurs:
        return OsError{ECHILD, "waitpid"};
      case ChildWait::kEnded:
        return WaitResult{pid, waited.value().status};
    }
  }
  // Nothing can be polled for a group of children, nor for one that stops or goes on.
  Backoff backoff;
  for (;;) {
    const auto look = WaitPid(pid, options | WNOHANG);
    if (!look.ok() || look.value().pid != 0 || deadline.passed()) return look;
    backoff.Nap(deadline);
  }
}

Result<void> KillProcess(int pid, int signal) {
  if (kill(pid, signal) != 0) return LastError("kill");
  return {};
}

int CurrentPid() { return static_cast<int>(getpid()); }

Result<void> SetSid() {
  if (setsid() < 0) return LastError("setsid");
  return {};
}

Result<int> GetSid(int pid) {
  const pid_t sid = getsid(pid);
  if (sid < 0) return LastError("getsid");
  return static_cast<int>(sid);
}

Result<int> GetPgid(int pid) {
  const pid_t pgid = getpgid(pid);
  if (pgid < 0) return LastError("getpgid");
  return static_cast<int>(pgid);
}

Result<void> SetPgid(int pid, int pgid) {
  if (setpgid(pid, pgid) != 0) return LastError("setpgid");
  return {};
}

void ExitNow(int code) { _exit(code); }

#if defined(__linux__)
bool OnMainThread() { return syscall(SYS_gettid) == getpid(); }
#elif defined(__APPLE__)
bool OnMainThread() { return pthread_main_np() != 0; }
#else
bool OnMainThread() { return true; }
#endif

#if defined(__linux__)

namespace {

// The state and the start time in the text of /proc/<pid>/stat. The second field is the program's name in
// parentheses and may itself hold spaces and parentheses, so counting begins behind the last ')'.
std::optional<ProcessFacts> ParseStat(const char* stat) {
  constexpr int kBlanks = 20;  // the first stands before field 3, the last before field 22
  const char* at = std::strrchr(stat, ')');
  if (at == nullptr || at[1] == '\0') return std::nullopt;
  const char state = at[2];
  for (int i = 0; i < kBlanks; ++i) {
    at = std::strchr(at + 1, ' ');
    if (at == nullptr) return std::nullopt;
  }
  uint64_t ticks = 0;
  if (std::sscanf(at, " %" SCNu64, &ticks) != 1) return std::nullopt;
  return ProcessFacts{ticks, state == 'Z' || state == 'X', state == 'T'};
}

// /proc shows nothing under this pid. Only the kernel's own word makes that mean "gone": a lock
// whose owner is merely invisible must not be taken from it.
Result<std::optional<ProcessFacts>> NothingShown(int pid, const OsError& error) {
  if (kill(pid, 0) == 0 || errno != ESRCH) return error;
  return std::optional<ProcessFacts>();
}

}  // namespace

Result<std::optional<ProcessFacts>> LookAtProcess(int pid) {
  char path[48];
  if (pid == getpid()) {
    // The same in another place: emulators (qemu-user) make up the usual one, and only for the process itself, which
    // then would not be the one that others see.
    std::snprintf(path, sizeof(path), "/proc/%d/task/%d/stat", pid, pid);
  } else {
    std::snprintf(path, sizeof(path), "/proc/%d/stat", pid);
  }
  const UniqueFd file(open(path, O_RDONLY | O_CLOEXEC));
  if (!file.valid()) return NothingShown(pid, LastError("open"));
  char text[1024];
  const auto got = ReadSome(file.get(), text, sizeof(text) - 1);
  if (!got.ok()) return NothingShown(pid, got.error());
  text[got.value()] = '\0';
  return ParseStat(text);
}

#elif defined(__APPLE__)

Result<std::optional<ProcessFacts>> LookAtProcess(int pid) {
  int name[4] = {CTL_KERN, KERN_PROC, KERN_PROC_PID, pid};
  kinfo_proc info{};
  size_t size = sizeof(info);
  if (sysctl(name, 4, &info, &size, nullptr, 0) != 0) return LastError("sysctl");
  if (size == 0) return std::optional<ProcessFacts>();
  const timeval start = info.kp_proc.p_starttime;
  const uint64_t microseconds =
      static_cast<uint64_t>(start.tv_sec) * 1'000'000 + static_cast<uint64_t>(start.tv_usec);
  return std::optional<ProcessFacts>({microseconds, info.kp_proc.p_stat == SZOMB});
}

#else

Result<std::optional<ProcessFacts>> LookAtProcess(int) {
  return OsError{ENOSYS, "processStartTime"};
}

#endif

#if defined(MP_LINUX)

Result<void> SetParentDeathSignal(int signal) {
  if (prctl(PR_SET_PDEATHSIG, static_cast<unsigned long>(signal)) != 0) return LastError("prctl");
  return {};
}

#else

Result<void> SetParentDeathSignal(int) { return OsError{ENOSYS, "prctl"}; }

#endif

Result<std::optional<uint64_t>> ProcessStartTime(int pid) {
  const auto facts = LookAtProcess(pid);
  if (!facts.ok()) return facts.error();
  if (!facts.value()) return std::optional<uint64_t>();
  return std::optional<uint64_t>(facts.value()->start_time);
}

}  // namespace mp::core

#endif
