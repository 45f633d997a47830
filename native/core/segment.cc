#include "core/segment.h"

#if !defined(_WIN32)

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

namespace mp::core {
namespace {

#if defined(__linux__)

int OpenMemoryFile() {
  return memfd_create("node-multiprocessing", MFD_CLOEXEC | MFD_ALLOW_SEALING);
}
constexpr const char* kOpenCall = "memfd_create";

#else

// A name nobody else can have taken, which is gone before anybody could look.
int OpenMemoryFile() {
  static int count = 0;
  char name[31];
  std::snprintf(name, sizeof(name), "/nmps-%d-%d", static_cast<int>(getpid()), count++);
  const int fd = shm_open(name, O_RDWR | O_CREAT | O_EXCL, 0600);
  if (fd >= 0) shm_unlink(name);
  return fd;
}
constexpr const char* kOpenCall = "shm_open";

#endif

}  // namespace

namespace {

Result<SegmentIdentity> NewIdentity() {
  SegmentIdentity identity;
  if (getentropy(&identity, sizeof(identity)) != 0) return LastError("getentropy");
  return identity;
}

#if defined(__linux__)
constexpr int kSeals = F_SEAL_SHRINK | F_SEAL_GROW;
#endif

// From here on its size is for ever: whoever maps it need not fear SIGBUS.
void Seal(int fd) {
#if defined(__linux__)
  // Where memory files know no seals nobody attaches to them.
  (void)fcntl(fd, F_ADD_SEALS, kSeals | F_SEAL_SEAL);
#else
  (void)fd;
#endif
}

bool IsSealed(int fd) {
#if defined(__linux__)
  const int seals = fcntl(fd, F_GET_SEALS);
  return seals >= 0 && (seals & kSeals) == kSeals;
#else
  (void)fd;
  return true;
#endif
}

}  // namespace

Result<std::shared_ptr<Segment>> Segment::Make(size_t bytes, SegmentKind kind) {
  const auto identity = NewIdentity();
  if (!identity.ok()) return identity.error();
  UniqueFd fd(OpenMemoryFile());
  if (!fd.valid()) return LastError(kOpenCall);
  const auto sized = Truncate(fd.get(), bytes);
  if (!sized.ok()) return sized.error();
  Seal(fd.get());
  auto mapping = Map(fd.get(), bytes, PROT_READ | PROT_WRITE, MAP_SHARED, 0);
  if (!mapping.ok()) return mapping.error();
  std::shared_ptr<Segment> segment(new Segment(std::move(mapping.value()), std::move(fd)));
  SegmentHeader* header = segment->header();
  header->magic = kSegmentMagic;
  header->version = kSegmentVersion;
  header->kind = kind;
  header->identity = identity.value();
  return segment;
}

Result<void> Segment::Furnish(uint64_t offset, uint64_t length) {
  return Allocate(fd_.get(), offset, length);
}

Result<std::shared_ptr<Segment>> Segment::Open(UniqueFd fd, SegmentKind kind) {
  const OsError other{EPROTO, "attach"};
  struct stat status;
  if (fstat(fd.get(), &status) != 0) return LastError("fstat");
  if (!S_ISREG(status.st_mode) || !IsSealed(fd.get())) return other;
  const auto bytes = static_cast<size_t>(status.st_size);
  if (bytes < LeastBytesOf(kind)) return other;
  if (kind == SegmentKind::kSlots && bytes != kSegmentBytes) return other;
  auto mapping = Map(fd.get(), bytes, PROT_READ | PROT_WRITE, MAP_SHARED, 0);
  if (!mapping.ok()) return mapping.error();
  std::shared_ptr<Segment> segment(new Segment(std::move(mapping.value()), std::move(fd)));
  if (!segment->IsOf(kind)) return other;
#if defined(MADV_DONTDUMP)
  if (kind == SegmentKind::kChannel) madvise(segment->base(), bytes, MADV_DONTDUMP);
#endif
  return segment;
}

#if defined(__linux__)

namespace {

// Looked at before it is opened: to open a terminal or a device has effects.
bool IsOurs(const char* target) {
  for (const char* prefix : {"/memfd:node-multiprocessing", "pipe:["}) {
    if (std::strncmp(target, prefix, std::strlen(prefix)) == 0) return true;
  }
  return false;
}

}  // namespace

Result<UniqueFd> OpenOf(int pid, int fd) {
  char path[64];
  if (pid == getpid()) {
    std::snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
  } else {
    std::snprintf(path, sizeof(path), "/proc/%d/fd/%d", pid, fd);
  }
  char target[64];
  const ssize_t length = readlink(path, target, sizeof(target) - 1);
  if (length < 0) return LastError("readlink");
  target[length] = '\0';
  if (!IsOurs(target)) return OsError{EPROTO, "attach"};
  UniqueFd opened(
      RetryOnSignal([&] { return open(path, O_RDWR | O_CLOEXEC | O_NONBLOCK | O_NOCTTY); }));
  if (!opened.valid()) return LastError("open");
  return opened;
}

#else

// A Worker's own process needs nothing shown.
Result<UniqueFd> OpenOf(int pid, int fd) {
  if (pid == getpid()) return Duplicate(fd);
  return OsError{ENOSYS, "attach"};
}

#endif

}  // namespace mp::core

#endif  // !_WIN32

// ---- on every system (core/win32/memory.cc has the rest for Windows) ----

namespace mp::core {

bool Segment::IsOf(SegmentKind kind) const {
  const SegmentHeader* it = header();
  if (it->magic != kSegmentMagic || it->version != kSegmentVersion || it->kind != kind) {
    return false;
  }
  return kind == SegmentKind::kPlain ||
         (it->size == kSegmentBytes / sizeof(Word) && it->first_slot == kFirstSlot);
}

Result<std::shared_ptr<Segment>> Segment::CreatePlain(size_t bytes) {
  return Make(kPlainOffset + bytes, SegmentKind::kPlain);
}

Result<std::shared_ptr<Segment>> Segment::Create(size_t bytes, SegmentKind kind) {
  auto segment = Make(bytes, kind);
  if (!segment.ok()) return segment;
#if defined(MADV_DONTDUMP)
  if (bytes > kSegmentBytes) madvise(segment.value()->base(), bytes, MADV_DONTDUMP);
#endif
  SegmentHeader* header = segment.value()->header();
  header->size = kSegmentBytes / sizeof(Word);
  header->first_slot = kFirstSlot;
  header->next_slot.store(kFirstSlot, std::memory_order_relaxed);
  return segment;
}

Result<std::shared_ptr<Segment>> Segment::Attach(UniqueFd fd, const SegmentIdentity& identity,
                                                 SegmentKind kind) {
  auto segment = Open(std::move(fd), kind);
  if (segment.ok() && segment.value()->header()->identity != identity) {
    return OsError{EPROTO, "attach"};
  }
  return segment;
}

}  // namespace mp::core
