#if !defined(_WIN32)

#include "core/affinity.h"

#include "core/plain_posix.h"

#if defined(MP_LINUX)
#include <sched.h>

#include <algorithm>
#include <new>
#endif

namespace mp::core {

#if defined(MP_LINUX)

namespace {

constexpr int kFirstGuess = 1024;
// Far above the kernel's own limit (NR_CPUS is at most 8192): where growing ends and beyond which
// no CPU exists.
constexpr int kMostCpus = 1 << 20;

class CpuMask {
 public:
  explicit CpuMask(int cpus) : cpus_(cpus), set_(CPU_ALLOC(cpus)) {
    if (set_ != nullptr) CPU_ZERO_S(bytes(), set_);
  }
  ~CpuMask() { CPU_FREE(set_); }
  CpuMask(const CpuMask&) = delete;
  CpuMask& operator=(const CpuMask&) = delete;

  bool valid() const { return set_ != nullptr; }
  size_t bytes() const { return CPU_ALLOC_SIZE(cpus_); }
  cpu_set_t* get() { return set_; }
  void Add(int cpu) { CPU_SET_S(static_cast<size_t>(cpu), bytes(), set_); }

  std::vector<int> List() const {
    std::vector<int> cpus;
    for (int cpu = 0; cpu < cpus_; ++cpu) {
      if (CPU_ISSET_S(static_cast<size_t>(cpu), bytes(), set_)) cpus.push_back(cpu);
    }
    return cpus;
  }

 private:
  int cpus_;
  cpu_set_t* set_;
};

}  // namespace

Result<void> SetAffinity(int pid, const std::vector<int>& cpus) {
  int length = kFirstGuess;
  for (const int cpu : cpus) {
    if (cpu < kMostCpus) length = std::max(length, cpu + 1);
  }
  CpuMask mask(length);
  if (!mask.valid()) return OsError{ENOMEM, "sched_setaffinity"};
  for (const int cpu : cpus) {
    if (cpu < kMostCpus) mask.Add(cpu);
  }
  if (sched_setaffinity(pid, mask.bytes(), mask.get()) != 0) return LastError("sched_setaffinity");
  return {};
}

Result<std::vector<int>> GetAffinity(int pid) {
  for (int length = kFirstGuess;; length *= 2) {
    CpuMask mask(length);
    if (!mask.valid()) return OsError{ENOMEM, "sched_getaffinity"};
    if (sched_getaffinity(pid, mask.bytes(), mask.get()) == 0) return mask.List();
    // EINVAL says that the kernel's mask is longer than ours.
    if (errno != EINVAL || length >= kMostCpus) return LastError("sched_getaffinity");
  }
}

#else

Result<void> SetAffinity(int, const std::vector<int>&) {
  return OsError{ENOSYS, "sched_setaffinity"};
}

Result<std::vector<int>> GetAffinity(int) { return OsError{ENOSYS, "sched_getaffinity"}; }

#endif

}  // namespace mp::core

#endif
