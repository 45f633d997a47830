// Forking the running process for JavaScript.
//
// Two ways out of one fork. `posix.fork()` returns on both sides, as os.fork does. A Process's child
// must not: it begins on an empty stack with an event loop of its own. So its side of the call asks V8
// to unwind the whole JavaScript stack (no catch or finally of the parent runs) and leaves an idle
// handle on the loop, whose callback starts the child. docs/fork.md draws it.

#include <napi.h>
#include <uv.h>

#if !defined(_WIN32)
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#endif

#include <cerrno>
#include <cstring>
#include <map>
#include <utility>
#include <vector>

#include "core/at_death.h"
#include "core/fd.h"
#include "core/fork.h"
#include "core/isolate.h"
#include "core/loop_fork.h"
#include "core/peer_death.h"
#include "core/pidfd.h"
#include "core/process.h"
#include "core/thread_hooks.h"
#include "errors.h"
#include "sync.h"
#include "values.h"

namespace mp {
namespace {

// fillRandom(bytes), from the system's source.
void FillRandom(const Napi::CallbackInfo& info) {
  auto bytes = info[0].As<Napi::Uint8Array>();
  const int status = uv_random(nullptr, nullptr, bytes.Data(), bytes.ByteLength(), 0, nullptr);
  if (status != 0) ThrowErrno(info.Env(), -status, "uv_random");
}

// makeErrnoError(errno, syscall): for a failure that a child reported.
Napi::Value MakeError(const Napi::CallbackInfo& info) {
  const std::string syscall = info[1].As<Napi::String>();
  return MakeErrnoError(info.Env(), info[0].As<Napi::Number>(), syscall.c_str()).Value();
}

uv_loop_t* LoopOf(Napi::Env env) {
  uv_loop_t* loop = nullptr;
  napi_get_uv_event_loop(env, &loop);
  return loop;
}

// loopHolds() → whether the loop would go on if the immediates were not there: in a callback of one node has not told
// libuv yet that it was the last. (Its immediates are an idle handle.)
Napi::Value LoopHolds(const Napi::CallbackInfo& info) {
  uv_loop_t* loop = LoopOf(info.Env());
  if (loop->active_reqs.count > 0) return Napi::Boolean::New(info.Env(), true);
  bool holds = false;
  uv_walk(
      loop,
      [](uv_handle_t* handle, void* data) {
        if (handle->type == UV_IDLE || !uv_is_active(handle) || !uv_has_ref(handle)) return;
        *static_cast<bool*>(data) = true;
      },
      &holds);
  return Napi::Boolean::New(info.Env(), holds);
}

Napi::Value LoopAlive(const Napi::CallbackInfo& info) {
  return Napi::Boolean::New(info.Env(), uv_loop_alive(LoopOf(info.Env())) != 0);
}

void ExitNow(const Napi::CallbackInfo& info) {
  OrphanOwnLocks();
  core::ExitNow(info[0].As<Napi::Number>().Int32Value() & 0xff);
}

void TrackChild(const Napi::CallbackInfo& info) {
  const int sentinel = info[2].IsNumber() ? info[2].As<Napi::Number>().Int32Value() : -1;
  core::TrackChild(info[0].As<Napi::Number>().Int32Value(), info[1].As<Napi::Boolean>(), sentinel);
}

void UntrackChild(const Napi::CallbackInfo& info) {
  core::UntrackChild(info[0].As<Napi::Number>().Int32Value());
}

#if !defined(_WIN32)

// Of a Worker, which may be terminated, and then runs no JavaScript any more.
thread_local std::map<int, std::vector<int>> t_ending;
constexpr double kReapMs = 5000;

void EndAll() {
  for (const auto& [pid, fds] : std::exchange(t_ending, {})) {
    for (const int fd : fds) (void)core::CloseFd(fd);
    (void)core::WaitForChild(pid, core::Deadline::AfterMs(kReapMs));
  }
}

// endWithThread(pid, fds)
void EndWithThread(const Napi::CallbackInfo& info) {
  if (t_ending.empty()) info.Env().AddCleanupHook(EndAll);
  t_ending[Int(info, 0)] = IntsOf(info[1]);
}

// outliveThread(pid)
void OutliveThread(const Napi::CallbackInfo& info) { t_ending.erase(Int(info, 0)); }

#endif

void HandleDeathBy(const Napi::CallbackInfo& info) {
  core::HandleDeathBy(info[0].As<Napi::Number>().Int32Value());
}

// signalPidfd(fd, signal)
void SignalPidfd(const Napi::CallbackInfo& info) {
  const auto sent = core::SignalPidfd(info[0].As<Napi::Number>().Int32Value(),
                                      info[1].As<Napi::Number>().Int32Value());
  if (!sent.ok()) ThrowErrno(info.Env(), sent.error().errnum, sent.error().syscall);
}

// openPidfd(pid) → a descriptor, or null where the system has none to give.
Napi::Value OpenPidfd(const Napi::CallbackInfo& info) {
  const int fd = core::OpenPidfd(info[0].As<Napi::Number>().Int32Value());
  if (fd == -EMFILE || fd == -ENFILE) {
    ThrowErrno(info.Env(), -fd, "pidfd_open");
    return info.Env().Undefined();
  }
  if (fd < 0) return info.Env().Null();
  return Napi::Number::New(info.Env(), fd);
}

#if !defined(_WIN32)

// dieWithPeer(socket), outlivePeer(socket)
void DieWithPeer(const Napi::CallbackInfo& info) {
  const auto asked = core::DieWithPeer(info[0].As<Napi::Number>().Int32Value());
  if (!asked.ok()) ThrowErrno(info.Env(), asked.error().errnum, asked.error().syscall);
}

void OutlivePeer(const Napi::CallbackInfo& info) {
  const auto asked = core::OutlivePeer(info[0].As<Napi::Number>().Int32Value());
  if (!asked.ok()) ThrowErrno(info.Env(), asked.error().errnum, asked.error().syscall);
}

// What the child of an unwinding fork runs: made in the parent before its first fork, because every page
// that the child writes is a page it copies. One per process: forks happen on the main thread only.
struct ChildStart {
  Napi::FunctionReference on_child;
  Napi::FunctionReference main;
  Napi::FunctionReference idle_function;
  uv_idle_t idle;
  bool turned;
};

ChildStart* g_start = nullptr;

// On an empty stack.
void StartChild(uv_idle_t* idle) {
  // One turn of the loop first, with JavaScript still refused: node has a queue of native immediates (a failed
  // write that has yet to be told, finalisers), and those in it are the parent's.
  if (!g_start->turned) {
    g_start->turned = true;
    return;
  }
  uv_idle_stop(idle);
  core::AdmitJavaScript();
  core::ResumeMicrotasks();
  core::CancelTerminateExecution();
  Napi::Env env = g_start->main.Env();
  Napi::HandleScope scope(env);
  // What our own native frames, unwound, have noted of the termination.
  napi_value ignored;
  napi_get_and_clear_last_exception(env, &ignored);
  // What the parent's native code has queued while it was unwound.
  core::DiscardMicrotasks();
  core::ResumeLoop(idle->loop);
  if (core::WakeUpsWereLost()) core::FlushForegroundTasks();
  core::SetReportFd(-1);
  g_start->main.Value().MakeCallback(env.Global(), {});
  if (uv_loop_alive(idle->loop) == 0 && core::WorkersUnused()) {
    g_start->idle_function.Value().MakeCallback(env.Global(), {});
  }
}

void UnwindToStart() {
  g_start->turned = false;
  uv_idle_start(&g_start->idle, &StartChild);
  // node calls its timers' JavaScript again and again until it returns; the lists are empty, so it may.
  core::RefuseJavaScript(&core::CalledByNodeTimer);
  // If microtasks are being run right now, the unwinding itself drops the rest of them.
  core::DiscardMicrotasks();
  core::SuspendMicrotasks();
  core::TerminateExecution();
}

// Standard input of a child: nothing to read. The parent's descriptor is not touched.
void NullStdin() {
  const int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
  if (null < 0) return;
  if (null == 0) {
    fcntl(0, F_SETFD, 0);
    return;
  }
  dup2(null, 0);
  close(null);
}

// prepareFork(onChild, main, idle, enqueueMicrotask) → whether this build of V8 is understood.
Napi::Value PrepareFork(const Napi::CallbackInfo& info) {
  if (g_start != nullptr) return Napi::Boolean::New(info.Env(), true);
  Napi::Function enqueue = info[3].As<Napi::Function>();
  const bool found = core::FindMicrotaskCount(
      [](void* data) { static_cast<Napi::Function*>(data)->Call({}); }, &enqueue);
  if (!found) return Napi::Boolean::New(info.Env(), false);
  g_start = new ChildStart{Napi::Persistent(info[0].As<Napi::Function>()),
                           Napi::Persistent(info[1].As<Napi::Function>()),
                           Napi::Persistent(info[2].As<Napi::Function>()),
                           {},
                           false};
  uv_idle_init(LoopOf(info.Env()), &g_start->idle);
  return Napi::Boolean::New(info.Env(), true);
}

// fork(unwind, restTimeoutMs, reportFd, hasWorkers) → pid in the parent; in the child 0, or, unwinding, undefined.
Napi::Value Fork(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  const bool unwind = info[0].As<Napi::Boolean>();
  const int timeout_ms = info[1].As<Napi::Number>();
  const int report_fd = info[2].As<Napi::Number>();
  const bool has_workers = info[3].As<Napi::Boolean>();
  uv_loop_t* loop = LoopOf(env);

  const core::ForkResult result = core::Fork(loop, timeout_ms, report_fd, has_workers);
  if (!result.problem.empty()) {
    Napi::Error error = Napi::Error::New(env, result.problem);
    error.Set("code", Napi::String::New(env, result.restless ? "NOT_AT_REST" : "NOT_FORKABLE"));
    error.ThrowAsJavaScriptException();
    return env.Undefined();
  }
  if (result.pid != 0) {
    if (result.pid > 0) return Napi::Number::New(env, result.pid);
    ThrowErrno(env, result.error, result.syscall);
    return env.Undefined();
  }
  if (!unwind) {
    core::AdmitSignals();
    if (result.error == 0) return Napi::Number::New(env, 0);
    ThrowErrno(env, result.error, result.syscall);
    return env.Undefined();
  }
  const unsigned stdio = result.error == 0 ? core::RetireHandles(loop) : 0;
  NullStdin();
  signal(SIGUSR1, SIG_DFL);  // no inspector in children
  napi_value arguments[2];
  napi_create_int32(env, result.error, &arguments[0]);
  napi_create_int32(env, static_cast<int32_t>(stdio), &arguments[1]);
  napi_value ignored;
  napi_call_function(env, env.Global(), g_start->on_child.Value(), 2, arguments, &ignored);
  // Whatever it threw belongs to nobody: the child's own start must not be prevented by it.
  if (env.IsExceptionPending()) env.GetAndClearPendingException();
  if (result.error == 0) core::ReleaseLoop(loop);
  UnwindToStart();
  core::AdmitSignals();
  return env.Undefined();
}

void ForgetPoolRequests(const Napi::CallbackInfo& info) {
  core::ForgetPoolRequests(LoopOf(info.Env()));
}

// forkProblem() → null, or why this process cannot be forked.
Napi::Value ForkProblem(const Napi::CallbackInfo& info) {
  const std::string& problem = core::CheckForkable();
  if (problem.empty()) return info.Env().Null();
  return Napi::String::New(info.Env(), problem);
}

#else

Napi::Value ForkProblem(const Napi::CallbackInfo& info) {
  return Napi::String::New(info.Env(), "Windows has no fork");
}

#endif

}  // namespace

void InitFork(Napi::Env env, Napi::Object exports) {
  exports["fillRandom"] = Napi::Function::New(env, FillRandom, "fillRandom");
  exports["makeErrnoError"] = Napi::Function::New(env, MakeError, "makeErrnoError");
  exports["forkProblem"] = Napi::Function::New(env, ForkProblem, "forkProblem");
  exports["loopHolds"] = Napi::Function::New(env, LoopHolds, "loopHolds");
  exports["loopAlive"] = Napi::Function::New(env, LoopAlive, "loopAlive");
  exports["exitNow"] = Napi::Function::New(env, ExitNow, "exitNow");
  exports["trackChild"] = Napi::Function::New(env, TrackChild, "trackChild");
#if !defined(_WIN32)
  exports["endWithThread"] = Napi::Function::New(env, EndWithThread, "endWithThread");
  exports["outliveThread"] = Napi::Function::New(env, OutliveThread, "outliveThread");
#endif
  exports["untrackChild"] = Napi::Function::New(env, UntrackChild, "untrackChild");
  exports["handleDeathBy"] = Napi::Function::New(env, HandleDeathBy, "handleDeathBy");
  exports["openPidfd"] = Napi::Function::New(env, OpenPidfd, "openPidfd");
  exports["signalPidfd"] = Napi::Function::New(env, SignalPidfd, "signalPidfd");
#if !defined(_WIN32)
  exports["prepareFork"] = Napi::Function::New(env, PrepareFork, "prepareFork");
  exports["fork"] = Napi::Function::New(env, Fork, "fork");
  exports["forgetPoolRequests"] =
      Napi::Function::New(env, ForgetPoolRequests, "forgetPoolRequests");
  exports["dieWithPeer"] = Napi::Function::New(env, DieWithPeer, "dieWithPeer");
  exports["outlivePeer"] = Napi::Function::New(env, OutlivePeer, "outlivePeer");
#endif
}

}  // namespace mp
