#include "forkable_heap.h"

#if defined(__linux__)

#include <sys/mman.h>

#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstring>

#include "got.h"

namespace mp::core {
namespace {

// Set once, at the first fork, while every other thread that could map heap pages is at rest.
std::atomic<bool> g_keep_forkable{false};

int MadviseKeepingHeapForkable(void* address, size_t length, int advice) {
  if (advice == MADV_DONTFORK && g_keep_forkable.load(std::memory_order_relaxed)) return 0;
  return madvise(address, length, advice);
}

}  // namespace

std::string HookMadvise() {
  const GotPatch patch = PatchGot("madvise", reinterpret_cast<void*>(&MadviseKeepingHeapForkable));
  if (!patch.problem.empty()) return patch.problem;
  if (!patch.patched_main_program) {
    return "this build of node does not call madvise through a global offset table";
  }
  return "";
}

std::string KeepHeapForkable() {
  // Only the main thread forks. Not the flag: what stopped this halfway may do so again.
  static bool done = false;
  if (done) return "";
  g_keep_forkable.store(true, std::memory_order_relaxed);

  FILE* smaps = fopen("/proc/self/smaps", "re");
  if (smaps == nullptr) return std::string("cannot read /proc/self/smaps: ") + strerror(errno);
  char line[4096];
  unsigned long start = 0;
  unsigned long end = 0;
  std::string problem;
  while (fgets(line, sizeof(line), smaps) != nullptr) {
    if (strncmp(line, "VmFlags:", 8) == 0) {
      if (strstr(line, " dc") == nullptr) continue;
      if (madvise(reinterpret_cast<void*>(start), end - start, MADV_DOFORK) != 0 &&
          errno != EINVAL) {
        problem = std::string("madvise(MADV_DOFORK): ") + strerror(errno);
      }
      continue;
    }
    unsigned long from;
    unsigned long to;
    if (sscanf(line, "%lx-%lx ", &from, &to) == 2) {
      start = from;
      end = to;
    }
  }
  fclose(smaps);
  done = problem.empty();
  return problem;
}

}  // namespace mp::core

#else

namespace mp::core {
std::string HookMadvise() { return ""; }
std::string KeepHeapForkable() { return ""; }
}  // namespace mp::core

#endif
