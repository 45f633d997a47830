#include "thread_hooks.h"

#if defined(__linux__)

#include <pthread.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstring>

#include "got.h"

namespace mp::core {
namespace {

std::atomic<bool> g_in_child{false};
std::atomic<int> g_report_fd{-1};
thread_local bool t_required = false;

// The thread id behind a handle, without a lookup: it is encoded in the id of the thread's CPU clock.
pid_t ThreadIdOf(pthread_t thread) {
  clockid_t clock;
  if (pthread_getcpuclockid(thread, &clock) != 0) return 0;
  return ~(static_cast<pid_t>(clock) >> 3);
}

bool Exists(pid_t thread) {
  return thread > 0 && (syscall(SYS_tgkill, getpid(), thread, 0) == 0 || errno != ESRCH);
}

int JoinIfItExists(pthread_t thread, void** result) {
  if (g_in_child.load(std::memory_order_relaxed) && !Exists(ThreadIdOf(thread))) {
    // It has ended, here or in the parent. What ended here is reclaimed; the rest is the parent's affair.
    if (result != nullptr) *result = nullptr;
    pthread_tryjoin_np(thread, result);
    return 0;
  }
  return pthread_join(thread, result);
}

[[noreturn]] void EndForLackOfThreads(int error) {
  const int report_fd = g_report_fd.load(std::memory_order_relaxed);
  if (report_fd >= 0) {
    dprintf(report_fd, "%d pthread_create", error);
  } else {
    dprintf(2, "node-multiprocessing: process %d ends: it cannot start V8's worker threads: %s\n",
            static_cast<int>(getpid()), strerror(error));
  }
  _exit(1);
}

int CreateOrEnd(pthread_t* thread, const pthread_attr_t* attributes, void* (*run)(void*),
                void* argument) {
  const int error = pthread_create(thread, attributes, run, argument);
  if (error != 0 && t_required) EndForLackOfThreads(error);
  return error;
}

}  // namespace

std::string HookThreads() {
  GotPatch patch = PatchGot("pthread_join", reinterpret_cast<void*>(&JoinIfItExists));
  if (patch.problem.empty()) {
    patch = PatchGot("pthread_create", reinterpret_cast<void*>(&CreateOrEnd));
  }
  return patch.problem;
}

void ForgetThreads(int report_fd) {
  g_in_child.store(true, std::memory_order_relaxed);
  SetReportFd(report_fd);
}

void SetReportFd(int report_fd) { g_report_fd.store(report_fd, std::memory_order_relaxed); }

ThreadsRequired::ThreadsRequired() { t_required = true; }
ThreadsRequired::~ThreadsRequired() { t_required = false; }

}  // namespace mp::core

#else

namespace mp::core {
std::string HookThreads() { return ""; }
void ForgetThreads(int) {}
void SetReportFd(int) {}
ThreadsRequired::ThreadsRequired() {}
ThreadsRequired::~ThreadsRequired() {}
}  // namespace mp::core

#endif
