#include "dead_threads.h"

#if defined(__linux__)

#include <pthread.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>

#include "got.h"

namespace mp::core {
namespace {

std::atomic<bool> g_in_child{false};

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

}  // namespace

std::string HookThreadJoin() {
  return PatchGot("pthread_join", reinterpret_cast<void*>(&JoinIfItExists)).problem;
}

void ForgetThreads() { g_in_child.store(true, std::memory_order_relaxed); }

}  // namespace mp::core

#else

namespace mp::core {
std::string HookThreadJoin() { return ""; }
void ForgetThreads() {}
}  // namespace mp::core

#endif
