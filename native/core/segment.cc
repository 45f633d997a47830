#include "core/segment.h"

#if !defined(_WIN32)

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>

namespace mp::core {
namespace {

#if defined(__linux__)

int OpenMemoryFile() { return memfd_create("node-multiprocessing", MFD_CLOEXEC); }
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

Result<std::shared_ptr<Segment>> Segment::CreatePlain(size_t bytes) {
  UniqueFd fd(OpenMemoryFile());
  if (!fd.valid()) return LastError(kOpenCall);
  const auto sized = Truncate(fd.get(), bytes);
  if (!sized.ok()) return sized.error();
  auto mapping = Map(fd.get(), bytes, PROT_READ | PROT_WRITE, MAP_SHARED, 0);
  if (!mapping.ok()) return mapping.error();
  return std::shared_ptr<Segment>(new Segment(std::move(mapping.value()), std::move(fd)));
}

Result<std::shared_ptr<Segment>> Segment::Create(size_t bytes) {
  auto segment = CreatePlain(bytes);
  if (!segment.ok()) return segment;
#if defined(MADV_DONTDUMP)
  if (bytes > kSegmentBytes) madvise(segment.value()->base(), bytes, MADV_DONTDUMP);
#endif
  SegmentHeader* header = segment.value()->header();
  header->magic = kSegmentMagic;
  header->version = kSegmentVersion;
  header->size = kSegmentBytes / sizeof(Word);
  header->first_slot = kFirstSlot;
  header->next_slot.store(kFirstSlot, std::memory_order_relaxed);
  return segment;
}

Result<std::shared_ptr<Segment>> Segment::Open(UniqueFd fd) {
  struct stat status;
  if (fstat(fd.get(), &status) != 0) return LastError("fstat");
  const auto bytes = static_cast<size_t>(status.st_size);
  if (bytes < kSegmentBytes) return OsError{EINVAL, "segment"};
  auto mapping = Map(fd.get(), bytes, PROT_READ | PROT_WRITE, MAP_SHARED, 0);
  if (!mapping.ok()) return mapping.error();
#if defined(MADV_DONTDUMP)
  if (bytes > kSegmentBytes) madvise(mapping.value().address(), bytes, MADV_DONTDUMP);
#endif
  std::shared_ptr<Segment> segment(new Segment(std::move(mapping.value()), std::move(fd)));
  const SegmentHeader* header = segment->header();
  if (header->magic != kSegmentMagic || header->version != kSegmentVersion) {
    return OsError{EINVAL, "segment"};
  }
  return segment;
}

}  // namespace mp::core

#endif  // !_WIN32
