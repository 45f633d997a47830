// Parking by the futex.

#include "core/parking.h"
#include "core/plain_posix.h"

#if defined(MP_LINUX)

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>

namespace mp::core {

void Park(Word* word, uint32_t expected, const Deadline& deadline) {
  const timespec limit = ToTimespec(std::min(kSliceNs, deadline.RemainingNs()));
  syscall(SYS_futex, word, FUTEX_WAIT, expected, &limit, nullptr, 0);
}

int Unpark(Word* word, int count) {
  const long woken = syscall(SYS_futex, word, FUTEX_WAKE, count, nullptr, nullptr, 0);
  return woken < 0 ? 0 : static_cast<int>(woken);
}

}  // namespace mp::core

#endif
