// A descriptor that becomes readable when a process ends.
#ifndef MP_CORE_PIDFD_H_
#define MP_CORE_PIDFD_H_

#include "core/result.h"

namespace mp::core {

// The descriptor, close-on-exec, or a negative errno: -ENOSYS where the system has no such thing.
int OpenPidfd(int pid);

// Signals the process that it is of, and no later one of the same number.
Result<void> SignalPidfd(int fd, int signal);

}  // namespace mp::core

#endif  // MP_CORE_PIDFD_H_
