// fork(2) of a running node process: the order of the steps, and nothing else.
//
//   parent                                          child
//   Gather: every V8 worker parked in our task
//   with Workers (worker_threads): they sleep, too
//   first time: heap no longer MADV_DONTFORK
//   asynchronous signals blocked
//   fork ─────────────────────────────────────────▶ new worker threads for V8's platform
//   signals unblocked, workers released             event loop gets its own epoll set and signal pipe
//   returns the pid                                 returns 0, signals still blocked
//
// The child's asynchronous signals stay blocked until AdmitSignals(), so that no inherited handler runs
// before the caller has decided which handlers the child keeps.
#ifndef MP_CORE_FORK_H_
#define MP_CORE_FORK_H_

#if !defined(_WIN32)

#include <sys/types.h>
#include <uv.h>

#include <string>

namespace mp::core {

struct ForkResult {
  pid_t pid = -1;  // as fork(2)
  int error = 0;   // errno of a system call, in the parent or, with pid 0, in the child
  const char* syscall = "fork";
  std::string problem;  // set when the process could not be brought into a state that can be forked
  bool restless = false;  // with `problem`: V8's background work did not end in time
};

// Whether this process can be forked at all: found out once. Empty: yes.
const std::string& CheckForkable();

// Forks the calling main thread. `rest_timeout_ms` bounds the wait for V8's background work. With
// `has_workers`, threads that run JavaScript of their own are given a moment to fall asleep: one that sends, or
// ends, locks what is the main thread's. A child that ends
// for lack of threads before it has started writes the reason to `report_fd` (-1: to stderr).
ForkResult Fork(uv_loop_t* loop, int rest_timeout_ms, int report_fd, bool has_workers);

// Child: unblocks the signals that Fork() blocked.
void AdmitSignals();

// Child: whether V8's platform has not been used yet, so that no background work can be under way.
bool WorkersUnused();

// Child: runs V8's foreground tasks whose wake-up was lost.
void FlushForegroundTasks();

}  // namespace mp::core

#endif
#endif  // MP_CORE_FORK_H_
