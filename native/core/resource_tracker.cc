#include "core/resource_tracker.h"

#if !defined(_WIN32)

#include <dlfcn.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <utility>

namespace mp::core {

namespace {

std::atomic<int> g_fd{-1};
// Which pipe it is: the program may close what it takes for its own, and open a file that gets the number.
std::atomic<uint64_t> g_device{0};
std::atomic<uint64_t> g_inode{0};
// Stored last, by release: who sees it sees the others.
std::atomic<uint32_t> g_generation{0};

// Held for a few system calls, by the thread that replaces the pipe. It names its process: what a fork copies of another
// thread's is nobody's in the child.
std::atomic<pid_t> g_holder{0};

class Hold {
 public:
  Hold() {
    const pid_t self = getpid();
    for (pid_t holder = 0; !g_holder.compare_exchange_weak(holder, self);) {
      if (holder != self) continue;
      holder = 0;
      sched_yield();
    }
  }
  ~Hold() { g_holder.store(0); }
  Hold(const Hold&) = delete;
  Hold& operator=(const Hold&) = delete;
};

bool IsThePipe(int fd) {
  struct stat status;
  return fstat(fd, &status) == 0 &&
         static_cast<uint64_t>(status.st_dev) == g_device.load(std::memory_order_relaxed) &&
         static_cast<uint64_t>(status.st_ino) == g_inode.load(std::memory_order_relaxed);
}

}  // namespace

TrackerLink CurrentTracker() {
  const uint32_t generation = g_generation.load(std::memory_order_acquire);
  return {g_fd.load(std::memory_order_relaxed), generation};
}

Result<bool> ReplaceTracker(uint32_t generation, UniqueFd fd) {
  const auto set = SetBlocking(fd.get(), false);
  if (!set.ok()) return set.error();
  struct stat status;
  if (fstat(fd.get(), &status) != 0) return LastError("fstat");
  const Hold hold;
  if (g_generation.load(std::memory_order_relaxed) != generation) return false;
  const int old = g_fd.load(std::memory_order_relaxed);
  if (old >= 0 && IsThePipe(old)) {
    const auto replaced = DuplicateOnto(fd.get(), old, false);
    if (!replaced.ok()) return replaced.error();
  } else {
    g_fd.store(fd.Release(), std::memory_order_relaxed);
  }
  g_device.store(static_cast<uint64_t>(status.st_dev), std::memory_order_relaxed);
  g_inode.store(static_cast<uint64_t>(status.st_ino), std::memory_order_relaxed);
  g_generation.store(generation + 1, std::memory_order_release);
  return true;
}

void CloseTracker() {
  const Hold hold;
  const int fd = g_fd.exchange(-1, std::memory_order_relaxed);
  if (fd >= 0 && IsThePipe(fd)) close(fd);
}

Told TellTracker(const void* message, size_t size, const Deadline& deadline) {
  const int fd = CurrentTracker().fd;
  if (fd < 0) return Told::kNone;
  if (!IsThePipe(fd)) return Told::kLost;
  for (;;) {
    // PIPE_BUF bytes or fewer are never taken in part.
    const auto written = WriteSome(fd, message, size);
    if (written.ok()) return Told::kTaken;
    if (written.error().errnum != EAGAIN) return Told::kLost;
    PollSlot slot{fd, POLLOUT, 0};
    const auto ready = PollFds(&slot, 1, deadline);
    if (!ready.ok()) return Told::kLost;
    if (ready.value() == 0) return Told::kFull;
  }
}

Result<std::string> OwnFile() {
  Dl_info info = {};
  if (dladdr(reinterpret_cast<void*>(&OwnFile), &info) == 0 || info.dli_fname == nullptr) {
    return OsError{ENOENT, "dladdr"};
  }
  return std::string(info.dli_fname);
}

}  // namespace mp::core

#else

namespace mp::core {

// There, what is shared goes with the last process that has it open: nothing is left behind.
TrackerLink CurrentTracker() { return {-1, 0}; }
Result<bool> ReplaceTracker(uint32_t, UniqueFd) { return OsError{ENOSYS, "trackerReplace"}; }
void CloseTracker() {}
Told TellTracker(const void*, size_t, const Deadline&) { return Told::kNone; }
Result<std::string> OwnFile() { return OsError{ENOSYS, "dladdr"}; }

}  // namespace mp::core

#endif
