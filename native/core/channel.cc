#include "core/channel.h"

#if defined(_WIN32)
#include <windows.h>
#else
#include <sys/mman.h>
#include <sys/resource.h>
#endif

#include <algorithm>
#include <cstring>
#include <thread>
#include <utility>

#include "core/plain_posix.h"
#include "core/steps.h"

namespace mp::core {

#if defined(MP_TEST_STEPS)
void (*at_step)() = [] {};
#endif

namespace {

constexpr auto kSeqCst = std::memory_order_seq_cst;
constexpr auto kRelaxed = std::memory_order_relaxed;

// What owns a chunk, besides a thread by its token, which is an even number and not 0.
constexpr uint32_t kFreeChunk = 0;  // the pool
constexpr uint32_t kQueuedChunk =
    1;  // the queue: it has messages in it, or is the first of a large one
constexpr uint32_t kMemberChunk = 3;  // whoever owns the first chunk of its chain

constexpr uint32_t kNoChunk = 0xffffffff;

// So much is kept when nothing is queued: 4 MiB. (The tests that die at each step take fewer steps with less.)
#if defined(MP_TEST_STEPS)
constexpr uint32_t kReserveChunks = 4;
#else
constexpr uint32_t kReserveChunks = 64;
#endif
// A pool that grows may do so because of what the dead have left.
constexpr uint32_t kSuspiciousGrowth = 256;
// Chunks that are had, or given back to the system, at once: 2 MiB.
constexpr uint32_t kBatch = kReserveChunks / 2;

constexpr uint32_t kWaiting = 1;

uint32_t LowOf(uint64_t state) { return static_cast<uint32_t>(state); }
uint32_t CountOf(uint64_t state) { return LowOf(state) >> 1; }
uint32_t PositionOf(uint64_t state) { return static_cast<uint32_t>(state >> 32); }
uint32_t ChunkOf(uint32_t position) { return position / kUnitsPerChunk; }

// The half that sleepers wait for: the lower one, on every machine that this is built for.
#if !defined(_MSC_VER)
static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__);
#endif
Word* LowWord(End* end) { return reinterpret_cast<Word*>(end); }

// One message more has passed this end. Only who holds the end's lock commits; waiters set their bit meanwhile.
uint32_t Commit(End* end, uint32_t position) {
  uint64_t seen = end->load(kSeqCst);
  uint64_t next;
  do {
    const uint32_t low = (LowOf(seen) + 2) | (LowOf(seen) & kWaiting);
    next = (uint64_t{position} << 32) | low;
  } while (!end->compare_exchange_weak(seen, next, kSeqCst));
  return LowOf(seen) & kWaiting;
}

uint32_t CountBetween(uint64_t put, uint64_t got) {
  return (CountOf(put) - CountOf(got)) & 0x7fffffff;
}

// As memcpy, but by plain loads and stores: the C library uses `rep movsb` for so much, which on several AMD processors is
// five times slower where source and destination lie alike in their pages (glibc's bug 30994).
void Copy(char* to, const char* from, size_t size) {
  constexpr size_t kLine = 64;
  for (; size >= kLine; size -= kLine, to += kLine, from += kLine) std::memcpy(to, from, kLine);
  std::memcpy(to, from, size);
}

// Who has one of the two ends is done in microseconds, unless it was stopped (SIGSTOP): calls that must not wait give
// it so long.
Deadline ForLock(const Deadline& deadline) {
  constexpr double kBriefMs = 2;
  return deadline.passed() ? Deadline::AfterMs(kBriefMs) : deadline;
}

// Waits, awake for as long as that has paid lately and then asleep, until the count in the word is another one, for a
// slice, or until the deadline. False: a whole slice went by and nothing happened.
bool AwaitChange(Word* word, uint32_t seen, const Deadline& deadline,
                 std::atomic<int64_t>* patience_ns) {
  constexpr int64_t kLeastPatienceNs = 1'000;
  constexpr int64_t kMostPatienceNs = 50'000;
  const int64_t patience = Spins() == 0 ? 0 : patience_ns->load(kRelaxed);
  const int64_t end = MonotonicNs() + patience;
  while (patience > 0) {
    for (int i = 0; i < 8; i++) {
      if ((word->load(std::memory_order_acquire) >> 1) != (seen >> 1)) {
        patience_ns->store(std::min(kMostPatienceNs, patience * 2), kRelaxed);
        return true;
      }
      SpinPause();
    }
    if (MonotonicNs() >= end) break;
  }
  patience_ns->store(std::max(kLeastPatienceNs, patience / 2), kRelaxed);
  if ((seen & kWaiting) == 0 && !word->compare_exchange_strong(seen, seen | kWaiting, kSeqCst)) {
    return true;
  }
  MP_STEP();
  const int64_t asleep = MonotonicNs();
  Park(word, seen | kWaiting, deadline);
  return word->load(kSeqCst) != (seen | kWaiting) || MonotonicNs() - asleep < kSliceNs;
}

}  // namespace

// What stands at a position: 16 bytes for a jump and for a large message, which fill them, and for a small one as many
// as it takes, with its bytes from `payload` on.
struct Channel::Record {
  enum Kind : uint32_t { kSmall = 1, kLarge = 2, kJump = 3 };
  // Bits 0-1 the kind; 2-23 the size of a small one, the number of parts of a large one; 24-31 the tag.
  uint32_t what;
  uint32_t where;  // the first chunk of a large one, the position to jump to
  uint64_t size;   // of a large one, with its table of parts

