// Which CPUs a process may run on (Linux; elsewhere ENOSYS).
//
// The kernel's mask is as long as the machine needs: more than the 1024 CPUs of cpu_set_t are
// handled by growing it.
#pragma once

#include <vector>

#include "core/result.h"

namespace mp::core {

// pid 0 is the calling thread. CPUs the machine does not have are ignored; if none is left, EINVAL.
Result<void> SetAffinity(int pid, const std::vector<int>& cpus);
// Ascending.
Result<std::vector<int>> GetAffinity(int pid);

}  // namespace mp::core
