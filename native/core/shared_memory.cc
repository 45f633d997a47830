#if !defined(_WIN32)

#include "core/shared_memory.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <limits>

#include "core/plain_posix.h"

namespace mp::core {

namespace {

constexpr uint64_t kMaxOffset = std::numeric_limits<off_t>::max();

Result<struct stat> Stat(int fd) {
  struct stat status;
  if (fstat(fd, &status) != 0) return LastError("fstat");
  return status;
}

// What ftruncate would be refused for, and killed.
bool ExceedsFileLimit(int fd, uint64_t length) {
  rlimit limit;
  if (getrlimit(RLIMIT_FSIZE, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return false;
  if (length <= limit.rlim_cur) return false;
  const auto status = Stat(fd);
  return !status.ok() || length > static_cast<uint64_t>(status.value().st_size);
}

// Only a glance: others may take the room before it is used.
bool HasRoom(int fd, uint64_t length) {
  struct statvfs system;
  if (fstatvfs(fd, &system) != 0) return true;
  // A tmpfs without a limit says 0.
  if (system.f_blocks == 0) return true;
  return length <= static_cast<uint64_t>(system.f_bavail) * system.f_frsize;
}

bool IsUnsupported(const OsError& error) {
  return error.errnum == EOPNOTSUPP || error.errnum == ENOSYS || error.errnum == EINVAL;
}

// The size of a new object, and its memory. The size comes first and at once: an allocation goes piece by
// piece, and who opens the name meanwhile would find a block that is still growing.
Result<void> Furnish(int fd, uint64_t size) {
  if (!HasRoom(fd, size)) return OsError{ENOSPC, "ftruncate"};
  const auto sized = Truncate(fd, size);
  if (!sized.ok() || size > kAllocatedAtOnce) return sized;
  const auto allocated = Allocate(fd, 0, size);
  return !allocated.ok() && IsUnsupported(allocated.error()) ? Result<void>() : allocated;
}

FileIdentity IdentityOf(const struct stat& status) {
  return FileIdentity{static_cast<uint64_t>(status.st_dev), static_cast<uint64_t>(status.st_ino)};
}

Result<SharedBlock> MapBlock(int fd) {
  const auto status = Stat(fd);
  if (!status.ok()) return status.error();
  const auto size = static_cast<uint64_t>(status.value().st_size);
  if (size == 0) return OsError{EINVAL, "mmap"};
  if (!MayMapMore()) return OsError{ENOMEM, "mmap"};
  void* address = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (address == MAP_FAILED) return LastError("mmap");
  return SharedBlock{Mapping(address, size), IdentityOf(status.value())};
}

}  // namespace

void Mapping::Unmap() {
  void* address = std::exchange(address_, nullptr);
  if (address == nullptr) return;
  const int saved = errno;
  munmap(address, length_);
  CountMapping(-1);
  errno = saved;
}

bool IsSharedObject(const struct stat& status) {
  const auto kind = status.st_mode & S_IFMT;
  return kind == S_IFREG || kind == 0;
}

Result<UniqueFd> OpenShared(const std::string& name, int flags, unsigned mode) {
  // POSIX has shm_open set FD_CLOEXEC by itself.
  const int fd = RetryOnSignal(
      [&] { return shm_open(name.c_str(), flags & ~O_CLOEXEC, static_cast<mode_t>(mode)); });
  if (fd < 0) return LastError("shm_open");
  return UniqueFd(fd);
}

Result<void> UnlinkShared(const std::string& name) {
  if (shm_unlink(name.c_str()) != 0) return LastError("shm_unlink");
  return {};
}

Result<void> Truncate(int fd, uint64_t length) {
  if (length > kMaxOffset || ExceedsFileLimit(fd, length)) return OsError{EFBIG, "ftruncate"};
  if (RetryOnSignal([&] { return ftruncate(fd, static_cast<off_t>(length)); }) != 0)
    return LastError("ftruncate");
  return {};
}

#if defined(MP_LINUX)

// fallocate gives back all it has done when a signal interrupts it. A piece takes a fraction of a
// millisecond, so that even a fast timer lets it through.
constexpr uint64_t kAllocationPiece = uint64_t{1} << 20;

// The system call itself: the C library would write into each page where it is not supported.
Result<void> Allocate(int fd, uint64_t offset, uint64_t length) {
  const char* const call = "posix_fallocate";
  if (length == 0) return OsError{EINVAL, call};
  if (offset > kMaxOffset || length > kMaxOffset - offset ||
      ExceedsFileLimit(fd, offset + length)) {
    return OsError{EFBIG, call};
  }
  // Piece by piece a hopeless request would first take all the room there is.
  if (length > kAllocationPiece && !HasRoom(fd, length)) return OsError{ENOSPC, call};
  for (uint64_t done = 0; done < length; done += kAllocationPiece) {
    const auto piece = static_cast<off_t>(std::min(kAllocationPiece, length - done));
    const auto at = static_cast<off_t>(offset + done);
    if (RetryOnSignal([&] { return fallocate(fd, 0, at, piece); }) != 0) return LastError(call);
  }
  return {};
}

#else

Result<void> Allocate(int, uint64_t, uint64_t) { return OsError{ENOSYS, "posix_fallocate"}; }

#endif

Result<Mapping> Map(int fd, uint64_t length, int protection, int flags, uint64_t offset) {
  // At a chosen address it would replace what is there; a stack that grows has no fixed length.
#if defined(MAP_GROWSDOWN)
  constexpr int kRefused = MAP_FIXED | MAP_GROWSDOWN;
#else
  constexpr int kRefused = MAP_FIXED;
#endif
  const OsError invalid{EINVAL, "mmap"};
  if ((flags & kRefused) != 0 || offset > kMaxOffset) return invalid;
  if (fd < 0) {
    flags |= MAP_ANONYMOUS;
  } else if ((flags & MAP_ANONYMOUS) == 0) {
    const auto status = Stat(fd);
    if (!status.ok()) return status.error();
    if (IsSharedObject(status.value())) {
      const auto size = static_cast<uint64_t>(status.value().st_size);
      if (offset >= size) return invalid;
      if (length == 0) length = size - offset;
      if (length > size - offset) return invalid;
    }
  }
  if (length == 0) return invalid;
  if (!MayMapMore()) return OsError{ENOMEM, "mmap"};
  void* address = mmap(nullptr, length, protection, flags, fd, static_cast<off_t>(offset));
  if (address == MAP_FAILED) return LastError("mmap");
  return Mapping(address, length);
}

Result<SharedBlock> CreateBlock(const std::string& name, uint64_t size) {
  // Before there is a name; MapBlock would find out, too.
  if (!MayMapMore()) return OsError{ENOMEM, "mmap"};
  auto fd = OpenShared(name, O_CREAT | O_EXCL | O_RDWR, 0600);
  if (!fd.ok()) return fd.error();
  const auto furnished = Furnish(fd.value().get(), size);
  auto block = furnished.ok() ? MapBlock(fd.value().get()) : Result<SharedBlock>(furnished.error());
  if (!block.ok()) shm_unlink(name.c_str());
  return block;
}

Result<SharedBlock> AttachBlock(const std::string& name) {
  auto fd = OpenShared(name, O_RDWR, 0);
  if (!fd.ok()) return fd.error();
  return MapBlock(fd.value().get());
}

Result<bool> IsBlock(const std::string& name, const FileIdentity& identity) {
  const auto fd = OpenShared(name, O_RDONLY, 0);
  if (!fd.ok()) {
    if (fd.error().errnum == ENOENT) return false;
    return fd.error();
  }
  const auto status = Stat(fd.value().get());
  if (!status.ok()) return status.error();
  const FileIdentity now = IdentityOf(status.value());
  return now.device == identity.device && now.inode == identity.inode;
}

Result<bool> UnlinkBlock(const std::string& name, const FileIdentity& identity) {
  const auto is_it = IsBlock(name, identity);
  if (!is_it.ok() || !is_it.value()) return is_it;
  const auto unlinked = UnlinkShared(name);
  if (unlinked.ok()) return true;
  if (unlinked.error().errnum == ENOENT) return false;
  return unlinked.error();
}

}  // namespace mp::core

#endif
