// The other threads of the process, as /proc shows them: which of them sleep, and where.
//
// A fork copies the calling thread only, and with it every lock that another thread holds at that instant. What
// sleeps in a system call holds none, unless it waits for another lock, whose holder then does not sleep.
#ifndef MP_CORE_OTHER_THREADS_H_
#define MP_CORE_OTHER_THREADS_H_

#if defined(__linux__)

#include <dirent.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>

namespace mp::core {

// What a sleeping thread waits for: "202 0x7f.. 0x189 .." is a system call with its arguments; "running"
// is a thread that is, or is about to be.
struct Sleep {
  long number = -1;
  uintptr_t arguments[4] = {};
};

bool ReadSleep(int task_dir, const char* thread, Sleep* sleep);

bool IsEpoll(const Sleep& sleep);

// Whether another thread waits in epoll for a limited time.
bool SomeThreadWaitsWithLimit();

// Waits until all other threads sleep at once, for at most `patience_ms`. Whether they do. A thread that computes
// without pause is not waited for longer than that.
bool AwaitOthersAsleep(int patience_ms);

// Calls `look(thread, sleep)` for every other thread until it answers false; `sleep` is null for one that
// runs or cannot be looked at. False when there is no /proc.
template <typename F>
bool ForEachThread(F look) {
  DIR* tasks = opendir("/proc/self/task");
  if (tasks == nullptr) return false;
  const pid_t self = static_cast<pid_t>(syscall(SYS_gettid));
  bool go_on = true;
  while (go_on) {
    const dirent* entry = readdir(tasks);
    if (entry == nullptr) break;
    const pid_t thread = static_cast<pid_t>(atoi(entry->d_name));
    if (thread <= 0 || thread == self) continue;
    Sleep sleep;
    go_on = look(thread, ReadSleep(dirfd(tasks), entry->d_name, &sleep) ? &sleep : nullptr);
  }
  closedir(tasks);
  return true;
}

}  // namespace mp::core

#endif  // __linux__
#endif  // MP_CORE_OTHER_THREADS_H_
