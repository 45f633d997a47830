// A queue of messages in memory that processes share: many put, many get, in order, and whoever is killed inside
// costs at most the one message that it was about.
//
// It is a segment (segment.h, so that a thread has a token here) whose slots are replaced by:
//
//   Control       a page: two ends, a pool of chunks, and a few words for those that wait
//   table         for each chunk its owner and its successor, 8 bytes
//   chunks        64 KiB each; a position is counted in units of 16 bytes from the first one
//
//     head (get_state)                              tail (put_state)
//       ▼                                             ▼
//   ┌────────────────────────┐   ┌────────────────────────┐     ┌──────┐   ┌──────┐
//   │▒▒▒│small│large ──┐│jump──┼──▶│small│small│ ...       │     │ free │──▶│ free │ ...
//   └──────────────────┼─────┘   └────────────────────────┘     └──────┘   └──────┘
//                      └──▶ chunk ──▶ chunk ──▶ chunk: a message of more than kMostSmall bytes
//
// Each end has a lock of its own, so that putting and getting do not meet. Under it a message is written beyond the
// tail, or read at the head, and then one store of 64 bits commits: it has the new position and the new count in
// one. What a death leaves behind is thus
//   before the commit   nothing: bytes beyond the tail, which the next one overwrites, or a message still at the head
//   after the commit    a message that is in the queue, or is taken, and chunks that nobody owns
//   under a lock        that lock, which is taken over within half a second (lock.h); no word behind it is half changed
//   while others sleep  those sleepers, which look by themselves within a slice (parking.h)
// Large messages are copied in and out while no lock is held: their chunks belong to a process then, by its token.
// There is one way to find chunks that a death has left: Collect() holds all the locks, marks what can be reached from
// the queue and what belongs to living threads, and frees the rest. A lock that was taken over asks for it.
//
// One memory file may hold several channels (two are a Pipe, pipe.h): first their control pages, then their tables,
// then their chunks. A channel is limited by the number of its messages, or by their bytes, or not at all. The bytes
// are counted at both ends, before the commit that they belong to; where somebody died in between, Collect() counts
// again.
//
// Chunks come from the pool last in, first out, so that a queue that is kept short stays in memory that is mapped
// and warm. What is free beyond a reserve is given back to the system, chunk by chunk.
#ifndef MP_CORE_CHANNEL_H_
#define MP_CORE_CHANNEL_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "core/bell.h"
#include "core/lock.h"
#include "core/segment.h"

namespace mp::core {

constexpr uint32_t kChannelVersion = 3;
// Behind the segment's header and its table of owners.
constexpr size_t kChannelOffset = size_t{512} << 10;
static_assert(kChannelOffset >= sizeof(SegmentHeader));
constexpr size_t kChunkBytes = size_t{64} << 10;
constexpr size_t kUnitBytes = 16;
constexpr uint32_t kUnitsPerChunk = kChunkBytes / kUnitBytes;
// 16 GiB of address space; positions have room for 64. Windows has 8 bytes of the kernel's memory for each page of it,
// also where nothing is: 1 GiB there.
#if defined(_WIN32)
constexpr uint32_t kMostChunks = uint32_t{1} << 14;
#else
constexpr uint32_t kMostChunks = uint32_t{1} << 18;
#endif

// A message of so many bytes in one part lies between the others; it is copied while the lock is held.
constexpr size_t kMostSmall = 4096;
constexpr uint32_t kMostParts = 1u << 20;
// So many getters may say in the memory itself which message they are about.
constexpr uint32_t kMostClaims = 704;

// One end. The low half is what sleepers wait for: bit 0, somebody waits; above it, how many messages have passed.
// The high half is the position. Changed as a whole; waiters set bit 0 alone, in the low half.
using End = std::atomic<uint64_t>;
static_assert(End::is_always_lock_free);

struct alignas(64) ChannelControl {
  uint32_t version;
  uint32_t max_items;     // 0: as many as memory holds
  uint32_t chunk_limit;   // of the address space that was to be had
  uint32_t max_bytes;     // 0: likewise
  uint64_t table_offset;  // in bytes from the segment's beginning, as is the next
  uint64_t chunks_offset;
  FileIdentity bell;  // which pipe it is

  alignas(64) Word put_lock;
  alignas(64) End put_state;
  Word put_bytes;  // of all messages so far, as they lie here; only who holds the lock changes it

