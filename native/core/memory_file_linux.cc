#include "core/memory_file.h"
#include "core/plain_posix.h"

#if defined(MP_LINUX)

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "core/shared_memory.h"

namespace mp::core {
namespace {

constexpr int kSeals = F_SEAL_SHRINK | F_SEAL_GROW;

bool IsSealed(int fd) {
  const int seals = fcntl(fd, F_GET_SEALS);
  return seals >= 0 && (seals & kSeals) == kSeals;
}

}  // namespace

Result<UniqueFd> CreateMemoryFile(size_t bytes) {
  UniqueFd fd(memfd_create("node-multiprocessing", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!fd.valid()) return LastError("memfd_create");
  const auto sized = Truncate(fd.get(), bytes);
  if (!sized.ok()) return sized.error();
  // Where memory files know no seals nobody attaches to them.
  (void)fcntl(fd.get(), F_ADD_SEALS, kSeals | F_SEAL_SEAL);
  return fd;
}

Result<size_t> MemoryFileSize(int fd) {
  struct stat status;
  if (fstat(fd, &status) != 0) return LastError("fstat");
  if (!S_ISREG(status.st_mode) || !IsSealed(fd)) return OsError{EPROTO, "attach"};
  return static_cast<size_t>(status.st_size);
}

}  // namespace mp::core

#endif
