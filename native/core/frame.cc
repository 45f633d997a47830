#if !defined(_WIN32)

#include "core/frame.h"

#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "core/fd_passing.h"
#include "core/parking.h"

namespace mp::core {

namespace {

constexpr size_t kShortHeader = 4;
constexpr size_t kLongHeader = 12;
constexpr size_t kLargestShort = 0x7fffffff;
// Lengths beyond are nobody's message. JavaScript sets the tighter limit of what one Buffer can hold.
constexpr uint64_t kLargestLength = uint64_t{1} << 52;
constexpr size_t kMaxTransfer = 0x7ffff000;

// Small frames are copied behind their header: cheaper than having the kernel read a list of parts.
constexpr size_t kJoined = 2048;
constexpr size_t kMostParts = 64;
// A pipe that poll(2) calls writable takes so much without blocking.
constexpr size_t kPipeRoom = 4096;

// Waiting awake (patience.h): an answer of a busy peer comes after 2 µs. Each look is a system call.
constexpr int64_t kSpinNs = 50'000;
constexpr int kLooksPerClock = 4;
constexpr Probing kProbing{16, 1024};

// --- reading ---------------------------------------------------------------------------------------

bool WouldBlock(int errnum) { return errnum == EAGAIN || errnum == EWOULDBLOCK; }

bool IsReadyNow(int fd, short events) {
  pollfd slot{fd, events, 0};
  return RetryOnSignal([&] { return poll(&slot, 1, 0); }) > 0;
}

// False: the deadline passed.
Result<bool> WaitFor(int fd, short events, const Deadline& deadline) {
  PollSlot slot{fd, events, 0};
  const auto ready = PollFds(&slot, 1, deadline);
  if (!ready.ok()) return ready.error();
  return ready.value() > 0;
}

ssize_t ReadPlain(int fd, FrameState* state, void* data, size_t size, bool block) {
  if (state->not_socket == 0) {
    const ssize_t got = recv(fd, data, size, block ? 0 : MSG_DONTWAIT);
    if (got >= 0 || errno != ENOTSOCK) return got;
    state->not_socket = 1;
  }
  if (!block && !IsReadyNow(fd, POLLIN)) {
    errno = EAGAIN;
    return -1;
  }
  return read(fd, data, size);
}

ssize_t ReadWithFds(int fd, FrameState* state, void* data, size_t size, bool block,
                    std::vector<UniqueFd>* fds) {
  if (state->not_socket != 0) return ReadPlain(fd, state, data, size, block);
  alignas(cmsghdr) char control[CMSG_SPACE(kMostFds * sizeof(int))];
  iovec part{data, size};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  const ssize_t got = recvmsg(fd, &message, kReceiveCloexec | (block ? 0 : MSG_DONTWAIT));
  if (got < 0) return errno == ENOTSOCK ? ReadPlain(fd, state, data, size, block) : got;
  CollectFds(&message, fds);
  return got;
}

struct Reader {
  int fd;
  FrameState* state;
  const Deadline& deadline;
  bool wait;
  std::vector<UniqueFd>* fds;

  ssize_t Once(void* data, size_t size, bool block) {
    return RetryOnSignal([&] {
      return fds != nullptr ? ReadWithFds(fd, state, data, size, block, fds)
                            : ReadPlain(fd, state, data, size, block);
    });
  }

  // Bytes; 0 at the end of the file; -1 with EAGAIN: the time is up.
  ssize_t Read(void* data, size_t size) {
    const bool sleeps = deadline.never();
    for (;;) {
      const ssize_t got = Once(data, size, wait && sleeps);
      if (got >= 0 || !WouldBlock(errno) || !wait) return got;
      // It shall sleep: until the deadline, or in spite of O_NONBLOCK.
      const auto ready = WaitFor(fd, POLLIN, deadline);
      if (!ready.ok()) {
        errno = ready.error().errnum;
        return -1;
      }
      if (!ready.value()) {
        errno = EAGAIN;
        return -1;
      }
    }
  }

  // The first byte of a frame: what a receiver waits for.
  ssize_t ReadFirst(void* data, size_t size) {
    if (!wait || Spins() == 0 || state->not_socket != 0) return Read(data, size);
    const ssize_t at_once = Once(data, size, false);
    if (at_once >= 0 || !WouldBlock(errno)) return at_once;
    if (state->patience.MayTry(kProbing)) {
      const ssize_t got = Spin(data, size);
      if (got >= 0 || !WouldBlock(errno)) return got;
    }
    return Read(data, size);
  }

