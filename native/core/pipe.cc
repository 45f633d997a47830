#include "core/pipe.h"

#if defined(_WIN32)
#include "core/win32/socket.h"
#else
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <sys/socket.h>
#endif

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "core/fd_passing.h"
#include "core/lock.h"

namespace mp::core {

namespace {

constexpr auto kAcquire = std::memory_order_acquire;

// Tags of records.
constexpr uint8_t kWhole = 0;
constexpr uint8_t kBegin = 1;
constexpr uint8_t kPiece = 2;

constexpr unsigned char kFdsMark = 0xfd;
// What reduction.sendHandle sends along with its descriptor (src/handles.ts): for recvHandle.
constexpr unsigned char kHandleMark = 1;

// 64 MiB for each direction: what is queued, and what senders and receivers have in their hands.
constexpr uint32_t kPipeChunks = 1024;

// A sender that waits for room sleeps in the memory, and looks so often whether there still is a receiver.
constexpr double kSendSliceMs = 50;
constexpr double kReceiveSliceMs = 250;
// Descriptors that are none of ours, or not yet: whoever is to take them is about to.
constexpr double kNapMs = 1;
// Who has the socket's lock is done in microseconds, unless it was stopped (SIGSTOP).
constexpr double kLockMs = 2;

// Waiting awake (patience.h), for longer than with frames: looking costs no system call here. An answer of a peer that
// sleeps takes some 50 µs, so that its asker saves its own sleep. After the first microseconds the CPU is offered to
// others at each look.
constexpr int64_t kSpinNs = 100'000;
constexpr int64_t kOwnNs = 3'000;
constexpr int kLooksPerClock = 16;
constexpr Probing kProbing{4, 256};

Deadline Sooner(const Deadline& deadline, double ms) {
  const Deadline slice = Deadline::AfterMs(ms);
  return deadline.at_ns() < slice.at_ns() ? deadline : slice;
}

}  // namespace

struct PipeEnd::FdsPacket {
  unsigned char bytes[1 + sizeof(uint64_t)];

