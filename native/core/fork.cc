#include "fork.h"

#if defined(__linux__)

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <cerrno>

#include "forkable_heap.h"
#include "isolate.h"
#include "loop_fork.h"
#include "main_stack.h"
#include "other_threads.h"
#include "platform_workers.h"
#include "thread_hooks.h"

namespace mp::core {
namespace {

// One per process, like the platform itself; only the main thread uses it.
PlatformWorkers g_workers;
// Many times what a Worker needs to end.
constexpr int kWorkerPatienceMs = 20;
sigset_t g_mask_before;

// What tells of a bug at once must not wait: everything else does.
sigset_t AsynchronousSignals() {
  sigset_t set;
  sigfillset(&set);
  for (int signal : {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGTRAP, SIGSYS}) {
    sigdelset(&set, signal);
  }
  return set;
}

CodeRange g_run_script;  // vm.Script's runInContext
CodeRange g_emit_exit;   // node's 'exit' event at the natural end, when its event loop has ended

// The watchdog of a vm script with a time limit is a thread, and a loop that the script's frame would tear down
// in the child.
std::string FindObstacle() {
  if (g_emit_exit.known() && IsInside(g_emit_exit)) {
    return "the event loop has ended and this is an 'exit' listener; start it in 'beforeExit', or "
           "end the "
           "program by process.exit()";
  }
  if (!IsInside(g_run_script) || !SomeThreadWaitsWithLimit()) return "";
  return "a vm script with a time limit is running; fork before or after it, or run it without "
         "`timeout`";
}

// node aborts where its new threads and loops find no descriptor, so look first.
int EnsureSpareDescriptors() {
  constexpr int kNeeded = 8;  // two epoll sets, two event descriptors, a signal pipe, and some air
  int spare[kNeeded];
  int got = 0;
  while (got < kNeeded && (spare[got] = fcntl(2, F_DUPFD_CLOEXEC, 0)) >= 0) got++;
  int error = got < kNeeded ? errno : 0;
  // A closed stderr is the caller's affair, not a shortage.
  if (error == EBADF) error = 0;
  while (got > 0) close(spare[--got]);
  return error;
}

ForkResult InChild(uv_loop_t* loop, int report_fd) {
  ForkResult result;
  result.pid = 0;
  ForgetThreads(report_fd);
  g_workers.ReplaceInChild();
  const int status = ReviveLoop(loop);
  if (status != 0) {
    result.error = -status;
    result.syscall = "uv_loop_fork";
  }
  return result;
}

}  // namespace

namespace {

std::string FindProblem() {
  std::string problem = PlatformWorkers::Resolve();
  if (problem.empty() && !(ResolveIsolateCalls() && FindMainStack() && ResolveLoopCalls())) {
    problem = "this build of node does not export the calls a fork needs";
  }
  g_emit_exit = FindFunction("_ZN4node23EmitProcessExitInternalEPNS_11EnvironmentE");
  g_run_script = FindFunction(
      "_ZN4node10contextify16ContextifyScript12RunInContextERKN2v820FunctionCallbackInfoINS2_"
      "5ValueEEE");
  if (problem.empty()) problem = HookMadvise();
  if (problem.empty()) problem = HookThreads();
  return problem;
}

}  // namespace

const std::string& CheckForkable() {
  static const std::string problem = FindProblem();
  return problem;
}

ForkResult Fork(uv_loop_t* loop, int rest_timeout_ms, int report_fd, bool has_workers) {
  ForkResult result;
  result.problem = CheckForkable();
  if (!result.problem.empty()) return result;
  result.problem = FindObstacle();
  if (!result.problem.empty()) return result;
  result.error = EnsureSpareDescriptors();
  if (result.error != 0) return result;

  result.problem = g_workers.Gather(rest_timeout_ms, &result.restless);
  if (!result.problem.empty()) return result;
  result.problem = KeepHeapForkable();
  if (!result.problem.empty()) {
    g_workers.Release();
    return result;
  }

  if (has_workers) AwaitOthersAsleep(kWorkerPatienceMs);

  const sigset_t blocked = AsynchronousSignals();
  pthread_sigmask(SIG_BLOCK, &blocked, &g_mask_before);
  result.pid = fork();
  if (result.pid == 0) return InChild(loop, report_fd);

  result.error = result.pid < 0 ? errno : 0;
  pthread_sigmask(SIG_SETMASK, &g_mask_before, nullptr);
  g_workers.Release();
  return result;
}

void AdmitSignals() { pthread_sigmask(SIG_SETMASK, &g_mask_before, nullptr); }

bool WorkersUnused() { return g_workers.unused(); }

void FlushForegroundTasks() { g_workers.FlushForegroundTasks(); }

}  // namespace mp::core

#elif !defined(_WIN32)

namespace mp::core {

const std::string& CheckForkable() {
  static const std::string problem = "this version forks on Linux only";
  return problem;
}

ForkResult Fork(uv_loop_t*, int, int, bool) {
  ForkResult result;
  result.problem = CheckForkable();
  return result;
}

void AdmitSignals() {}
bool WorkersUnused() { return false; }
void FlushForegroundTasks() {}

}  // namespace mp::core

#endif
