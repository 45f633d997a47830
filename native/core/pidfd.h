// A descriptor that becomes readable when a process ends.
#ifndef MP_CORE_PIDFD_H_
#define MP_CORE_PIDFD_H_

namespace mp::core {

// The descriptor, close-on-exec, or a negative errno: -ENOSYS where the system has no such thing.
int OpenPidfd(int pid);

}  // namespace mp::core

#endif  // MP_CORE_PIDFD_H_
