// A segment: memory that processes share, cut into slots for locks and what is like them.
//
// A segment is a memory file (memfd, or a shared memory object that is unlinked at once): it has no name that
// could be left behind, a fork inherits it, and its descriptor can be handed to a process that is no fork.
// Its size is address space; pages come when they are touched.
//
// Layout, version 3, in words of 4 bytes:
//     0  magic 'nmps'
//     1  version
//     2  size        in words
//     3  next_slot   first free word of the slots; allocation adds 16, by any process
//     4  data_used   words taken by the users' values, from the end downwards
//     5  first_slot  where the slots begin
//     6  next_owner  the last number that a thread got for its name in locks (owner.h)
//     7  kind        slots, a channel (channel.h), or plain
//     8  identity    128 random bits, which no other segment has: what references name it by
//    16  doorbell    counted up, and its sleepers woken, when a word changes that an asynchronous wait may be for
//    17  bell_used   not 0 once there has been an asynchronous wait: before that nobody rings
//    18  lent        references to it that were sent without its descriptor
//    19  arrived     and those that have arrived: the senders keep it while they are fewer (src/heap.ts)
//    32  owners      who the numbers are: 16,384 entries of 4 words: number, thread, start (low, high)
// 65568  slots, of 16 words each, one cache line; the last word says what a slot is
// Nothing is given back: a segment goes when nobody has it mapped any more. A process that dies inside an
// allocation loses what it took, and nobody else is affected. JavaScript allocates (src/heap.ts), by Atomics on
// the same words.
//
// Plain memory, for one large array, has the first 32 words of this, in a page of its own; its bytes follow.
//
// Attaching to what another process has made: by its descriptor, received, or opened in /proc/<pid>/fd. Nothing is
// believed before it was looked at: it is memory of ours, sealed so that nobody can cut it off (Linux), large enough
// for what its header says, of this version, and has the identity that was asked for; a descriptor's number may mean
// something else by the time.
#ifndef MP_CORE_SEGMENT_H_
#define MP_CORE_SEGMENT_H_

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <utility>

#include "core/fd.h"
#include "core/parking.h"
#include "core/result.h"
#include "core/shared_memory.h"