  Kind kind() const { return static_cast<Kind>(what & 3); }
  uint32_t number() const { return (what >> 2) & 0x3fffff; }
  uint8_t tag() const { return static_cast<uint8_t>(what >> 24); }
  static uint32_t What(Kind kind, size_t number, uint8_t tag) {
    return kind | static_cast<uint32_t>(number) << 2 | uint32_t{tag} << 24;
  }
  uint32_t units() const { return kind() == kSmall ? UnitsOf(number()) : 1; }
  static uint32_t UnitsOf(size_t bytes) {
    return static_cast<uint32_t>((sizeof(what) + bytes + kUnitBytes - 1) / kUnitBytes);
  }
  // What it takes of the memory.
  uint32_t bytes() const {
    const size_t chunks = kind() == kLarge ? (size + kChunkBytes - 1) / kChunkBytes : 0;
    return static_cast<uint32_t>(units() * kUnitBytes + chunks * kChunkBytes);
  }
  char* payload() { return reinterpret_cast<char*>(&where); }
};

// Chunks in a row that belong to this thread, first to last.
struct Channel::Chain {
  std::vector<uint32_t> chunks;
};

// A lock of the channel. Its owner's death is nothing to wait for by anybody's deadline.
class Channel::Hold {
 public:
  Hold(Channel* channel, Word* lock, uint32_t token, const Deadline& deadline = Deadline::Never())
      : channel_(channel), lock_(lock) {
    SegmentHeader* header = channel->segment_->header();
    const Acquired acquired = AcquireLock(header, lock, token, deadline);
    if (acquired == Acquired::kNo) lock_ = nullptr;
    taken_over_ = acquired == Acquired::kOwnerDied;
    if (taken_over_) channel->control_->suspect.store(1, kSeqCst);
  }
  Hold(const Hold&) = delete;
  Hold& operator=(const Hold&) = delete;
  ~Hold() { Release(); }

  void Release() {
    if (lock_ == nullptr) return;
    MP_STEP();
    ReleaseLock(std::exchange(lock_, nullptr), channel_->segment_->header());
    MP_STEP();
  }
  bool taken_over() const { return taken_over_; }
  // False: not in time.
  bool held() const { return lock_ != nullptr; }

 private:
  Channel* channel_;
  Word* lock_;
  bool taken_over_ = false;
};

// -------------------------------------------------------------------------------------------------
// Making one

