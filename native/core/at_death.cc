#include "at_death.h"

#if !defined(_WIN32)

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>

#include "plain_posix.h"
#include "process.h"

#if defined(MP_LINUX)
#include <sys/syscall.h>
#endif

namespace mp::core {
namespace {

constexpr int kPlaces = 4096;
constexpr int kSignals = 65;

// A place holds (sentinel + 1) << 32 | pid * 2 + daemon, or 0. Written by the main thread, read by the handler, which
// may have interrupted it anywhere: each place is one lock-free word.
std::atomic<int64_t> g_children[kPlaces];
std::atomic<int> g_high{0};  // places in use are below this one
std::atomic<pid_t> g_owner{0};
std::atomic<bool> g_dying{false};
struct sigaction g_previous[kSignals];
#if defined(MP_PLAIN_POSIX)
pthread_t g_main_thread;
#endif

struct Child {
  pid_t pid;
  bool daemon;
  int sentinel;
};

Child ChildIn(int64_t place) {
  const int64_t low = place & 0xffff'ffff;
  return {static_cast<pid_t>(low / 2), low % 2 == 1, static_cast<int>(place >> 32) - 1};
}

bool HasEnded(int sentinel, int timeout_ms) {
  pollfd one{sentinel, POLLIN, 0};
  return poll(&one, 1, timeout_ms) > 0;
}

void Await(const Child& child) {
  if (child.sentinel >= 0) {
    while (!HasEnded(child.sentinel, -1)) {
    }
    return;
  }
  while (waitpid(child.pid, nullptr, 0) < 0 && errno == EINTR) {
  }
}

void EndChildren() {
  const int high = g_high.load(std::memory_order_relaxed);
  for (int i = 0; i < high; i++) {
    const int64_t place = g_children[i].load(std::memory_order_relaxed);
    const Child child = ChildIn(place);
    if (place == 0 || !child.daemon) continue;
    if (child.sentinel < 0 || !HasEnded(child.sentinel, 0)) kill(child.pid, SIGTERM);
  }
  for (int i = 0; i < high; i++) {
    const int64_t place = g_children[i].load(std::memory_order_relaxed);
    if (place != 0) Await(ChildIn(place));
  }
}

// A signal for the process may come to any thread. The main thread may be in the middle of a fork, in which it waits
// for the others: it takes the signal when it is done.
bool PassToMainThread(int signal) {
#if defined(MP_LINUX)
  const pid_t self = getpid();
  return syscall(SYS_gettid) != self && syscall(SYS_tgkill, self, self, signal) == 0;
#else
  return !OnMainThread() && pthread_kill(g_main_thread, signal) == 0;
#endif
}

void HandleDeath(int signal, siginfo_t* info, void* context) {
  const int saved_errno = errno;
  if (PassToMainThread(signal)) {
    errno = saved_errno;
    return;
  }
  if (getpid() == g_owner.load(std::memory_order_relaxed) && !g_dying.exchange(true)) {
    EndChildren();
  }
  const struct sigaction& previous = g_previous[signal];
  const bool is_default = (previous.sa_flags & SA_SIGINFO) == 0 && previous.sa_handler == SIG_DFL;
  if (is_default || (previous.sa_flags & SA_RESETHAND) != 0) {
    struct sigaction fallback = {};
    fallback.sa_handler = SIG_DFL;
    sigaction(signal, &fallback, nullptr);
  }
  if (is_default) {
    raise(signal);
  } else {
    // node's own handler takes three arguments without asking for them by SA_SIGINFO.
    previous.sa_sigaction(signal, info, context);
  }
  errno = saved_errno;
}

}  // namespace

void TrackChild(int pid, bool daemon, int sentinel) {
  const pid_t self = getpid();
  if (g_owner.load(std::memory_order_relaxed) != self) {
    for (int i = 0; i < g_high.load(std::memory_order_relaxed); i++) {
      g_children[i].store(0, std::memory_order_relaxed);
    }
    g_high.store(0, std::memory_order_relaxed);
    g_dying.store(false, std::memory_order_relaxed);
    g_owner.store(self, std::memory_order_relaxed);
  }
  for (int i = 0; i < kPlaces; i++) {
    if (g_children[i].load(std::memory_order_relaxed) != 0) continue;
    g_children[i].store((int64_t{sentinel} + 1) << 32 | int64_t{pid} * 2 | (daemon ? 1 : 0),
                        std::memory_order_relaxed);
    if (i >= g_high.load(std::memory_order_relaxed)) g_high.store(i + 1, std::memory_order_relaxed);
    return;
  }
}

void UntrackChild(int pid) {
  for (int i = 0; i < g_high.load(std::memory_order_relaxed); i++) {
    if (ChildIn(g_children[i].load(std::memory_order_relaxed)).pid == pid) {
      g_children[i].store(0, std::memory_order_relaxed);
    }
  }
}

void HandleDeathBy(int signal) {
  struct sigaction now;
  if (signal <= 0 || signal >= kSignals || sigaction(signal, nullptr, &now) != 0) return;
  const bool ours = (now.sa_flags & SA_SIGINFO) != 0 && now.sa_sigaction == &HandleDeath;
  const bool ignored = (now.sa_flags & SA_SIGINFO) == 0 && now.sa_handler == SIG_IGN;
  if (ours || ignored) return;
  g_previous[signal] = now;
#if defined(MP_PLAIN_POSIX)
  g_main_thread = pthread_self();
#endif
  struct sigaction action = {};
  action.sa_sigaction = &HandleDeath;
  // SA_NODEFER: a second Ctrl-C while waiting for the children ends the process at once.
  action.sa_flags = SA_SIGINFO | SA_NODEFER;
  sigemptyset(&action.sa_mask);
  sigaction(signal, &action, nullptr);
}

}  // namespace mp::core

#endif
