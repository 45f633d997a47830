// Segments (segment.h) and blocks of shared memory (shared_memory.h) as sections of the paging file.
//
// The memory of a channel is reserved, and committed chunk by chunk, for all processes at once. Windows takes none of it
// back before the last view goes.
//
// A block has a name, the one that CPython's has, as long as a process has it open: there is nothing to unlink.
#if defined(_WIN32)

#include "core/win32/memory.h"

#include <algorithm>
#include <cerrno>
#include <map>
#include <mutex>
#include <unordered_map>

#include "core/segment.h"
#include "core/shared_memory.h"
#include "core/win32/handles.h"

namespace mp::core {

namespace {

// A name goes with the last handle, not with the last view: blocks keep theirs.
struct Blocks {
  std::mutex mutex;
  std::unordered_map<const void*, UniqueHandle> handles;
};

Blocks& TheBlocks() {
  static auto* blocks = new Blocks;
  return *blocks;
}

Result<UniqueHandle> NewSection(const wchar_t* name, uint64_t bytes, DWORD kind) {
  UniqueHandle section(CreateFileMappingW(INVALID_HANDLE_VALUE, nullptr, PAGE_READWRITE | kind,
                                          static_cast<DWORD>(bytes >> 32),
                                          static_cast<DWORD>(bytes), name));
  if (!section.valid()) return WindowsError("CreateFileMapping");
  return section;
}

void* View(HANDLE section) {
  return MapViewOfFile(section, FILE_MAP_READ | FILE_MAP_WRITE, 0, 0, 0);
}

// Of a view, in whole pages; `committed` is what there is from its beginning on.
size_t BytesOf(void* base, size_t* committed) {
  char* at = static_cast<char*>(base);
  *committed = 0;
  for (MEMORY_BASIC_INFORMATION about; VirtualQuery(at, &about, sizeof(about)) != 0 &&
                                       about.AllocationBase == base && about.State != MEM_FREE;) {
    const bool joins = *committed == static_cast<size_t>(at - static_cast<char*>(base));
    at += about.RegionSize;
    if (about.State == MEM_COMMIT && joins) *committed += about.RegionSize;
  }
  return static_cast<size_t>(at - static_cast<char*>(base));
}

}  // namespace

// ---- mappings ----

void Mapping::Unmap() {
  void* address = std::exchange(address_, nullptr);
  if (address == nullptr) return;
  ForgetSegment(address);
  UnmapViewOfFile(address);
  CountMapping(-1);
  Blocks& blocks = TheBlocks();
  std::lock_guard<std::mutex> lock(blocks.mutex);
  blocks.handles.erase(address);
}

Result<UniqueFd> OpenShared(const std::string&, int, unsigned) {
  return OsError{ENOSYS, "shm_open"};
}
Result<void> Truncate(int, uint64_t) { return OsError{ENOSYS, "ftruncate"}; }
Result<void> Allocate(int, uint64_t, uint64_t) { return OsError{ENOSYS, "posix_fallocate"}; }
Result<Mapping> Map(int, uint64_t, int, int, uint64_t) { return OsError{ENOSYS, "mmap"}; }

// ---- blocks ----

namespace {

// As CPython's, which it gives no directory.
std::wstring NameOf(const std::string& name) {
  return Wide(name.substr(name.rfind('/') == 0 ? 1 : 0));
}

Result<SharedBlock> MapBlock(UniqueHandle section) {
  void* address = View(section.get());
  if (address == nullptr) return WindowsError("MapViewOfFile");
  size_t committed = 0;
  const size_t bytes = BytesOf(address, &committed);
  Blocks& blocks = TheBlocks();
  std::lock_guard<std::mutex> lock(blocks.mutex);
  blocks.handles[address] = std::move(section);
  // Its name is all the identity that it has.
  return SharedBlock{Mapping(address, bytes), FileIdentity{}};
}

}  // namespace

Result<SharedBlock> CreateBlock(const std::string& name, uint64_t size) {
  // The system would take no name for a nameless one.
  if (NameOf(name).empty()) return OsError{EINVAL, "CreateFileMapping"};
  SetLastError(ERROR_SUCCESS);
  auto section = NewSection(NameOf(name).c_str(), size, SEC_COMMIT);
  if (!section.ok()) return section.error();
  if (GetLastError() == ERROR_ALREADY_EXISTS) return OsError{EEXIST, "CreateFileMapping"};
  auto block = MapBlock(std::move(section.value()));
  if (!block.ok()) return block;
  // The view has whole pages; the creator knows how much of them it wanted.
  return SharedBlock{block.value().mapping.Narrow(static_cast<size_t>(size)), FileIdentity{}};
}

Result<SharedBlock> AttachBlock(const std::string& name) {
  UniqueHandle section(
      OpenFileMappingW(FILE_MAP_READ | FILE_MAP_WRITE, FALSE, NameOf(name).c_str()));
  if (!section.valid()) return WindowsError("OpenFileMapping");
  return MapBlock(std::move(section));
}

// Nobody has to unlink it.
Result<bool> IsBlock(const std::string&, const FileIdentity&) { return false; }
Result<void> UnlinkShared(const std::string&) { return {}; }
Result<bool> UnlinkBlock(const std::string&, const FileIdentity&) { return false; }

// ---- segments ----

namespace {

// Of the memory of a channel only its beginning is there from the beginning.
size_t LeastCommitted(SegmentKind kind) {
  return kind == SegmentKind::kChannel ? sizeof(SegmentHeader) : LeastBytesOf(kind);
}

}  // namespace

Result<void> Segment::Furnish(uint64_t offset, uint64_t length) {
  if (VirtualAlloc(static_cast<char*>(base()) + offset, length, MEM_COMMIT, PAGE_READWRITE) ==
      nullptr) {
    return OsError{ENOMEM, "VirtualAlloc"};
  }
  return {};
}

Result<std::shared_ptr<Segment>> Segment::Make(size_t bytes, SegmentKind kind) {
  SegmentIdentity identity;
  if (!FillWithChance(&identity, sizeof(identity))) return OsError{EIO, "RtlGenRandom"};
  auto section =
      NewSection(nullptr, bytes, kind == SegmentKind::kChannel ? SEC_RESERVE : SEC_COMMIT);
  if (!section.ok()) return section.error();
  void* base = View(section.value().get());
  if (base == nullptr) return WindowsError("MapViewOfFile");
  std::shared_ptr<Segment> segment(
      new Segment(Mapping(base, bytes), OwnFd(section.value().Release())));
  if (kind == SegmentKind::kChannel) {
    const auto furnished = segment->Furnish(0, LeastCommitted(kind));
    if (!furnished.ok()) return furnished.error();
  }
  SegmentHeader* header = segment->header();
  header->magic = kSegmentMagic;
  header->version = kSegmentVersion;
  header->kind = kind;
  header->identity = identity;
  AnnounceSegment(base, bytes, identity);
  return segment;
}

Result<std::shared_ptr<Segment>> Segment::Open(UniqueFd fd, SegmentKind kind) {
  const OsError other{EPROTO, "attach"};
  void* base = View(HandleOf(fd.get()));
  if (base == nullptr) {
    return GetLastError() == ERROR_INVALID_HANDLE ? other : WindowsError("MapViewOfFile");
  }
  size_t committed = 0;
  const size_t bytes = BytesOf(base, &committed);
  std::shared_ptr<Segment> segment(new Segment(Mapping(base, bytes), std::move(fd)));
  if (bytes < LeastBytesOf(kind) || committed < LeastCommitted(kind)) return other;
  if (!segment->IsOf(kind)) return other;
  AnnounceSegment(base, bytes, segment->header()->identity);
  return segment;
}

// Whatever it is: whoever attaches looks.
Result<UniqueFd> OpenOf(int pid, int fd) {
  if (!IsHandle(fd)) return OsError{EPROTO, "attach"};
  UniqueHandle owner(OpenProcess(PROCESS_DUP_HANDLE, FALSE, static_cast<DWORD>(pid)));
  if (!owner.valid()) {
    if (GetLastError() == ERROR_INVALID_PARAMETER) return OsError{ENOENT, "attach"};
    return WindowsError("attach");
  }
  HANDLE copy = nullptr;
  if (!DuplicateHandle(owner.get(), HandleOf(fd), GetCurrentProcess(), &copy, 0, FALSE,
                       DUPLICATE_SAME_ACCESS)) {
    return OsError{EPROTO, "attach"};
  }
  return OwnFd(copy);
}

}  // namespace mp::core

#endif