  alignas(64) Word get_lock;
  // The tail as it was last seen from this end: while it is not reached nobody need look at the other end's line.
  End known_tail;
  alignas(64) End get_state;
  Word got_bytes;

  alignas(64) Word pool_lock;
  Word warm;  // lists of free chunks by their successor, +1; 0 is the end. Warm ones have memory,
  Word warm_count;  // cold ones have none.
  Word cold;
  Word cold_count;
  Word fresh;  // chunks from this one on have never been used

  alignas(64) Word suspect;  // a lock was taken over: there may be chunks that nobody owns
  Word bell_wanted;          // an event loop waits for the bell
  Word room_wanted;          // and another one for room
  Word done;             // bit 0: somebody waits; above it, how many messages were reported done
  Word socket_locks[2];  // a Pipe's (pipe.h), in its first channel: one for each end
  Word recalls;          // how often whoever waits for a message was told to look up

  // For a pool: 2 * n + 1 says that its owner takes, or has taken, message n of all that were put. It is written before
  // the commit, so it only counts once that many messages have been got; see Claim below.
  alignas(64) Word claims[kMostClaims];
};
static_assert(sizeof(ChannelControl) == 7 * 64 + 4 * kMostClaims);
static_assert(offsetof(ChannelControl, put_state) == 2 * 64);
static_assert(offsetof(ChannelControl, get_state) == 4 * 64);
static_assert(offsetof(ChannelControl, done) == 6 * 64 + 12);

struct ChunkEntry {
  Word owner;
  Word next;  // +1; 0 is the end
};

// Where they are in this process, as they were when it opened them: what somebody writes into the control page later
// leads nowhere else.
struct ChannelParts {
  ChannelControl* control;
  ChunkEntry* table;
  char* chunks;
  uint32_t chunk_limit;
};

struct Part {
  const void* data;
  size_t size;
};

// A message of several parts, or of more than kMostSmall bytes. Whoever gets it brings memory for each part, and learns
// the sizes by trying without.
struct LargeMessage {
  std::vector<size_t> sizes;
  std::vector<void*> into;
};

// How a getter of a pool gets: only what it may have, and leaving word of it.
struct Claim {
  Word* word = nullptr;
  // Its own tag. Tags count upwards, modulo 256: one of the 127 behind it is a newer one, which it does not know.
  uint8_t own = 0;
  // An older one is for its own getters, as long as there are any: up to this one there are none.
  uint8_t orphaned = 0;
};

struct ChannelLimits {
  uint32_t max_items = 0;  // 0: no limit
  // Nothing is put while so much is queued, jumps and tables included; whoever waited is told when a quarter of it is
  // free. One message may be larger. 0: no limit.
  uint32_t max_bytes = 0;
  uint32_t chunks =
      kMostChunks;  // address space; a quarter of it, and so on, where that is not to be had
};

class Channel {
 public:
  // EMFILE, ENFILE, ENOMEM. `max_items` 0: no limit.
  static Result<std::shared_ptr<Channel>> Create(uint32_t max_items);
  // One that another process has created. EPROTO: its memory is not that of a channel, or the bell is another's.
  static Result<std::shared_ptr<Channel>> Attach(std::shared_ptr<Segment> segment, UniqueFd bell,
                                                 UniqueFd bell_write);
  // Memory for `count` channels.
  static Result<std::shared_ptr<Segment>> CreateMemory(uint32_t count, const ChannelLimits& limits);
  // One of them, in this process or in another one. EPROTO: it is not there.
  static Result<std::shared_ptr<Channel>> Open(std::shared_ptr<Segment> segment, uint32_t which,
                                               Bell bell);

  enum class Got { kNothing, kSmall, kLarge, kSizes, kRefused, kNotYet };
  struct Gotten {
    Got what;
    size_t size;      // of a small one
    uint8_t tag = 0;  // of any
  };