  ssize_t Spin(void* data, size_t size) {
    const int64_t begin = MonotonicNs();
    for (;;) {
      for (int look = 0; look < kLooksPerClock; ++look) {
        const ssize_t got = Once(data, size, false);
        if (got >= 0) state->patience.Paid(kProbing);
        if (got >= 0 || !WouldBlock(errno)) return got;
      }
      if (MonotonicNs() - begin > kSpinNs || deadline.passed()) break;
    }
    state->patience.Failed(kProbing);
    errno = EAGAIN;
    return -1;
  }
};

uint64_t BigEndian(const unsigned char* bytes, size_t count) {
  uint64_t number = 0;
  for (size_t i = 0; i < count; ++i) number = number << 8 | bytes[i];
  return number;
}

bool IsLong(const unsigned char* header) { return BigEndian(header, kShortHeader) == 0xffffffff; }

void Reset(FrameState* state) {
  state->length = -1;
  state->filled = 0;
  state->header_got = 0;
}

// 0 when the header is complete.
Result<int64_t> ReceiveHeader(Reader& reader) {
  FrameState* state = reader.state;
  auto got = static_cast<size_t>(state->header_got);
  size_t need = got >= kShortHeader && IsLong(state->header) ? kLongHeader : kShortHeader;
  while (got < need) {
    unsigned char* next = state->header + got;
    const ssize_t count = got == 0 ? reader.ReadFirst(next, need) : reader.Read(next, need - got);
    if (count < 0) {
      if (WouldBlock(errno)) return kFrameNotYet;
      return LastError("recv");
    }
    if (count == 0) return got == 0 ? kFrameEnd : kFrameTruncated;
    got += static_cast<size_t>(count);
    state->header_got = static_cast<double>(got);
    if (got == kShortHeader && IsLong(state->header)) need = kLongHeader;
  }
  const bool is_long = need == kLongHeader;
  const uint64_t length =
      is_long ? BigEndian(state->header + kShortHeader, 8) : BigEndian(state->header, kShortHeader);
  if (length > (is_long ? kLargestLength : kLargestShort)) return kFrameMalformed;
  state->length = static_cast<double>(length);
  state->filled = 0;
  return 0;
}

Result<int64_t> ReceivePayload(Reader& reader, void* payload) {
  FrameState* state = reader.state;
  const auto length = static_cast<size_t>(state->length);
  auto filled = static_cast<size_t>(state->filled);
  while (filled < length) {
    const size_t most = std::min(length - filled, kMaxTransfer);
    const ssize_t got = reader.Read(static_cast<char*>(payload) + filled, most);
    if (got < 0) {
      if (WouldBlock(errno)) return kFramePartial;
      return LastError("recv");
    }
    if (got == 0) return kFrameTruncated;
    filled += static_cast<size_t>(got);
    state->filled = static_cast<double>(filled);
  }
  Reset(state);
  return static_cast<int64_t>(length);
}

// --- writing ---------------------------------------------------------------------------------------

size_t WriteHeader(unsigned char* header, size_t length) {
  if (length <= kLargestShort) {
    for (size_t i = 0; i < kShortHeader; ++i) header[i] = length >> (8 * (kShortHeader - 1 - i));
    return kShortHeader;
  }
  std::memset(header, 0xff, kShortHeader);
  for (size_t i = 0; i < 8; ++i) header[kShortHeader + i] = length >> (8 * (7 - i));
  return kLongHeader;
}

// A list of parts that starts in the middle of a frame.
class Remaining {
 public:
  Remaining(const FramePart* parts, size_t count, size_t from) : parts_(parts), count_(count) {
    size_t length = 0;
    for (size_t i = 0; i < count; ++i) length += parts[i].size;
    header_size_ = WriteHeader(header_, length);
    total_ = header_size_ + length;
    at_ = from;
  }

  size_t total() const { return total_; }
  size_t at() const { return at_; }
  bool done() const { return at_ == total_; }
  void Advance(size_t count) { at_ += count; }

  // Answers how many entries of `list` it has filled.
  size_t Fill(iovec* list, size_t most_bytes) const {
    size_t entries = 0;
    size_t skip = at_;
    const auto add = [&](const void* data, size_t size) {
      if (skip >= size) {
        skip -= size;
        return;
      }
      const size_t taken = std::min(size - skip, most_bytes);
      if (taken == 0 || entries == kMostParts) return;
      auto* start = const_cast<char*>(static_cast<const char*>(data)) + skip;
      list[entries++] = iovec{start, taken};
      most_bytes -= taken;
      skip = 0;
    };
    add(header_, header_size_);
    for (size_t i = 0; i < count_ && entries < kMostParts && most_bytes > 0; ++i)
      add(parts_[i].data, parts_[i].size);
    return entries;
  }