namespace {

constexpr size_t kPage = 4096;
static_assert(sizeof(ChannelControl) <= kPage);
constexpr uint32_t kLeastChunks = 256;

#if defined(_WIN32)

uint32_t MostChunks(uint32_t wanted) { return wanted; }

bool IsAffordable(size_t bytes) {
  constexpr size_t kShare = 4;
  void* probe = VirtualAlloc(nullptr, kShare * bytes, MEM_RESERVE, PAGE_NOACCESS);
  return probe != nullptr && VirtualFree(probe, 0, MEM_RELEASE) != 0;
}

#else

// With a limit to the address space (ulimit -v) a channel takes a hundredth of it, so that there may be some dozens.
uint32_t MostChunks(uint32_t wanted) {
  constexpr rlim_t kShare = 100;
  rlimit limit;
  if (getrlimit(RLIMIT_AS, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return wanted;
  while (wanted / 4 >= kLeastChunks && wanted > limit.rlim_cur / kShare / kChunkBytes) wanted /= 4;
  return wanted;
}

// A channel takes at most a quarter of the address space that is to be had in one piece: the program needs some, too.
bool IsAffordable(size_t bytes) {
  constexpr size_t kShare = 4;
  constexpr int kFlags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
  void* probe = mmap(nullptr, kShare * bytes, PROT_NONE, kFlags, -1, 0);
  if (probe == MAP_FAILED) return false;
  munmap(probe, kShare * bytes);
  return true;
}

#endif

ChannelControl* ControlIn(const Segment& segment, uint32_t which) {
  char* base = static_cast<char*>(segment.base());
  return reinterpret_cast<ChannelControl*>(base + kChannelOffset + which * kPage);
}

// Whoever has made it: nothing of it lies outside of the memory.
Result<ChannelParts> Find(const Segment& segment, uint32_t which) {
  const OsError other{EPROTO, "attach"};
  const size_t size = segment.bytes();
  if (size < kChannelOffset + (which + size_t{1}) * kPage) return other;
  ChannelControl* control = ControlIn(segment, which);
  const size_t limit = control->chunk_limit;
  const uint64_t table = control->table_offset;
  const uint64_t chunks = control->chunks_offset;
  if (control->version != kChannelVersion || limit == 0 || limit > kMostChunks) return other;
  if (table % sizeof(ChunkEntry) != 0 || chunks % kUnitBytes != 0) return other;
  if (table < kChannelOffset + kPage || table > size || size - table < limit * sizeof(ChunkEntry)) {
    return other;
  }
  if (chunks < table || chunks > size || size - chunks < limit * kChunkBytes) return other;
  char* base = static_cast<char*>(segment.base());
  return ChannelParts{control, reinterpret_cast<ChunkEntry*>(base + table), base + chunks,
                      static_cast<uint32_t>(limit)};
}

}  // namespace

Channel::Channel(std::shared_ptr<Segment> segment, const ChannelParts& parts, Bell bell)
    : segment_(std::move(segment)),
      bell_(std::move(bell)),
      control_(parts.control),
      table_(parts.table),
      chunks_(parts.chunks),
      chunk_limit_(parts.chunk_limit) {}

Result<std::shared_ptr<Segment>> Channel::CreateMemory(uint32_t count,
                                                       const ChannelLimits& limits) {
  // Address space may be limited, or become scarce after some thousand queues.
  const uint32_t least = std::min(limits.chunks, kLeastChunks);
  for (uint32_t chunks = MostChunks(limits.chunks);; chunks /= 4) {
    const size_t first_table = kChannelOffset + count * kPage;
    const size_t table_bytes = size_t{chunks} * sizeof(ChunkEntry);
    const size_t first_chunk =
        (first_table + count * table_bytes + kChunkBytes - 1) / kChunkBytes * kChunkBytes;
    const size_t chunk_bytes = size_t{chunks} * kChunkBytes;
    const size_t bytes = first_chunk + count * chunk_bytes;
    const bool last = chunks / 4 < least;
    if (!IsAffordable(bytes)) {
      if (last) return OsError{ENOMEM, "mmap"};
      continue;
    }
    auto segment = Segment::Create(bytes, SegmentKind::kChannel);
    if (!segment.ok()) {
      if (last) return segment.error();
      continue;
    }
#if defined(_WIN32)
    const auto committed = segment.value()->Furnish(0, first_chunk);
    if (!committed.ok()) return committed.error();
#endif
    for (uint32_t which = 0; which < count; which++) {
      ChannelControl* control = ControlIn(*segment.value(), which);
      control->version = kChannelVersion;
      control->max_items = limits.max_items;
      control->max_bytes = limits.max_bytes;
      control->chunk_limit = chunks;
      control->table_offset = first_table + which * table_bytes;
      control->chunks_offset = first_chunk + which * chunk_bytes;
      control->fresh.store(1, kRelaxed);
      const auto parts = Find(*segment.value(), which);
      if (!parts.ok()) return parts.error();
      Channel channel(segment.value(), parts.value(), Bell());
      channel.table_[0].owner.store(kQueuedChunk, kRelaxed);
      const auto furnished = channel.Furnish({0});
      if (!furnished.ok()) return furnished.error();
    }
    return segment;
  }
}

Result<std::shared_ptr<Channel>> Channel::Open(std::shared_ptr<Segment> segment, uint32_t which,
                                               Bell bell) {
  const auto parts = Find(*segment, which);
  if (!parts.ok()) return parts.error();
  return std::shared_ptr<Channel>(new Channel(std::move(segment), parts.value(), std::move(bell)));
}

Result<std::shared_ptr<Channel>> Channel::Create(uint32_t max_items) {
  auto bell = Bell::Create();
  if (!bell.ok()) return bell.error();
  const auto identity = bell.value().Identity();
  if (!identity.ok()) return identity.error();
  ChannelLimits limits;
  limits.max_items = max_items;
  auto memory = CreateMemory(1, limits);
  if (!memory.ok()) return memory.error();
  ControlIn(*memory.value(), 0)->bell = identity.value();
  return Open(std::move(memory.value()), 0, std::move(bell.value()));
}

Result<std::shared_ptr<Channel>> Channel::Attach(std::shared_ptr<Segment> segment, UniqueFd bell,
                                                 UniqueFd bell_write) {
  const auto parts = Find(*segment, 0);
  if (!parts.ok()) return parts.error();
  auto rings = Bell::Attach(std::move(bell), std::move(bell_write), parts.value().control->bell);
  if (!rings.ok()) return rings.error();
  return Open(std::move(segment), 0, std::move(rings.value()));
}

// -------------------------------------------------------------------------------------------------
// Putting

uint32_t Channel::Fresh() const {
  return std::min(control_->fresh.load(std::memory_order_acquire), chunk_limit_);
}

Channel::Record* Channel::At(uint32_t position) const {
  if (ChunkOf(position) >= Fresh()) return nullptr;
  return reinterpret_cast<Record*>(chunks_ + size_t{position} * kUnitBytes);
}

Result<bool> Channel::Put(const Part* parts, size_t count, uint32_t token, const Deadline& deadline,
                          uint8_t tag) {
  if (count == 0) return OsError{EINVAL, "put"};
  size_t size = 0;
  for (size_t i = 0; i < count; i++) size += parts[i].size;
  if (count == 1 && size <= kMostSmall) {
    Record record{};
    record.what = Record::What(Record::kSmall, size, tag);
    return Append(record, parts[0].data, size, token, deadline, nullptr);
  }
  return PutLarge(parts, count, size, token, deadline, tag);
}

// With the put lock held: room for a record in one piece, and one unit after it for a jump.
Result<Channel::Place> Channel::Reserve(uint32_t position, uint32_t units, uint32_t token) {
  Record* here = At(position);
  if (here == nullptr) return OsError{EBADMSG, "put"};
  if (position % kUnitsPerChunk + units < kUnitsPerChunk) return Place{position, here};
  Chain chain;
  const auto extended = Extend(&chain, 1, token);
  if (!extended.ok()) {
    Release(chain.chunks, token);
    return extended.error();
  }
  const uint32_t chunk = chain.chunks[0];
  const uint32_t next = chunk * kUnitsPerChunk;
  here->what = Record::kJump;
  here->where = next;
  MP_STEP();
  table_[chunk].owner.store(kQueuedChunk, kSeqCst);
  MP_STEP();
  return Place{next, reinterpret_cast<Record*>(ChunkData(chunk))};
}

// `handed_over`: the owner's word of what becomes the queue's.
Result<bool> Channel::Append(const Record& record, const void* payload, size_t size, uint32_t token,
                             const Deadline& deadline, Word* handed_over) {
  const uint32_t units = record.units();
  for (;;) {
    if (!WaitForRoom(deadline)) return false;
    uint32_t waited_for;
    {
      Hold hold(this, &control_->put_lock, token, ForLock(deadline));
      if (!hold.held()) return false;
      if (!HasRoom()) continue;
      MP_STEP();
      auto place = Reserve(PositionOf(control_->put_state.load(kSeqCst)), units, token);
      if (!place.ok()) return place.error();
      Record* there = place.value().record;
      if (record.kind() == Record::kSmall) {
        there->what = record.what;
        if (size > 0) std::memcpy(there->payload(), payload, size);
      } else {
        *there = record;
      }
      MP_STEP();
      if (handed_over != nullptr) handed_over->store(kQueuedChunk, kSeqCst);
      MP_STEP();
      if (control_->max_bytes != 0) {
        control_->put_bytes.store(control_->put_bytes.load(kRelaxed) + record.bytes(), kSeqCst);
        MP_STEP();
      }
      waited_for = Commit(&control_->put_state, place.value().position + units);
      MP_STEP();
    }
    if (waited_for != 0) {
      RingIfWanted();
      Wake(&control_->put_state);
      // Who asked for the bell between the ring and the clearing of the bit would not be heard any more.
      RingIfWanted();
    } else if (control_->max_bytes != 0) {
      // There nobody need set the bit for it.
      RingIfWanted();
    }
    CollectIfSuspect(token);
    return true;
  }
}

Result<bool> Channel::PutLarge(const Part* parts, size_t count, size_t size, uint32_t token,
                               const Deadline& deadline, uint8_t tag) {
  // Nothing is copied for a queue that is full and stays so.
  if (!WaitForRoom(deadline)) return false;
  std::vector<uint64_t> sizes;
  std::vector<Part> all(1);
  for (size_t i = 0; i < count; i++) sizes.push_back(parts[i].size);
  all[0] = {sizes.data(), sizes.size() * sizeof(uint64_t)};
  all.insert(all.end(), parts, parts + count);
  const size_t total = all[0].size + size;
  const size_t needed = (total + kChunkBytes - 1) / kChunkBytes;
  if (needed >= chunk_limit_ || count > kMostParts) return OsError{ENOMEM, "put"};

  Chain chain;
  size_t in_chunk = kChunkBytes;
  size_t next = 0;
  for (const Part& part : all) {
    const char* data = static_cast<const char*>(part.data);
    for (size_t left = part.size; left > 0;) {
      if (in_chunk == kChunkBytes) {
        if (next == chain.chunks.size()) {
          const size_t more = std::min<size_t>(kBatch, needed - chain.chunks.size());
          const auto extended = Extend(&chain, static_cast<uint32_t>(more), token);
          if (!extended.ok()) {
            Release(chain.chunks, token);
            return extended.error();
          }
        }
        next++;
        in_chunk = 0;
      }
      const size_t piece = std::min(left, kChunkBytes - in_chunk);
      Copy(ChunkData(chain.chunks[next - 1]) + in_chunk, data, piece);
      in_chunk += piece;
      data += piece;
      left -= piece;
    }
  }
  MP_STEP();
  Record record{};
  record.what = Record::What(Record::kLarge, count, tag);
  record.where = chain.chunks[0];
  record.size = total;
  auto appended = Append(record, nullptr, 0, token, deadline, &table_[chain.chunks[0]].owner);
  if (!appended.ok() || !appended.value()) Release(chain.chunks, token);
  return appended;
}

uint32_t Channel::QueuedBytes() const {
  const uint32_t got = control_->got_bytes.load(kSeqCst);
  return control_->put_bytes.load(kSeqCst) - got;
}

bool Channel::HasRoom() const {
  if (control_->max_bytes != 0) return QueuedBytes() < control_->max_bytes || Size() == 0;
  if (control_->max_items == 0) return true;
  return Size() < control_->max_items;
}

bool Channel::HasAmpleRoom() const {
  if (control_->max_bytes == 0) return HasRoom();
  return QueuedBytes() <= control_->max_bytes / 4 * 3 || Size() == 0;
}

bool Channel::WaitForRoom(const Deadline& deadline) {
  if (control_->max_items == 0 && control_->max_bytes == 0) return true;
  if (HasRoom()) return true;
  for (;;) {
    // Before what is counted at the other end: what is got meanwhile makes this word another one.
    const uint32_t seen = LowOf(control_->get_state.load(kSeqCst));
    if (HasAmpleRoom()) return true;
    if (deadline.passed()) return false;
    AwaitChange(LowWord(&control_->get_state), seen, deadline, &patience_ns_);
  }
}

// -------------------------------------------------------------------------------------------------
// Getting

bool Channel::WaitForMessage(uint32_t token, const Deadline& deadline) {
  return WaitForMessage(token, deadline, Recalls());
}

bool Channel::WaitForMessage(uint32_t token, const Deadline& deadline, uint32_t recalls) {
  for (;;) {
    const uint64_t put = control_->put_state.load(kSeqCst);
    if (CountBetween(put, control_->get_state.load(kSeqCst)) != 0) return true;
    if (deadline.passed() || Recalls() != recalls) return false;
    const bool busy =
        AwaitChange(LowWord(&control_->put_state), LowOf(put), deadline, &patience_ns_);
    // Time to look around. One chunk is the queue's own.
    if (!busy && UsedChunks() > 1 && Size() == 0) Collect(token);
  }
}

Result<Channel::Gotten> Channel::Get(void* small, LargeMessage* large, uint32_t token,
                                     const Claim& claim) {
  if (Size() == 0) return Gotten{Got::kNothing, 0};
  Chain chain;
  Result<Gotten> taken = Gotten{Got::kNothing, 0};
  {
    Hold hold(this, &control_->get_lock, token, ForLock(Deadline::AfterMs(0)));
    if (!hold.held()) return taken;
    taken = TakeFirst(&hold, small, &chain, large, token, claim);
  }
  CollectIfSuspect(token);
  // This one was woken in place of another one, who may have it.
  if (taken.ok() && taken.value().what == Got::kRefused) WakeAll();
  if (!taken.ok() || taken.value().what != Got::kLarge) return taken;
  // Past the table of parts.
  size_t at = large->sizes.size() * sizeof(uint64_t);
  for (size_t part = 0; part < large->sizes.size(); part++) {
    char* data = static_cast<char*>(large->into[part]);
    for (size_t left = large->sizes[part]; left > 0;) {
      const size_t in_chunk = at % kChunkBytes;
      const size_t piece = std::min(left, kChunkBytes - in_chunk);
      Copy(data, ChunkData(chain.chunks[at / kChunkBytes]) + in_chunk, piece);
      data += piece;
      at += piece;
      left -= piece;
    }
  }
  MP_STEP();
  Release(chain.chunks, token);
  return taken;
}

// With the get lock held.
Result<Channel::Gotten> Channel::TakeFirst(Hold* hold, void* small, Chain* chain,
                                           LargeMessage* large, uint32_t token,
                                           const Claim& claim) {
  const OsError corrupt{EBADMSG, "get"};
  const uint64_t state = control_->get_state.load(kSeqCst);
  uint32_t position = PositionOf(state);
  if (position == PositionOf(control_->known_tail.load(kRelaxed))) {
    const uint64_t put = control_->put_state.load(kSeqCst);
    control_->known_tail.store(put, kRelaxed);
    if (position == PositionOf(put)) {
      // Somebody would come again and again for what they count.
      if (CountBetween(put, control_->get_state.load(kSeqCst)) != 0) return corrupt;
      return Gotten{Got::kNothing, 0};
    }
  }
  const uint32_t before = ChunkOf(position);
  Record* there = At(position);
  if (there == nullptr) return corrupt;
  if (there->kind() == Record::kJump) {
    position = there->where;
    there = At(position);
    if (there == nullptr) return corrupt;
  }
  // What is looked at is what is used, whoever writes there meanwhile.
  const Record record = *there;
  const uint32_t units = record.units();
  if (position % kUnitsPerChunk + units > kUnitsPerChunk) return corrupt;
  Gotten gotten{Got::kSmall, record.number(), record.tag()};
  if (claim.word != nullptr) {
    const uint8_t older = static_cast<uint8_t>(claim.own - gotten.tag);
    if (older >= 128) return Gotten{Got::kRefused, 0, gotten.tag};
    const uint8_t beyond = static_cast<uint8_t>(gotten.tag - claim.orphaned);
    if (older != 0 && beyond != 0 && beyond < 128) return Gotten{Got::kNotYet, 0, gotten.tag};
  }
  if (record.kind() == Record::kSmall) {
    if (gotten.size > kMostSmall) return corrupt;
    std::memcpy(small, there->payload(), gotten.size);
  } else if (record.kind() == Record::kLarge) {
    gotten.what = Got::kLarge;
    const uint32_t fresh = Fresh();
    if (record.size == 0 || record.size > size_t{fresh} * kChunkBytes) return corrupt;
    const size_t chunks = (record.size + kChunkBytes - 1) / kChunkBytes;
    for (uint32_t chunk = record.where; chain->chunks.size() < chunks;
         chunk = table_[chunk].next.load(kRelaxed) - 1) {
      if (chunk >= fresh) return corrupt;
      chain->chunks.push_back(chunk);
    }
    const size_t count = record.number();
    if (count * sizeof(uint64_t) > record.size) return corrupt;
    uint64_t sum = count * sizeof(uint64_t);
    std::vector<size_t> sizes;
    for (size_t i = 0; i < count; i++) {
      const size_t at = i * sizeof(uint64_t);
      uint64_t size;
      std::memcpy(&size, ChunkData(chain->chunks[at / kChunkBytes]) + at % kChunkBytes,
                  sizeof(size));
      if (size > record.size - sum) return corrupt;
      sum += size;
      sizes.push_back(static_cast<size_t>(size));
    }
    if (sum != record.size) return corrupt;
    if (large->into.size() != count || sizes != large->sizes) {
      large->sizes = std::move(sizes);
      return Gotten{Got::kSizes, 0, record.tag()};
    }
    MP_STEP();
    table_[record.where].owner.store(token, kSeqCst);
  } else {
    return corrupt;
  }
  MP_STEP();
  if (claim.word != nullptr) {
    claim.word->store(2 * CountOf(state) + 1, kSeqCst);
    MP_STEP();
  }
  if (control_->max_bytes != 0) {
    control_->got_bytes.store(control_->got_bytes.load(kRelaxed) + record.bytes(), kSeqCst);
    MP_STEP();
  }
  const uint32_t waited_for = Commit(&control_->get_state, position + units);
  MP_STEP();
  if (ChunkOf(position) != before) Release({before}, token);
  hold->Release();
  if (waited_for != 0 && HasAmpleRoom()) {
    Wake(&control_->get_state);
    RingBell(segment_->header());
  }
  if (control_->max_bytes != 0) RingForRoomIfWanted();
  return gotten;
}

// -------------------------------------------------------------------------------------------------
// What waiters and watchers are told

const Word* Channel::put_count() const { return LowWord(&control_->put_state); }

uint32_t Channel::Size() const {
  // What was put when nothing was got in between.
  uint64_t got = control_->get_state.load(kSeqCst);
  for (;;) {
    const uint64_t put = control_->put_state.load(kSeqCst);
    const uint64_t now = control_->get_state.load(kSeqCst);
    if (CountOf(now) == CountOf(got)) return CountBetween(put, got);
    got = now;
  }
}

// Somebody said that it waits. As in ReleaseSemaphore: once nobody sleeps the next one need not ask.
void Channel::Wake(End* end) {
  Word* word = LowWord(end);
  MP_STEP();
  if (Unpark(word, 1) > 0) return;
  uint32_t now = word->load(kSeqCst);
  if ((now & kWaiting) != 0 && word->compare_exchange_strong(now, now & ~kWaiting, kSeqCst)) {
    Unpark(word, INT32_MAX);
  }
}

// Whoever is about to sleep sees another word.
void Channel::WakeAll() {
  control_->recalls.fetch_add(1, kSeqCst);
  for (End* end : {&control_->put_state, &control_->get_state}) {
    Word* word = LowWord(end);
    word->fetch_and(~kWaiting, kSeqCst);
    Unpark(word, INT32_MAX);
  }
}

bool Channel::WaitForTake(uint32_t taken, const Deadline& deadline, uint32_t recalls) {
  Word* word = LowWord(&control_->get_state);
  for (;;) {
    const uint32_t seen = word->load(kSeqCst);
    if (seen >> 1 != taken) return true;
    if (deadline.passed() || Recalls() != recalls) return false;
    AwaitChange(word, seen, deadline, &patience_ns_);
  }
}

void Channel::RingIfWanted() {
  if (control_->bell_wanted.load(kSeqCst) == 0) return;
  control_->bell_wanted.store(0, kSeqCst);
  MP_STEP();
  bell_.Ring();
}

void Channel::RingForRoomIfWanted() {
  if (control_->room_wanted.load(kSeqCst) == 0 || !HasAmpleRoom()) return;
  control_->room_wanted.store(0, kSeqCst);
  MP_STEP();
  bell_.Ring();
}

bool Channel::WantRoom() {
  control_->room_wanted.store(1, kSeqCst);
  return HasAmpleRoom();
}

bool Channel::WantBell() {
  // First the wish, then the bit: whoever sees the bit looks for the wish, also after it has cleared the bit.
  control_->bell_wanted.store(1, kSeqCst);
  if (control_->max_bytes != 0) return Size() > 0;
  Word* word = LowWord(&control_->put_state);
  word->fetch_or(kWaiting, kSeqCst);
  return Size() > 0;
}

void Channel::ResetBell() {
  bell_.Reset();
  // Others may have slept through the message that came meanwhile.
  if (WantBell()) RingIfWanted();
}

uint32_t Channel::Unfinished() const {
  const uint32_t done = control_->done.load(kSeqCst) >> 1;
  return (CountOf(control_->put_state.load(kSeqCst)) - done) & 0x7fffffff;
}

bool Channel::Done() {
  uint32_t seen = control_->done.load(kSeqCst);
  for (;;) {
    const uint32_t unfinished =
        (CountOf(control_->put_state.load(kSeqCst)) - (seen >> 1)) & 0x7fffffff;
    if (unfinished == 0) return false;
    const uint32_t next = (seen + 2) | (seen & kWaiting);
    if (!control_->done.compare_exchange_strong(seen, next, kSeqCst)) continue;
    MP_STEP();
    if (unfinished == 1 && (seen & kWaiting) != 0) {
      Unpark(&control_->done, INT32_MAX);
      RingBell(segment_->header());
    }
    return true;
  }
}

bool Channel::WaitUntilDone(const Deadline& deadline) {
  for (;;) {
    const uint32_t seen = control_->done.load(kSeqCst);
    if (((CountOf(control_->put_state.load(kSeqCst)) - (seen >> 1)) & 0x7fffffff) == 0) return true;
    if (deadline.passed()) return false;
    uint32_t expected = seen;
    if ((seen & kWaiting) == 0 &&
        !control_->done.compare_exchange_strong(expected, seen | kWaiting, kSeqCst)) {
      continue;
    }
    Park(&control_->done, seen | kWaiting, deadline);
  }
}

// -------------------------------------------------------------------------------------------------
// The pool

namespace {

// Chunks in a row, lowest first.
template <typename Use>
bool ForRuns(std::vector<uint32_t> chunks, Use use) {
  std::sort(chunks.begin(), chunks.end());
  for (size_t i = 0; i < chunks.size();) {
    size_t end = i + 1;
    while (end < chunks.size() && chunks[end] == chunks[end - 1] + 1) end++;
    if (!use(chunks[i], end - i)) return false;
    i = end;
  }
  return true;
}

}  // namespace

uint32_t Channel::UsedChunks() const {
  const uint32_t free = control_->warm_count.load(kRelaxed) + control_->cold_count.load(kRelaxed);
  const uint32_t fresh = Fresh();
  return fresh > free ? fresh - free : 0;
}

// With the pool lock held. Also in the middle of it a chunk is either on no list and `kFreeChunk`, which RebuildPool
// finds, or somebody's.
void Channel::Free(uint32_t chunk, bool warm) {
  table_[chunk].owner.store(kFreeChunk, kSeqCst);
  MP_STEP();
  Word& list = warm ? control_->warm : control_->cold;
  Word& count = warm ? control_->warm_count : control_->cold_count;
  table_[chunk].next.store(list.load(kRelaxed), kRelaxed);
  MP_STEP();
  list.store(chunk + 1, kSeqCst);
  MP_STEP();
  count.store(count.load(kRelaxed) + 1, kRelaxed);
}

// The system gets the memory back, where it takes it: macOS keeps it until the queue has gone.
void Channel::GiveBack(const std::vector<uint32_t>& chunks) {
#if defined(MP_LINUX)
  ForRuns(chunks, [&](uint32_t first, size_t count) {
    return madvise(ChunkData(first), count * kChunkBytes, MADV_REMOVE) == 0;
  });
#else
  (void)chunks;
#endif
}

// After somebody died here: what is free says so itself. Whether it has memory is not known: it is given back.
void Channel::RebuildPool() {
  std::vector<uint32_t> free;
  for (Word* word :
       {&control_->warm, &control_->warm_count, &control_->cold, &control_->cold_count})
    word->store(0, kRelaxed);
  for (uint32_t chunk = Fresh(); chunk-- > 0;) {
    if (table_[chunk].owner.load(kRelaxed) == kFreeChunk) free.push_back(chunk);
  }
  GiveBack(free);
  for (uint32_t chunk : free) Free(chunk, false);
}

// With the pool lock held. Until it has an owner the chunk counts as free. kNoChunk: the list is empty.
uint32_t Channel::Take(Word* list, Word* count) {
  const uint32_t free = count->load(kRelaxed);
  if (list->load(kRelaxed) == 0 && free == 0) return kNoChunk;
  const uint32_t chunk = list->load(kRelaxed) - 1;
  const uint32_t fresh = Fresh();
  // A list that leads elsewhere, or has another length than it says, has been tampered with: it is lost until the next
  // Collect().
  if (chunk >= fresh || free == 0 || free > fresh) {
    list->store(0, kSeqCst);
    count->store(0, kRelaxed);
    return kNoChunk;
  }
  list->store(table_[chunk].next.load(kRelaxed), kSeqCst);
  count->store(free - 1, kRelaxed);
  return chunk;
}

// More chunks for a chain that belongs to this thread. After an error it may have some of them.
Result<void> Channel::Extend(Chain* chain, uint32_t count, uint32_t token) {
  std::vector<uint32_t> without_memory;
  {
    Hold hold(this, &control_->pool_lock, token);
    if (hold.taken_over()) RebuildPool();
    for (uint32_t i = 0; i < count; i++) {
      uint32_t chunk = Take(&control_->warm, &control_->warm_count);
      if (chunk == kNoChunk) {
        chunk = Take(&control_->cold, &control_->cold_count);
        if (chunk != kNoChunk) without_memory.push_back(chunk);
      }
      if (chunk == kNoChunk) {
        chunk = control_->fresh.load(kRelaxed);
        if (chunk >= chunk_limit_) return OsError{ENOMEM, "put"};
        control_->fresh.store(chunk + 1, kSeqCst);
        without_memory.push_back(chunk);
        if (chunk >= kSuspiciousGrowth && (chunk & (chunk - 1)) == 0) {
          control_->suspect.store(1, kSeqCst);
        }
      }
      MP_STEP();
      table_[chunk].next.store(0, kRelaxed);
      table_[chunk].owner.store(chain->chunks.empty() ? token : kMemberChunk, kSeqCst);
      MP_STEP();
      if (!chain->chunks.empty()) table_[chain->chunks.back()].next.store(chunk + 1, kSeqCst);
      chain->chunks.push_back(chunk);
      MP_STEP();
    }
  }
  return Furnish(without_memory);
}

// Memory for chunks that have none, so that a write to them cannot fail, which would be a signal.
Result<void> Channel::Furnish(const std::vector<uint32_t>& chunks) {
  Result<void> result;
  const auto chunks_offset = static_cast<uint64_t>(chunks_ - static_cast<char*>(segment_->base()));
  ForRuns(chunks, [&](uint32_t first, size_t count) {
    result = segment_->Furnish(chunks_offset + uint64_t{first} * kChunkBytes, count * kChunkBytes);
    // Where it cannot be had in advance it comes at the write.
    const int error = result.ok() ? 0 : result.error().errnum;
    if (error == EOPNOTSUPP || error == ENOSYS || error == EINVAL) result = {};
    return result.ok();
  });
  if (!result.ok()) return OsError{ENOMEM, "put"};
  return {};
}

// Gives chunks that belong to this thread back.
void Channel::Release(const std::vector<uint32_t>& chunks, uint32_t token) {
  if (chunks.empty()) return;
  {
    Hold hold(this, &control_->pool_lock, token);
    if (hold.taken_over()) RebuildPool();
    // The first one last: it is used first.
    for (size_t i = chunks.size(); i-- > 0;) Free(chunks[i], true);
  }
  Trim(token);
}

// Gives the memory of free chunks back to the system, but for a reserve that grows with what is in use.
void Channel::Trim(uint32_t token) {
  std::vector<uint32_t> surplus;
  for (;;) {
    const uint32_t keep = kReserveChunks + UsedChunks() / 2;
    // In pieces, so that others need not wait, and not for every chunk.
    if (control_->warm_count.load(kRelaxed) < keep + kBatch) return;
    surplus.clear();
    {
      Hold hold(this, &control_->pool_lock, token);
      if (hold.taken_over()) RebuildPool();
      while (surplus.size() < kBatch) {
        const uint32_t chunk = Take(&control_->warm, &control_->warm_count);
        if (chunk == kNoChunk) break;
        surplus.push_back(chunk);
        MP_STEP();
        table_[chunk].next.store(0, kRelaxed);
        table_[chunk].owner.store(token, kSeqCst);
        MP_STEP();
      }
    }
    GiveBack(surplus);
    MP_STEP();
    Hold hold(this, &control_->pool_lock, token);
    if (hold.taken_over()) RebuildPool();
    for (uint32_t chunk : surplus) Free(chunk, false);
  }
}

// -------------------------------------------------------------------------------------------------
// What the dead have left

void Channel::CollectIfSuspect(uint32_t token) {
  if (control_->suspect.load(kRelaxed) != 0) Collect(token);
}

uint32_t Channel::Collect(uint32_t token) {
  Hold putting(this, &control_->put_lock, token);
  Hold getting(this, &control_->get_lock, token);
  Hold pool(this, &control_->pool_lock, token);
  RebuildPool();
  const uint32_t fresh = Fresh();
  std::vector<bool> reached(fresh);
  auto reach_chain = [&](uint32_t chunk) {
    while (chunk < fresh && !reached[chunk]) {
      reached[chunk] = true;
      chunk = table_[chunk].next.load(kRelaxed) - 1;
    }
  };
  const uint32_t tail = PositionOf(control_->put_state.load(kSeqCst));
  uint32_t position = PositionOf(control_->get_state.load(kSeqCst));
  uint32_t queued_bytes = 0;
  // Each chunk of records once, and each from its front to its back: whatever stands there, this ends. Where it makes no
  // sense nothing is freed.
  uint32_t inside = kNoChunk;
  for (;;) {
    const uint32_t chunk = ChunkOf(position);
    if (chunk != inside) {
      if (chunk >= fresh || reached[chunk]) return 0;
      reached[chunk] = true;
      inside = chunk;
    }
    if (position == tail) break;
    const Record record = *reinterpret_cast<const Record*>(chunks_ + size_t{position} * kUnitBytes);
    if (record.kind() == Record::kJump) {
      if (ChunkOf(record.where) == inside) return 0;
      position = record.where;
      continue;
    }
    if (record.kind() == Record::kLarge) {
      if (record.where >= fresh) return 0;
      // Its taker died before it had it.
      table_[record.where].owner.store(kQueuedChunk, kSeqCst);
      reach_chain(record.where);
    }
    queued_bytes += record.bytes();
    position += std::max(record.units(), 1u);
    if (ChunkOf(position) != inside) return 0;
  }
  for (uint32_t chunk = 0; chunk < fresh; chunk++) {
    const uint32_t owner = table_[chunk].owner.load(kSeqCst);
    const bool private_head = owner != kFreeChunk && (owner & 1) == 0;
    if (private_head && !reached[chunk] && !IsDead(segment_->header(), owner)) reach_chain(chunk);
  }
  if (control_->max_bytes != 0) {
    control_->got_bytes.store(0, kSeqCst);
    control_->put_bytes.store(queued_bytes, kSeqCst);
  }
  std::vector<uint32_t> left;
  for (uint32_t chunk = 0; chunk < fresh; chunk++) {
    if (!reached[chunk] && table_[chunk].owner.load(kSeqCst) != kFreeChunk) left.push_back(chunk);
  }
  GiveBack(left);
  for (uint32_t chunk : left) Free(chunk, false);
  control_->suspect.store(0, kSeqCst);
  return static_cast<uint32_t>(left.size());
}

}  // namespace mp::core