namespace mp::core {

constexpr uint32_t kSegmentMagic = 0x73706d6e;
constexpr uint32_t kSegmentVersion = 3;
constexpr size_t kSegmentBytes = size_t{4} << 20;
// Where the bytes of plain memory begin.
constexpr size_t kPlainOffset = 4096;

enum class SegmentKind : uint32_t { kSlots = 1, kPlain = 2, kChannel = 3 };

struct SegmentIdentity {
  uint32_t words[4];
};
inline bool operator==(const SegmentIdentity& a, const SegmentIdentity& b) {
  return std::memcmp(&a, &b, sizeof(a)) == 0;
}
inline bool operator!=(const SegmentIdentity& a, const SegmentIdentity& b) { return !(a == b); }

// A thread's entry in the table of those who use the locks of a segment. owner.h tells its life.
struct OwnerEntry {
  Word number;
  Word thread;
  Word start_low;
  Word start_high;
};
static_assert(sizeof(OwnerEntry) == 4 * 4);

// As many threads, of all processes, can be users of one segment at a time.
constexpr uint32_t kOwners = 16384;

struct SegmentHeader {
  uint32_t magic;
  uint32_t version;
  uint32_t size;
  Word next_slot;
  Word data_used;
  uint32_t first_slot;
  Word next_owner;
  SegmentKind kind;
  SegmentIdentity identity;
  uint32_t reserved_0[4];
  Word doorbell;
  Word bell_used;
  Word lent;
  Word arrived;
  uint32_t reserved_1[12];
  OwnerEntry owners[kOwners];
};
static_assert(offsetof(SegmentHeader, next_slot) == 3 * 4);
static_assert(offsetof(SegmentHeader, data_used) == 4 * 4);
static_assert(offsetof(SegmentHeader, first_slot) == 5 * 4);
static_assert(offsetof(SegmentHeader, next_owner) == 6 * 4);
static_assert(offsetof(SegmentHeader, kind) == 7 * 4);
static_assert(offsetof(SegmentHeader, identity) == 8 * 4);
static_assert(offsetof(SegmentHeader, doorbell) == 16 * 4);
static_assert(offsetof(SegmentHeader, bell_used) == 17 * 4);
static_assert(offsetof(SegmentHeader, lent) == 18 * 4);
static_assert(offsetof(SegmentHeader, arrived) == 19 * 4);
static_assert(offsetof(SegmentHeader, owners) == 32 * 4);
static_assert(offsetof(SegmentHeader, owners) <= kPlainOffset);
static_assert(sizeof(SegmentHeader) == 65568 * 4);

constexpr uint32_t kFirstSlot = sizeof(SegmentHeader) / sizeof(Word);

constexpr uint32_t kSlotWords = 16;
constexpr uint32_t kTagWord = 15;
// The only tag that this side looks for; the others are JavaScript's.
constexpr uint32_t kLockTag = 1;

constexpr size_t LeastBytesOf(SegmentKind kind) {
  return kind == SegmentKind::kPlain ? kPlainOffset + 1 : kSegmentBytes;
}

// Owns the mapping and the descriptor.
class Segment {
 public:
  // With a header, for slots. What is larger than usual is of one's own use, and left out of core dumps.
  static Result<std::shared_ptr<Segment>> Create(size_t bytes = kSegmentBytes,
                                                 SegmentKind kind = SegmentKind::kSlots);
  // `bytes` zeroed bytes behind kPlainOffset.
  static Result<std::shared_ptr<Segment>> CreatePlain(size_t bytes);
  // EPROTO: it is not the segment of this identity and kind. EACCES, ENOMEM.
  static Result<std::shared_ptr<Segment>> Attach(UniqueFd fd, const SegmentIdentity& identity,
                                                 SegmentKind kind);

  // The same of any identity: for what came with its descriptor, from whom it is to be had.
  static Result<std::shared_ptr<Segment>> Open(UniqueFd fd, SegmentKind kind);

  // Of plain memory only what comes before the owners.
  SegmentHeader* header() const { return static_cast<SegmentHeader*>(base()); }
  Word* words() const { return static_cast<Word*>(base()); }
  void* base() const { return mapping_.address(); }
  size_t bytes() const { return mapping_.length(); }
  void* plain_base() const { return static_cast<char*>(base()) + kPlainOffset; }
  int fd() const { return fd_.get(); }
  // Memory for the range, so that a write to it cannot fail. ENOMEM, ENOSPC; ENOSYS: it comes at the write.
  Result<void> Furnish(uint64_t offset, uint64_t length);

 private:
  static Result<std::shared_ptr<Segment>> Make(size_t bytes, SegmentKind kind);
  // What it says of itself.
  bool IsOf(SegmentKind kind) const;
  Segment(Mapping mapping, UniqueFd fd) : mapping_(std::move(mapping)), fd_(std::move(fd)) {}
  Mapping mapping_;
  UniqueFd fd_;
};

// The same segment, or pipe, that is open as `fd` in the process `pid`, opened once more. EPROTO: it is neither. ENOENT: no
// such process or descriptor. EACCES: another user's. ENOSYS: the system shows no descriptors (only Linux does).
Result<UniqueFd> OpenOf(int pid, int fd);

// Tells the asynchronous waiters of all processes to look.
inline void RingBell(SegmentHeader* header) {
  if (header->bell_used.load(std::memory_order_seq_cst) == 0) return;
  header->doorbell.fetch_add(1, std::memory_order_seq_cst);
  Unpark(&header->doorbell, INT32_MAX);
}

}  // namespace mp::core

#endif  // MP_CORE_SEGMENT_H_
