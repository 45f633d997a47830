// POSIX shared memory objects, their size, and mappings of them and of files.
//
// Guarantees: a block that was created has memory behind it, or room for it, or the creation failed
// with ENOSPC and left nothing; no call ends the process by a signal (SIGXFSZ); a mapping never
// reaches past the end of the file at the time it is made, where an access would be SIGBUS. What
// shrinks a file under a mapping later still brings that about.
//
// When a process dies its mappings go with it; the name stays until somebody unlinks it. A forked
// child has copies of the mappings: removing one there leaves the parent's as it is.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>

#include "core/fd.h"
#include "core/mapping_budget.h"
#include "core/result.h"

struct stat;

namespace mp::core {

// Owns one mapping and removes it when it goes.
class Mapping {
 public:
  Mapping() = default;
  Mapping(void* address, size_t length) : address_(address), length_(length) { CountMapping(1); }
  Mapping(Mapping&& other) noexcept
      : address_(std::exchange(other.address_, nullptr)), length_(other.length_) {}
  Mapping& operator=(Mapping&& other) noexcept {
    if (this != &other) {
      Unmap();
      address_ = std::exchange(other.address_, nullptr);
      length_ = other.length_;
    }
    return *this;
  }
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;
  ~Mapping() { Unmap(); }

  void* address() const { return address_; }
  size_t length() const { return length_; }
  // Does nothing the second time.
  void Unmap();
#if defined(_WIN32)
  // Of what it has, the first bytes.
  Mapping Narrow(size_t length) {
    length_ = length;
    return std::move(*this);
  }
#endif

 private:
  void* address_ = nullptr;
  size_t length_ = 0;
};

// Which object a name meant: a name can be given to another one after an unlink. macOS does not tell (all are 0, 0), and
// what is unlinked there is what the name means now, as Python does it everywhere.
struct FileIdentity {
  uint64_t device;
  uint64_t inode;
};

struct SharedBlock {
  Mapping mapping;
  FileIdentity identity;
};

// Whether it is a shared memory object: a regular file, or, to macOS, a file of no kind.
bool IsSharedObject(const struct stat& status);

// shm_open(3); the descriptor is close-on-exec.
Result<UniqueFd> OpenShared(const std::string& name, int flags, unsigned mode);
Result<void> UnlinkShared(const std::string& name);

// EINVAL: macOS sets the size of a shared memory object once, ever, and in whole pages. EFBIG beyond the limit RLIMIT_FSIZE, where ftruncate(2) would also send the deadly SIGXFSZ.
Result<void> Truncate(int fd, uint64_t length);
// posix_fallocate(3): memory or disk for the whole range now. ENOSPC when there is not enough; if
// others take the room meanwhile, a part of it is allocated by then.
Result<void> Allocate(int fd, uint64_t offset, uint64_t length);

// mmap(2) at an address that the system chooses. ENOMEM, as of all that maps: also when this process may
// map no more (mapping_budget.h).
// A length of 0 is everything from `offset` on.
// Without a descriptor (-1): anonymous memory. EINVAL: nothing to map, or the file ends before
// the mapping would.
Result<Mapping> Map(int fd, uint64_t length, int protection, int flags, uint64_t offset);

// Up to this size a new block gets all its memory at its creation. Docker gives a container
// 64 MiB of /dev/shm: in one no access to a block can fail.
constexpr uint64_t kAllocatedAtOnce = uint64_t{64} << 20;

// A new object of `size` bytes, all zero, mode 0600, mapped to be read and written. Up to
// kAllocatedAtOnce its memory is allocated; a larger one must have room at this moment. EEXIST:
// there is one of that name. ENOSPC: no room. Who opens the name meanwhile finds an empty object or
// one of the full size, never a part.
Result<SharedBlock> CreateBlock(const std::string& name, uint64_t size);
// An existing one, whole. ENOENT; EINVAL, of mmap: it is empty.
Result<SharedBlock> AttachBlock(const std::string& name);
// Whether the name still means that object.
Result<bool> IsBlock(const std::string& name, const FileIdentity& identity);
// Unlinks the name if it still means that object. False: it does not.
Result<bool> UnlinkBlock(const std::string& name, const FileIdentity& identity);

}  // namespace mp::core
