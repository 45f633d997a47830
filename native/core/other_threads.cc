#include "other_threads.h"

#if defined(__linux__)

#include <fcntl.h>

#include <cstdio>

#include "clock.h"

namespace mp::core {

bool ReadSleep(int task_dir, const char* thread, Sleep* sleep) {
  char path[32];
  snprintf(path, sizeof(path), "%.16s/syscall", thread);
  const int fd = openat(task_dir, path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return false;
  char line[256];
  const ssize_t got = read(fd, line, sizeof(line) - 1);
  close(fd);
  if (got <= 0) return false;
  line[got] = '\0';
  return sscanf(line, "%ld %lx %lx %lx %lx", &sleep->number, &sleep->arguments[0],
                &sleep->arguments[1], &sleep->arguments[2], &sleep->arguments[3]) == 5;
}

bool IsEpoll(const Sleep& sleep) {
#if defined(SYS_epoll_wait)
  if (sleep.number == SYS_epoll_wait) return true;
#endif
  return sleep.number == SYS_epoll_pwait;
}

bool SomeThreadWaitsWithLimit() {
  constexpr int kLooks = 50;
  for (int look = 0; look < kLooks; look++) {
    bool any = false;
    bool undecided = false;
    ForEachThread([&](pid_t, const Sleep* sleep) {
      // One that has just been started has not come to its wait yet.
      if (sleep == nullptr)
        undecided = true;
      else
        any = any || (IsEpoll(*sleep) && static_cast<int>(sleep->arguments[3]) >= 0);
      return !any;
    });
    if (any || !undecided) return any;
    usleep(1000);
  }
  return false;
}

namespace {

bool AllSleep() {
  bool asleep = true;
  ForEachThread([&](pid_t, const Sleep* sleep) {
    asleep = sleep != nullptr;
    return asleep;
  });
  return asleep;
}

}  // namespace

bool AwaitOthersAsleep(int patience_ms) {
  const Deadline deadline = Deadline::AfterMs(patience_ms);
  for (;;) {
    // Twice: one that was seen to sleep may have been woken by one that was not looked at yet.
    if (AllSleep() && AllSleep()) return true;
    if (deadline.passed()) return false;
    usleep(50);
  }
}

}  // namespace mp::core

#endif  // __linux__