 private:
  const FramePart* parts_;
  size_t count_;
  unsigned char header_[kLongHeader];
  size_t header_size_;
  size_t total_;
  size_t at_;
};

ssize_t WriteList(int fd, iovec* list, size_t entries, const std::vector<int>& fds, bool block,
                  bool* not_socket) {
  if (!*not_socket) {
    if (!block && !MaySendNow(fd)) {
      errno = EAGAIN;
      return -1;
    }
    alignas(cmsghdr) char control[CMSG_SPACE(kMostFds * sizeof(int))];
    msghdr message{};
    message.msg_iov = list;
    message.msg_iovlen = static_cast<decltype(message.msg_iovlen)>(entries);
    if (!fds.empty()) {
      const size_t bytes = fds.size() * sizeof(int);
      message.msg_control = control;
      message.msg_controllen = static_cast<decltype(message.msg_controllen)>(CMSG_SPACE(bytes));
      cmsghdr* header = CMSG_FIRSTHDR(&message);
      header->cmsg_level = SOL_SOCKET;
      header->cmsg_type = SCM_RIGHTS;
      header->cmsg_len = static_cast<decltype(header->cmsg_len)>(CMSG_LEN(bytes));
      std::memcpy(CMSG_DATA(header), fds.data(), bytes);
    }
    const ssize_t sent = sendmsg(fd, &message, kNoSignal | (block ? 0 : MSG_DONTWAIT));
    // What is no socket carries no descriptors.
    if (sent >= 0 || errno != ENOTSOCK || !fds.empty()) return sent;
    *not_socket = true;
  }
  if (block) return writev(fd, list, static_cast<int>(entries));
  if (!IsReadyNow(fd, POLLOUT)) {
    errno = EAGAIN;
    return -1;
  }
  return write(fd, list[0].iov_base, std::min(list[0].iov_len, kPipeRoom));
}

// The hot path: one small part, sent from its beginning. -1 where the long way has to be taken.
ssize_t SendJoined(int fd, const FramePart& part, bool block) {
  if (!block && !MaySendNow(fd)) {
    errno = EAGAIN;
    return -1;
  }
  char joined[kLongHeader + kJoined];
  const size_t header = WriteHeader(reinterpret_cast<unsigned char*>(joined), part.size);
  if (part.size > 0) std::memcpy(joined + header, part.data, part.size);
  return send(fd, joined, header + part.size, kNoSignal | (block ? 0 : MSG_DONTWAIT));
}

}  // namespace

Result<int64_t> ReceiveFrame(int fd, FrameState* state, void* room, size_t room_size,
                             const Deadline& deadline, bool wait, std::vector<UniqueFd>* fds) {
  Reader reader{fd, state, deadline, wait, fds};
  if (state->length < 0) {
    const auto header = ReceiveHeader(reader);
    if (!header.ok() || header.value() != 0) return header;
  }
  if (state->length > static_cast<double>(room_size)) return kFrameTooLong;
  reader.fds = nullptr;  // They come with the first byte.
  return ReceivePayload(reader, room);
}

Result<int64_t> ContinueFrame(int fd, FrameState* state, void* payload, const Deadline& deadline,
                              bool wait) {
  Reader reader{fd, state, deadline, wait, nullptr};
  return ReceivePayload(reader, payload);
}

Result<size_t> SendFrame(int fd, const FramePart* parts, size_t count, const std::vector<int>& fds,
                         size_t from, const Deadline& deadline, bool wait) {
  if (fds.size() > kMostFds) return OsError{EINVAL, "sendmsg"};
  const bool sleeps = wait && deadline.never();
  const size_t at_once = sleeps ? kMaxTransfer : std::min(kMaxTransfer, kMostAtOnce);
  const size_t joined = std::min(kJoined, at_once - kLongHeader);
  if (from == 0 && count == 1 && parts[0].size <= joined && fds.empty()) {
    const ssize_t sent = RetryOnSignal([&] { return SendJoined(fd, parts[0], sleeps); });
    if (sent >= 0) from = static_cast<size_t>(sent);
    if (sent < 0 && errno != ENOTSOCK && !WouldBlock(errno)) return LastError("send");
    if (from == kShortHeader + parts[0].size) return from;
  }
  Remaining remaining(parts, count, from);
  bool not_socket = false;
  iovec list[kMostParts];
  while (!remaining.done()) {
    const size_t entries = remaining.Fill(list, at_once);
    const bool first = remaining.at() == 0;
    const ssize_t sent = RetryOnSignal([&] {
      return WriteList(fd, list, entries, first ? fds : std::vector<int>(), sleeps, &not_socket);
    });
    if (sent >= 0) {
      remaining.Advance(static_cast<size_t>(sent));
      continue;
    }
    if (!WouldBlock(errno)) return LastError(not_socket ? "write" : "sendmsg");
    if (!wait) break;
    const auto ready = WaitFor(fd, POLLOUT, deadline);
    if (!ready.ok()) return ready.error();
    if (!ready.value()) break;
  }
  return remaining.at();
}

}  // namespace mp::core

#endif
