// A segment: memory that processes share, cut into slots for locks and what is like them.
//
// A segment is a memory file (memfd, or a shared memory object that is unlinked at once): it has no name that
// could be left behind, a fork inherits it, and its descriptor can be handed to a process that is no fork.
// Its size is address space; pages come when they are touched.
//
// Layout, version 2, in words of 4 bytes:
//     0  magic 'nmps'
//     1  version
//     2  size        in words
//     3  next_slot   first free word of the slots; allocation adds 16, by any process
//     4  data_used   words taken by the users' values, from the end downwards
//     5  first_slot  where the slots begin
//     6  next_owner  the last number that a thread got for its name in locks (owner.h)
//    16  doorbell    counted up, and its sleepers woken, when a word changes that an asynchronous wait may be for
//    17  bell_used   not 0 once there has been an asynchronous wait: before that nobody rings
//    32  owners      who the numbers are: 16,384 entries of 4 words: number, thread, start (low, high)
// 65568  slots, of 16 words each, one cache line; the last word says what a slot is
// Nothing is given back: a segment goes when nobody has it mapped any more. A process that dies inside an
// allocation loses what it took, and nobody else is affected. JavaScript allocates (src/heap.ts), by Atomics on
// the same words.
#ifndef MP_CORE_SEGMENT_H_
#define MP_CORE_SEGMENT_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>

#include "core/fd.h"
#include "core/parking.h"
#include "core/result.h"
#include "core/shared_memory.h"

namespace mp::core {

constexpr uint32_t kSegmentMagic = 0x73706d6e;
constexpr uint32_t kSegmentVersion = 2;
constexpr size_t kSegmentBytes = size_t{4} << 20;

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
  uint32_t reserved_0[9];
  Word doorbell;
  Word bell_used;
  uint32_t reserved_1[14];
  OwnerEntry owners[kOwners];
};
static_assert(offsetof(SegmentHeader, next_slot) == 3 * 4);
static_assert(offsetof(SegmentHeader, data_used) == 4 * 4);
static_assert(offsetof(SegmentHeader, first_slot) == 5 * 4);
static_assert(offsetof(SegmentHeader, next_owner) == 6 * 4);
static_assert(offsetof(SegmentHeader, doorbell) == 16 * 4);
static_assert(offsetof(SegmentHeader, bell_used) == 17 * 4);
static_assert(offsetof(SegmentHeader, owners) == 32 * 4);
static_assert(sizeof(SegmentHeader) == 65568 * 4);

constexpr uint32_t kFirstSlot = sizeof(SegmentHeader) / sizeof(Word);

constexpr uint32_t kSlotWords = 16;
constexpr uint32_t kTagWord = 15;
// The only tag that this side looks for; the others are JavaScript's.
constexpr uint32_t kLockTag = 1;

// Owns the mapping and the descriptor.
class Segment {
 public:
  // With a header, for slots. What is larger than usual is of one's own use, and left out of core dumps.
  static Result<std::shared_ptr<Segment>> Create(size_t bytes = kSegmentBytes);
  // Zeroed bytes and nothing else.
  static Result<std::shared_ptr<Segment>> CreatePlain(size_t bytes);

  // One that another process has made. EINVAL: it is none.
  static Result<std::shared_ptr<Segment>> Open(UniqueFd fd);

  size_t size() const { return mapping_.length(); }
  SegmentHeader* header() const { return static_cast<SegmentHeader*>(base()); }
  Word* words() const { return static_cast<Word*>(base()); }
  void* base() const { return mapping_.address(); }
  int fd() const { return fd_.get(); }

 private:
  Segment(Mapping mapping, UniqueFd fd) : mapping_(std::move(mapping)), fd_(std::move(fd)) {}
  Mapping mapping_;
  UniqueFd fd_;
};

// Tells the asynchronous waiters of all processes to look.
inline void RingBell(SegmentHeader* header) {
  if (header->bell_used.load(std::memory_order_seq_cst) == 0) return;
  header->doorbell.fetch_add(1, std::memory_order_seq_cst);
  Unpark(&header->doorbell, INT32_MAX);
}

}  // namespace mp::core

#endif  // MP_CORE_SEGMENT_H_
