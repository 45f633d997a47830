#if !defined(_WIN32)

#include "core/parent_watch.h"

#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include <cstdint>
#include <memory>

#include "core/clock.h"
#include "core/process.h"

namespace mp::core {
namespace {

constexpr double kLookMs = 250;

struct Parent {
  int pid;
  uint64_t start;
};

[[noreturn]] void End() {
  kill(getpid(), SIGKILL);
  _exit(1);
}

bool HasGone(const Parent& parent) {
  const auto facts = LookAtProcess(parent.pid);
  // For want of a descriptor, say: it is looked at again.
  if (!facts.ok()) return false;
  return !facts.value() || facts.value()->zombie || facts.value()->start_time != parent.start;
}

void* Watch(void* data) {
  const std::unique_ptr<Parent> parent(static_cast<Parent*>(data));
  while (!HasGone(*parent)) SleepUntil(Deadline::AfterMs(kLookMs));
  End();
}

}  // namespace

Result<void> EndWithParent(int pid) {
  const auto facts = LookAtProcess(pid);
  if (!facts.ok()) return facts.error();
  if (!facts.value() || facts.value()->zombie) End();
  auto parent = std::make_unique<Parent>(Parent{pid, facts.value()->start_time});
  // Signals are for the threads that were there before.
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  pthread_t thread;
  const int error = pthread_create(&thread, nullptr, &Watch, parent.get());
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (error != 0) return OsError{error, "pthread_create"};
  parent.release();
  pthread_detach(thread);
  return {};
}

}  // namespace mp::core

#endif
