#include "pidfd.h"

#if !defined(_WIN32)

#include <cerrno>

#include "plain_posix.h"

#if defined(MP_LINUX)
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace mp::core {

int OpenPidfd(int pid) {
#if defined(MP_LINUX) && defined(SYS_pidfd_open)
  const long fd = syscall(SYS_pidfd_open, pid, 0);
  return fd < 0 ? -errno : static_cast<int>(fd);
#else
  (void)pid;
  return -ENOSYS;
#endif
}

Result<void> SignalPidfd(int fd, int signal) {
#if defined(__linux__) && defined(SYS_pidfd_send_signal)
  if (syscall(SYS_pidfd_send_signal, fd, signal, nullptr, 0) != 0) {
    return LastError("pidfd_send_signal");
  }
  return {};
#else
  (void)fd;
  (void)signal;
  return OsError{ENOSYS, "pidfd_send_signal"};
#endif
}

}  // namespace mp::core

#endif