  explicit FdsPacket(uint64_t id) {
    bytes[0] = kFdsMark;
    std::memcpy(bytes + 1, &id, sizeof(id));
  }
  uint64_t id() const {
    uint64_t id;
    std::memcpy(&id, bytes + 1, sizeof(id));
    return id;
  }
};

// -------------------------------------------------------------------------------------------------
// Making them

Result<PipeEnd::Pair> PipeEnd::Create(bool duplex) {
  auto sockets = MakeSocketPair(SOCK_STREAM, true);
  if (!sockets.ok()) return sockets.error();
  ChannelLimits limits;
  limits.max_bytes = kPipeBytes;
  limits.chunks = kPipeChunks;
  auto memory = Channel::CreateMemory(duplex ? 2 : 1, limits);
  if (!memory.ok()) return memory.error();
  const std::shared_ptr<Segment>& segment = memory.value();
  Pair pair;
  pair.first.reset(new PipeEnd(std::move(sockets.value().first), segment, 0));
  pair.second.reset(new PipeEnd(std::move(sockets.value().second), segment, 1));
  for (PipeEnd* end : {pair.first.get(), pair.second.get()}) {
    const auto opened = end->OpenChannels();
    if (!opened.ok()) return opened.error();
  }
  return pair;
}

Result<std::unique_ptr<PipeEnd>> PipeEnd::Open(UniqueFd socket, UniqueFd memory, uint32_t side) {
  if (side > 1) return OsError{EINVAL, "pipe"};
  auto segment = Segment::Open(std::move(memory), SegmentKind::kChannel);
  if (!segment.ok()) return segment.error();
  std::unique_ptr<PipeEnd> end(new PipeEnd(std::move(socket), std::move(segment.value()), side));
  const auto opened = end->OpenChannels();
  if (!opened.ok()) return opened.error();
  return end;
}

Result<void> PipeEnd::OpenChannels() {
  auto first = Channel::Open(segment_, 0, Bell::AtSocket(socket_.get()));
  if (!first.ok()) return first.error();
  socket_lock_ = &first.value()->control()->socket_locks[side_];
  (side_ == 0 ? rx_ : tx_) = std::move(first.value());
  // The second one is not there in a pipe of one direction.
  auto second = Channel::Open(segment_, 1, Bell::AtSocket(socket_.get()));
  if (second.ok()) (side_ == 0 ? tx_ : rx_) = std::move(second.value());
  return {};
}

// -------------------------------------------------------------------------------------------------
// Sending

bool PipeEnd::HungUp() const {
  // macOS tells of it only who asks for it; it may tell who asks of other things, too.
  pollfd slot{socket_.get(), POLLHUP, 0};
  if (RetryOnSignal([&] { return poll(&slot, 1, 0); }) <= 0) return false;
  return (slot.revents & (POLLHUP | POLLERR | POLLNVAL)) != 0;
}

// EPIPE also while it waits for room.
Result<bool> PipeEnd::Put(const Part* parts, size_t count, uint8_t tag, uint32_t token,
                          const Deadline& deadline, bool wait) {
  if (tx_ == nullptr) return OsError{EBADF, "send"};
  Deadline slice = Deadline::AfterMs(0);
  for (;;) {
    const auto put = tx_->Put(parts, count, token, slice, tag);
    if (!put.ok()) return put;
    // Afterwards, while the receiver is at work already. One that has got everything and then closed is no broken pipe.
    if (HungUp() && tx_->Size() > 0) return OsError{EPIPE, "send"};
    if (put.value()) return true;
    if (!wait || deadline.passed()) return false;
    slice = Sooner(deadline, kSendSliceMs);
  }
}

Result<bool> PipeEnd::PutWhole(const Part* parts, size_t count, size_t length, uint32_t token,
                               const Deadline& deadline, bool wait) {
  if (count == 1 || length > kMostSmall) {
    return Put(parts, count, kWhole, token, deadline, wait);
  }
  char joined[kMostSmall];
  size_t at = 0;
  for (size_t i = 0; i < count; i++) {
    if (parts[i].size > 0) std::memcpy(joined + at, parts[i].data, parts[i].size);
    at += parts[i].size;
  }
  const Part all{joined, length};
  return Put(&all, 1, kWhole, token, deadline, wait);
}

Result<bool> PipeEnd::SendFdsOf(uint64_t id, const std::vector<int>& fds, const Deadline& deadline,
                                bool wait) {
  const FdsPacket packet(id);
  for (;;) {
    // So short that it goes as a whole or not at all.
    const auto sent = SendFds(socket_.get(), packet.bytes, sizeof(packet.bytes), fds, MSG_DONTWAIT);
    if (sent.ok()) return true;
    if (sent.error().errnum != EAGAIN && sent.error().errnum != EWOULDBLOCK) return sent.error();
    if (!wait) return false;
    // Linux also answers so when too many descriptors are under way, whatever room there is.
    SleepUntil(Sooner(deadline, kNapMs));
    if (deadline.passed()) return false;
  }
}

Result<uint64_t> PipeEnd::Send(const Part* parts, size_t count, const std::vector<int>& fds,
                               uint64_t from, uint32_t token, const Deadline& deadline, bool wait) {
  uint64_t length = 0;
  for (size_t i = 0; i < count; i++) length += parts[i].size;
  if (from == 0 && fds.empty() && length <= kPieceBytes) {
    const auto put = PutWhole(parts, count, length, token, deadline, wait);
    if (!put.ok()) return put.error();
    return put.value() ? SentWhole(length) : uint64_t{0};
  }
  if (fds.size() > kMostFds) return OsError{EINVAL, "sendmsg"};
  if (from == 0) {
    // Once it has begun the receiver waits for them.
    for (const int fd : fds) {
      if (fcntl(fd, F_GETFD) < 0) return OsError{errno, "sendmsg"};
    }
    sending_ = uint64_t{token} << 32 | ++sent_messages_;
    const Begin begin{sending_, length, fds.size()};
    const Part part{&begin, sizeof(begin)};
    const auto put = Put(&part, 1, kBegin, token, deadline, wait);
    if (!put.ok()) return put.error();
    if (!put.value()) return uint64_t{0};
    from = fds.empty() ? kHeadSent : kBeginSent;
  }
  if (from == kBeginSent) {
    const auto sent = SendFdsOf(sending_, fds, deadline, wait);
    if (!sent.ok()) {
      // Without them: the receiver drops the message.
      (void)SendFdsOf(sending_, {}, Deadline::AfterMs(kLockMs), true);
      return sent.error();
    }
    if (!sent.value()) return from;
    from = kHeadSent;
  }
  while (from < kHeadSent + length) {
    const PieceHead head{sending_, from - kHeadSent};
    uint64_t skip = head.offset;
    uint64_t room = std::min<uint64_t>(length - head.offset, kPieceBytes);
    // The bytes in one part: the receiver has one piece of memory for them.
    std::vector<Part> pieces;
    for (size_t i = 0; i < count && room > 0; i++) {
      if (skip >= parts[i].size) {
        skip -= parts[i].size;
        continue;
      }
      const size_t size = static_cast<size_t>(std::min<uint64_t>(parts[i].size - skip, room));
      pieces.push_back({static_cast<const char*>(parts[i].data) + skip, size});
      room -= size;
      skip = 0;
    }
    const Part piece[] = {{&head, sizeof(head)}, pieces[0]};
    const auto put = Put(piece, 2, kPiece, token, deadline, wait);
    if (!put.ok()) return put.error();
    if (!put.value()) return from;
    from += pieces[0].size;
  }
  return SentWhole(length);
}

// -------------------------------------------------------------------------------------------------
// Waiting

bool PipeEnd::EatRings(uint32_t token) {
  SegmentHeader* header = segment_->header();
  // Two that look and then eat would take what the other one has seen.
  const Deadline brief = Deadline::AfterMs(kLockMs);
  if (AcquireLock(header, socket_lock_, token, brief) == Acquired::kNo) return false;
  unsigned char bytes[64];
  bool all = true;
  for (ssize_t got = sizeof(bytes); got == sizeof(bytes);) {
    got = RetryOnSignal(
        [&] { return recv(socket_.get(), bytes, sizeof(bytes), MSG_PEEK | MSG_DONTWAIT); });
    if (got <= 0) break;
    ssize_t rings = 0;
    while (rings < got && bytes[rings] != kFdsMark && bytes[rings] != kHandleMark) rings++;
    all = rings == got;
    if (rings > 0) {
      (void)RetryOnSignal(
          [&] { return recv(socket_.get(), bytes, static_cast<size_t>(rings), MSG_DONTWAIT); });
    }
    if (!all) break;
  }
  (void)ReleaseLock(socket_lock_, header);
  return all;
}

bool PipeEnd::Spin(const Deadline& deadline) {
  if (Spins() == 0 || !patience_.MayTry(kProbing)) return false;
  const Word* count = rx_->put_count();
  const uint32_t seen = count->load(kAcquire);
  if (rx_->Size() > 0) return true;
  const int64_t begin = MonotonicNs();
  const int64_t end = std::min(begin + kSpinNs, deadline.at_ns());
  for (int64_t now = begin; now < end; now = MonotonicNs()) {
    // The sender may be waiting for this very CPU: systems like to put those who talk on one.
    if (now - begin > kOwnNs) sched_yield();
    for (int look = 0; look < kLooksPerClock; look++) {
      if (count->load(kAcquire) != seen) {
        patience_.Paid(kProbing);
        return true;
      }
      SpinPause();
    }
  }
  patience_.Failed(kProbing);
  return false;
}

// The channel was empty a moment ago. `for_fds`: descriptors may have come, or never come, is an answer, too.
Result<PipeEnd::Came> PipeEnd::Await(uint32_t token, const Deadline& deadline, bool wait,
                                     bool for_fds) {
  if (!wait) {
    if (!HungUp()) return rx_->Size() > 0 ? Came::kMessage : Came::kNotYet;
    return rx_->Size() > 0 ? Came::kMessage : Came::kEnd;
  }
  if (Spin(deadline)) return Came::kMessage;
  for (;;) {
    const bool only_rings = EatRings(token);
    if (rx_->WantBell()) return Came::kMessage;
    if (!only_rings) {
      if (for_fds) return Came::kMessage;
      if (HungUp()) return rx_->Size() > 0 ? Came::kMessage : Came::kEnd;
      if (deadline.passed()) return Came::kNotYet;
      SleepUntil(Sooner(deadline, kNapMs));
      continue;
    }
    PollSlot slot{socket_.get(), POLLIN, 0};
    const auto polled = PollFds(&slot, 1, Sooner(deadline, kReceiveSliceMs));
    if (!polled.ok()) return polled.error();
    // What was sent before the hanging up is there by now.
    const bool hung_up = (slot.revents & (POLLHUP | POLLERR | POLLNVAL)) != 0;
    if (rx_->Size() > 0) return Came::kMessage;
    if (hung_up) return Came::kEnd;
    if (deadline.passed()) return Came::kNotYet;
    if (for_fds) return Came::kMessage;
    // Time to look around. One chunk is the channel's own.
    if (polled.value() == 0 && rx_->UsedChunks() > 1) rx_->Collect(token);
  }
}

bool PipeEnd::Ready() const { return (rx_ != nullptr && rx_->Size() > 0) || HungUp(); }

Result<bool> PipeEnd::WaitUntilReady(uint32_t token, const Deadline& deadline) {
  if (rx_ == nullptr) return OsError{EBADF, "poll"};
  if (Ready()) return true;
  if (deadline.passed()) return false;
  const auto came = Await(token, deadline, true, false);
  if (!came.ok()) return came.error();
  return came.value() != Came::kNotYet;
}

PipeEnd::Armed PipeEnd::Arm(bool receive, bool send, uint32_t token) {
  const bool only_rings = EatRings(token);
  bool now = receive && incoming_.missing_fds > 0 && !only_rings;
  if (receive && rx_ != nullptr) now |= rx_->WantBell();
  if (send && tx_ != nullptr) now |= tx_->WantRoom();
  if (now) return Armed::kNow;
  return only_rings ? Armed::kYes : Armed::kSoon;
}

// -------------------------------------------------------------------------------------------------
// Receiving

void PipeEnd::Forget() {
  incoming_ = {};
  fds_.clear();
  large_ = {};
}

// The packet of the message that has begun, if it is there; those before it belong to nobody any more.
Result<PipeEnd::Fds> PipeEnd::LookForFds(uint32_t token) {
  SegmentHeader* header = segment_->header();
  const Deadline brief = Deadline::AfterMs(kLockMs);
  if (AcquireLock(header, socket_lock_, token, brief) == Acquired::kNo) return Fds::kUnknown;
  Result<Fds> found = Fds::kNone;
  for (;;) {
    FdsPacket packet(0);
    const ssize_t peeked = RetryOnSignal([&] {
      return recv(socket_.get(), packet.bytes, sizeof(packet.bytes), MSG_PEEK | MSG_DONTWAIT);
    });
    if (peeked == 0 || (peeked < 0 && errno != EAGAIN && errno != EWOULDBLOCK)) found = Fds::kEnd;
    if (peeked <= 0) break;
    if (packet.bytes[0] == kHandleMark) break;
    // A packet is there as a whole, or not at all.
    if (packet.bytes[0] != kFdsMark || peeked < static_cast<ssize_t>(sizeof(packet.bytes))) {
      unsigned char ring;
      (void)RetryOnSignal([&] { return recv(socket_.get(), &ring, 1, MSG_DONTWAIT); });
      continue;
    }
    auto received =
        ReceiveFds(socket_.get(), packet.bytes, sizeof(packet.bytes), kMostFds, MSG_DONTWAIT);
    if (!received.ok()) {
      found = received.error();
      break;
    }
    if (packet.id() != incoming_.id) continue;
    fds_ = std::move(received.value().fds);
    // What there was no number for is missed by whoever puts the message together.
    const bool whole = !fds_.empty() || (received.value().flags & MSG_CTRUNC) != 0;
    found = whole ? Fds::kThere : Fds::kCancelled;
    break;
  }
  (void)ReleaseLock(socket_lock_, header);
  return found;
}

// Whether the descriptors of the message that has begun are there. If they will never be, there is no such message.
Result<PipeEnd::Fds> PipeEnd::TakeFdsOfMessage(uint32_t token) {
  // Before the look: what the sender has sent before its death, or before its first piece, is there.
  const bool last_look =
      incoming_.filled > 0 || IsDead(segment_->header(), static_cast<uint32_t>(incoming_.id >> 32));
  const auto found = LookForFds(token);
  if (!found.ok()) return found.error();
  if (found.value() == Fds::kThere) {
    incoming_.missing_fds = 0;
  } else if (found.value() == Fds::kCancelled || (last_look && found.value() != Fds::kUnknown)) {
    Forget();
  }
  return found;
}

Result<int64_t> PipeEnd::Receive(void* scratch, void* payload, void* large, size_t large_size,
                                 uint32_t token, const Deadline& deadline, bool wait) {
  if (rx_ == nullptr) return OsError{EBADF, "recv"};
  large_.into.clear();
  // Whether the bytes of the piece that is being got go to their place.
  bool in_place = false;
  bool in_vain = false;
  for (;;) {
    bool ended = false;
    if (incoming_.active && incoming_.missing_fds > 0) {
      const auto fds = TakeFdsOfMessage(token);
      if (!fds.ok()) return fds.error();
      ended = fds.value() == Fds::kEnd;
      if (!incoming_.active) payload = nullptr;
    }
    if (incoming_.active) {
      if (payload == nullptr) return kPipeBegun;
      if (incoming_.missing_fds == 0 && incoming_.filled == incoming_.length) {
        incoming_ = {};
        return kPipeDone;
      }
    }
    const auto got = rx_->Get(scratch, &large_, token);
    if (!got.ok()) return got.error();
    const auto [what, size, tag] = got.value();
    switch (what) {
      case Channel::Got::kNothing: {
        large_.into.clear();
        const bool for_fds = incoming_.missing_fds > 0;
        const auto came = Await(token, deadline, wait, for_fds);
        if (!came.ok()) return came.error();
        if (came.value() == Came::kNotYet) return kPipeNotYet;
        // Descriptors may have come just before the end.
        if (came.value() == Came::kMessage || (for_fds && !ended)) {
          // There is something, and whoever is at it does not go on: it was stopped.
          if (in_vain && (!wait || deadline.passed())) return kPipeNotYet;
          in_vain = true;
          continue;
        }
        if (!incoming_.active) return kPipeEnd;
        Forget();
        return kPipeTruncated;
      }
      case Channel::Got::kSmall: {
        large_.into.clear();
        if (tag == kWhole) return static_cast<int64_t>(size);
        Begin begin;
        if (tag != kBegin || size != sizeof(begin)) return OsError{EBADMSG, "recv"};
        std::memcpy(&begin, scratch, sizeof(begin));
        Forget();
        incoming_ = {true, begin.id, begin.length, 0, begin.fds};
        return kPipeBegun;
      }
      case Channel::Got::kSizes: {
        large_.into.clear();
        if (tag == kWhole) {
          large_length_ = 0;
          for (size_t part : large_.sizes) large_length_ += part;
          if (large == nullptr || large_size != large_length_) return kPipeLarge;
          char* at = static_cast<char*>(large);
          for (size_t part : large_.sizes) {
            large_.into.push_back(at);
            at += part;
          }
          continue;
        }
        if (tag != kPiece || large_.sizes.size() != 2 || large_.sizes[0] != sizeof(PieceHead)) {
          return OsError{EBADMSG, "recv"};
        }
        const size_t bytes = large_.sizes[1];
        if (bytes > kPieceBytes) return OsError{EBADMSG, "recv"};
        in_place = incoming_.active && bytes <= incoming_.length - incoming_.filled;
        if (!in_place) stray_.resize(bytes);
        large_.into = {&piece_head_,
                       in_place ? static_cast<char*>(payload) + incoming_.filled : stray_.data()};
        continue;
      }
      case Channel::Got::kRefused:  // Only of a claim.
      case Channel::Got::kNotYet:
        return OsError{EBADMSG, "recv"};
      case Channel::Got::kLarge: {
        large_.into.clear();
        if (tag == kWhole) return kPipeLargeDone;
        stray_ = {};
        if (in_place && piece_head_.id == incoming_.id && piece_head_.offset == incoming_.filled) {
          incoming_.filled += large_.sizes[1];
        }
        continue;
      }
    }
  }
}

}  // namespace mp::core
