#include "core/segment.h"

#if !defined(_WIN32)

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "core/memory_file.h"
#include "core/plain_posix.h"

namespace mp::core {
namespace {

Result<SegmentIdentity> NewIdentity() {
  SegmentIdentity identity;
  if (getentropy(&identity, sizeof(identity)) != 0) return LastError("getentropy");
  return identity;
}

}  // namespace

Result<std::shared_ptr<Segment>> Segment::Make(size_t bytes, SegmentKind kind) {
  const auto identity = NewIdentity();
  if (!identity.ok()) return identity.error();
  auto fd = CreateMemoryFile(bytes);
  if (!fd.ok()) return fd.error();
  auto mapping = Map(fd.value().get(), bytes, PROT_READ | PROT_WRITE, MAP_SHARED, 0);
  if (!mapping.ok()) return mapping.error();
  std::shared_ptr<Segment> segment(new Segment(std::move(mapping.value()), std::move(fd.value())));
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
  const auto size = MemoryFileSize(fd.get());
  if (!size.ok()) return size.error();
  const size_t bytes = size.value();
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

#if defined(MP_LINUX)

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