  // One message made of the parts in a row; part boundaries are kept in a large one, and a small one is one part.
  // False: no room in time. ENOMEM: not for this one; the queue is as before. The tag goes with the message, for whoever
  // gets it.
  Result<bool> Put(const Part* parts, size_t count, uint32_t token, const Deadline& deadline,
                   uint8_t tag = 0);
  // `small` has room for kMostSmall bytes. kSizes: the next one is large, and nothing was taken; `large` has its sizes.
  // kLarge: it had the sizes that `large` says, and is where `large` says. EBADMSG: the memory has been tampered with.
  // kRefused: the next one has a newer tag than the claim knows, and stays; kNotYet: an older one.
  Result<Gotten> Get(void* small, LargeMessage* large, uint32_t token, const Claim& claim = {});
  // Whoever waits for a message waits no longer.
  void WakeAll();
  // Whether there is one, which another thread may get first. False: none in time, or WakeAll() since Recalls() was
  // what it is said to have been.
  bool WaitForMessage(uint32_t token, const Deadline& deadline);
  bool WaitForMessage(uint32_t token, const Deadline& deadline, uint32_t recalls);
  // Waits until another message has been taken than so many, modulo 2 ** 31; false: none in time, or WakeAll().
  bool WaitForTake(uint32_t taken, const Deadline& deadline, uint32_t recalls);
  uint32_t Recalls() const { return control_->recalls.load(std::memory_order_seq_cst); }

  uint32_t Size() const;
  bool HasRoom() const;
  uint32_t max_items() const { return control_->max_items; }

  // For JoinableQueue: how many were put and not yet reported done. Done() answers false when that is 0.
  uint32_t Unfinished() const;
  bool Done();
  bool WaitUntilDone(const Deadline& deadline);

  // Makes the bell ring when the next message comes. True: there is one already.
  bool WantBell();
  // The same for room.
  bool WantRoom();
  // After the bell has rung in vain: silent until the next message.
  void ResetBell();
  const Bell& bell() const { return bell_; }

  // Frees what killed processes have left. Answers how many chunks.
  uint32_t Collect(uint32_t token);
  // Chunks that are not free: in the queue, or in somebody's hands.
  uint32_t UsedChunks() const;

  // Counts the messages that were put, in its bits 1 to 31.
  const Word* put_count() const;

  const std::shared_ptr<Segment>& segment() const { return segment_; }
  ChannelControl* control() const { return control_; }

 private:
  Channel(std::shared_ptr<Segment> segment, const ChannelParts& parts, Bell bell);

  class Hold;
  struct Record;
  struct Chain;
  struct Place {
    uint32_t position;
    Record* record;
  };

  // How many chunks have ever been used, as far as they are in this memory.
  uint32_t Fresh() const;
  // Null: it is none of this memory's.
  Record* At(uint32_t position) const;
  char* ChunkData(uint32_t chunk) const { return chunks_ + size_t{chunk} * kChunkBytes; }
  Result<bool> Append(const Record& record, const void* payload, size_t size, uint32_t token,
                      const Deadline& deadline, Word* handed_over);
  Result<Place> Reserve(uint32_t position, uint32_t units, uint32_t token);
  Result<bool> PutLarge(const Part* parts, size_t count, size_t size, uint32_t token,
                        const Deadline& deadline, uint8_t tag);
  Result<Gotten> TakeFirst(Hold* hold, void* small, Chain* chain, LargeMessage* large,
                           uint32_t token, const Claim& claim);
  uint32_t QueuedBytes() const;
  // For whoever has waited: so that they are not woken for each message.
  bool HasAmpleRoom() const;
  bool WaitForRoom(const Deadline& deadline);

  Result<void> Extend(Chain* chain, uint32_t count, uint32_t token);
  Result<void> Furnish(const std::vector<uint32_t>& chunks);
  void Release(const std::vector<uint32_t>& chunks, uint32_t token);
  void Trim(uint32_t token);
  uint32_t Take(Word* list, Word* count);
  void Free(uint32_t chunk, bool warm);
  void RebuildPool();
  void GiveBack(const std::vector<uint32_t>& chunks);
  void Wake(End* end);
  void RingIfWanted();
  void RingForRoomIfWanted();
  void CollectIfSuspect(uint32_t token);

  std::shared_ptr<Segment> segment_;
  Bell bell_;
  ChannelControl* control_;
  ChunkEntry* table_;
  char* chunks_;
  uint32_t chunk_limit_;
  // Of this process: how long waiting awake has been worth it lately.
  std::atomic<int64_t> patience_ns_{2'000};
};

}  // namespace mp::core

#endif  // MP_CORE_CHANNEL_H_
