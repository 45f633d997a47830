#include "core/memory_file.h"
#include "core/plain_posix.h"

#if defined(MP_PLAIN_POSIX)

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>

#include "core/shared_memory.h"

namespace mp::core {
namespace {

// macOS takes 31 characters, the slash included.
constexpr size_t kNameBytes = 32;
constexpr int kTries = 8;

// A name that nobody else has: threads and processes make them at once, and one that is killed before it takes the name
// away leaves it.
Result<void> NewName(char (&name)[kNameBytes]) {
  uint64_t random = 0;
  if (getentropy(&random, sizeof(random)) != 0) return LastError("getentropy");
  std::snprintf(name, sizeof(name), "/nmps-%016llx", static_cast<unsigned long long>(random));
  return {};
}

}  // namespace

Result<UniqueFd> CreateMemoryFile(size_t bytes) {
  for (int tries = 1;; tries++) {
    char name[kNameBytes];
    const auto named = NewName(name);
    if (!named.ok()) return named.error();
    auto fd = OpenShared(name, O_RDWR | O_CREAT | O_EXCL, 0600);
    if (!fd.ok() && fd.error().errnum == EEXIST && tries < kTries) continue;
    if (!fd.ok()) return fd.error();
    shm_unlink(name);
    const auto sized = Truncate(fd.value().get(), bytes);
    if (!sized.ok()) return sized.error();
    return fd;
  }
}

Result<size_t> MemoryFileSize(int fd) {
  struct stat status;
  if (fstat(fd, &status) != 0) return LastError("fstat");
  if (!IsSharedObject(status)) return OsError{EPROTO, "attach"};
  return static_cast<size_t>(status.st_size);
}

}  // namespace mp::core

#endif
