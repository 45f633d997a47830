#include "pidfd.h"

#if !defined(_WIN32)

#include <cerrno>

#include "plain_posix.h"

#if defined(MP_LINUX)
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace mp::core {

int OpenPidfd(pid_t pid) {
#if defined(MP_LINUX) && defined(SYS_pidfd_open)
  const long fd = syscall(SYS_pidfd_open, pid, 0);
  return fd < 0 ? -errno : static_cast<int>(fd);
#else
  (void)pid;
  return -ENOSYS;
#endif
}

}  // namespace mp::core

#endif
