// Waiting for, signalling and identifying processes.
//
// Waiting names one child and reaps only that one: whoever shares the process with us (Node's own
// child_process, a test runner) keeps its children. A pid alone does not name a process, since
// numbers are used again; a pid together with the start time does.
#pragma once

#include <cstdint>
#include <optional>

#include "core/clock.h"
#include "core/result.h"

namespace mp::core {

struct WaitResult {
  int pid;     // 0: WNOHANG was given and no child has changed state
  int status;  // to be read by the W* macros
};

// waitpid(2), retried when a signal interrupts it.
Result<WaitResult> WaitPid(int pid, int options);
// The same, but no longer than until the deadline: then the pid is 0.
Result<WaitResult> WaitPid(int pid, int options, const Deadline& deadline);

enum class ChildWait {
  kEnded,     // reaped by this call; status is valid
  kTimedOut,  // still running
  kNotOurs,   // ECHILD: not our child, or somebody else has reaped it
};

struct TimedWait {
  ChildWait outcome;
  int status;
};

// Blocks until the child `pid` has ended or the deadline has passed. Needs no signal handler and no
// event loop.
Result<TimedWait> WaitForChild(int pid, const Deadline& deadline);

Result<void> KillProcess(int pid, int signal);
int CurrentPid();
// Whether the calling thread is the one the process began with.
bool OnMainThread();
Result<void> SetSid();
Result<int> GetSid(int pid);
Result<int> GetPgid(int pid);
Result<void> SetPgid(int pid, int pgid);

// Ends the process at once: no exit handler runs, nothing is flushed.
[[noreturn]] void ExitNow(int code);

// When the process started: a number that tells apart two processes that had the same pid. Linux:
// clock ticks since boot (field 22 of /proc/<pid>/stat); macOS: microseconds, Windows: 100 ns, of
// the wall clock at its start. Nothing when there is no such process; a zombie still has its start
// time. An error when the process exists but cannot be looked at (no /proc, or one that hides other
// users' processes).
Result<std::optional<uint64_t>> ProcessStartTime(int pid);

struct ProcessFacts {
  uint64_t start_time;
  bool zombie;
  // By a signal (SIGSTOP, SIGTSTP), on Linux.
  bool stopped = false;
};

#if defined(_WIN32)
// The exit code of a process that KillProcess() has ended, but for the signal.
constexpr uint32_t kKilledBy = 0x10000;
#endif

// The same and whether it has ended but was not reaped. `pid` may be the id of a thread on Linux, and must be on Windows.
Result<std::optional<ProcessFacts>> LookAtProcess(int pid);

// Linux: `signal` is sent to the calling process when the thread that created it ends; 0 cancels. A
// parent that died before the call sends nothing, so compare the parent's pid afterwards.
Result<void> SetParentDeathSignal(int signal);

}  // namespace mp::core
