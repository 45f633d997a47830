// Passing handles along with bytes (fd_passing.h), and frames (frame.h), on streams.
//
// A handle that is under way is a copy in its sender, which the receiver takes over (DUPLICATE_CLOSE_SOURCE): so it is
// lost with its sender, and one that nobody takes stays open until its sender ends. A child that is being started gets
// its own at once, and ends with them.
//
//   a message with handles    its bytes, then a Parcel
//   a frame                   CPython's: 4 bytes of length, the payload; with handles a Parcel comes before it, which
//                             begins with a length that no frame has
#if defined(_WIN32)

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "core/bell.h"
#include "core/fd_passing.h"
#include "core/frame.h"
#include "core/win32/handles.h"
#include "core/win32/streams.h"

namespace mp::core {

namespace {

constexpr uint32_t kParcelMark = 0xfeffffff;  // -2 as a frame's length has it

struct ParcelHead {
  uint32_t mark = kParcelMark;
  uint32_t sender = 0;  // 0: they are the receiver's already
  uint32_t count = 0;
};

OsError Broken(const char* call) { return OsError{ECONNRESET, call}; }

HANDLE CopyOf(int fd, HANDLE owner) {
  HANDLE copy = nullptr;
  const HANDLE self = GetCurrentProcess();
  if (!IsHandle(fd) ||
      !DuplicateHandle(self, HandleOf(fd), owner, &copy, 0, FALSE, DUPLICATE_SAME_ACCESS)) {
    return nullptr;
  }
  return copy;
}

// Copies that go to somebody else, as the bytes that say so. Empty, and errno of Windows: one cannot be copied.
std::vector<char> Pack(const std::vector<int>& fds, int child) {
  UniqueHandle receiver;
  if (child != 0) {
    receiver = UniqueHandle(OpenProcess(PROCESS_DUP_HANDLE, FALSE, static_cast<DWORD>(child)));
    if (!receiver.valid()) return {};
  }
  const HANDLE owner = receiver.valid() ? receiver.get() : GetCurrentProcess();
  std::vector<uint32_t> numbers;
  for (const int fd : fds) {
    const HANDLE copy = CopyOf(fd, owner);
    if (copy == nullptr) {
      for (const uint32_t number : numbers) {
        if (child == 0) CloseHandle(HandleOf(static_cast<int>(number)));
      }
      return {};
    }
    numbers.push_back(static_cast<uint32_t>(FdOf(copy)));
  }
  ParcelHead head;
  head.sender = child == 0 ? GetCurrentProcessId() : 0;
  head.count = static_cast<uint32_t>(numbers.size());
  std::vector<char> parcel(sizeof(head) + numbers.size() * sizeof(uint32_t));
  std::memcpy(parcel.data(), &head, sizeof(head));
  if (!numbers.empty()) {
    std::memcpy(parcel.data() + sizeof(head), numbers.data(), numbers.size() * sizeof(uint32_t));
  }
  return parcel;
}

// Not sent, after all. What a child has got is gone with it: to be written to is what it is there for.
void Discard(const std::vector<char>& parcel, int child) {
  if (child != 0) return;
  for (size_t at = sizeof(ParcelHead); at < parcel.size(); at += sizeof(uint32_t)) {
    uint32_t number;
    std::memcpy(&number, parcel.data() + at, sizeof(number));
    CloseHandle(HandleOf(static_cast<int>(number)));
  }
}

// False: the other end has gone, or the time was up in the middle, which is the same.
bool ReadWhole(HANDLE stream, void* data, size_t size) {
  char* at = static_cast<char*>(data);
  while (size > 0) {
    const auto got = ReadSome(FdOf(stream), at, size);
    if (!got.ok() || got.value() == 0) return false;
    at += got.value();
    size -= got.value();
  }
  return true;
}

// What a parcel holds, but for its head. Those that cannot be had are missing: their sender has ended.
Result<std::vector<UniqueFd>> Unpack(HANDLE stream, const ParcelHead& head) {
  if (head.mark != kParcelMark || head.count > kMostFds) return OsError{EBADMSG, "recv"};
  std::vector<uint32_t> numbers(head.count);
  if (head.count > 0 && !ReadWhole(stream, numbers.data(), numbers.size() * sizeof(uint32_t))) {
    return Broken("recv");
  }
  std::vector<UniqueFd> fds;
  if (head.sender == 0) {
    for (const uint32_t number : numbers) fds.emplace_back(static_cast<int>(number));
    return fds;
  }
  const UniqueHandle sender(OpenProcess(PROCESS_DUP_HANDLE, FALSE, head.sender));
  for (const uint32_t number : numbers) {
    HANDLE own = nullptr;
    if (!sender.valid() ||
        !DuplicateHandle(sender.get(), HandleOf(static_cast<int>(number)), GetCurrentProcess(),
                         &own, 0, FALSE, DUPLICATE_SAME_ACCESS | DUPLICATE_CLOSE_SOURCE)) {
      continue;
    }
    fds.push_back(OwnFd(own));
  }
  return fds;
}

// All of it. EAGAIN: nothing was written.
Result<size_t> WriteWhole(HANDLE stream, const std::vector<char>& bytes, const Deadline& deadline) {
  size_t at = 0;
  while (at < bytes.size()) {
    const auto written = WriteStream(stream, bytes.data() + at, bytes.size() - at,
                                     at == 0 ? deadline : Deadline::Never());
    if (!written.ok()) return written;
    at += written.value();
  }
  return at;
}

}  // namespace

// ---- fd_passing.h ----

Result<size_t> SendFds(int socket, const void* data, size_t size, const std::vector<int>& fds,
                       int flags) {
  const std::vector<char> parcel = Pack(fds, 0);
  if (parcel.empty()) return OsError{EBADF, "sendmsg"};
  const char* first = static_cast<const char*>(data);
  std::vector<char> message(first, first + size);
  message.insert(message.end(), parcel.begin(), parcel.end());
  const auto deadline = flags != 0 ? Deadline::AfterMs(0) : Deadline::Never();
  const auto written = WriteWhole(HandleOf(socket), message, deadline);
  if (written.ok()) return size;
  Discard(parcel, 0);
  return written;
}

Result<ReceivedMessage> ReceiveFds(int socket, void* data, size_t capacity, size_t max_fds, int) {
  const HANDLE stream = HandleOf(socket);
  ParcelHead head;
  const auto first = ReadSome(socket, data, 1);
  if (!first.ok()) return first.error();
  if (first.value() == 0) return ReceivedMessage{0, {}, 0, std::nullopt};
  // What tells of messages brings nothing along.
  if (*static_cast<unsigned char*>(data) == Bell::kRing) {
    return ReceivedMessage{1, {}, 0, std::nullopt};
  }
  if (!ReadWhole(stream, static_cast<char*>(data) + 1, capacity - 1) ||
      !ReadWhole(stream, &head, sizeof(head))) {
    return Broken("recvmsg");
  }
  auto fds = Unpack(stream, head);
  if (!fds.ok()) return fds.error();
  const bool cut = fds.value().size() > max_fds || fds.value().size() < head.count;
  if (fds.value().size() > max_fds) fds.value().resize(max_fds);
  return ReceivedMessage{capacity, std::move(fds.value()), cut ? kControlCut : 0, std::nullopt};
}

Result<ReceivedMessage> ReceiveFromSender(int, void*, size_t, size_t, int) {
  return OsError{ENOSYS, "recvFds"};
}
Result<void> AdmitSenders(int) { return OsError{ENOSYS, "admitSenders"}; }

// ---- frame.h ----

namespace {

constexpr size_t kShortHeader = 4;
constexpr size_t kLongHeader = 12;
constexpr size_t kLargestShort = 0x7fffffff;
constexpr uint64_t kLargestLength = uint64_t{1} << 52;

uint64_t BigEndian(const unsigned char* bytes, size_t count) {
  uint64_t number = 0;
  for (size_t i = 0; i < count; ++i) number = number << 8 | bytes[i];
  return number;
}

bool IsLong(const unsigned char* header) { return BigEndian(header, kShortHeader) == 0xffffffff; }

bool IsParcel(const unsigned char* header) {
  uint32_t mark;
  std::memcpy(&mark, header, sizeof(mark));
  return mark == kParcelMark;
}

// Bytes; 0 at the end. EAGAIN: the time is up.
Result<size_t> Read(int fd, void* data, size_t size, const Deadline& deadline, bool wait) {
  for (;;) {
    const auto got = ReadStream(HandleOf(fd), data, size);
    if (got.ok() || got.error().errnum != EAGAIN || !wait) return got;
    PollSlot slot{fd, kPollIn, 0};
    const auto ready = PollFds(&slot, 1, deadline);
    if (!ready.ok()) return ready.error();
    if (ready.value() == 0) return got;
  }
}

// 0 when the header is complete.
Result<int64_t> ReceiveHeader(int fd, FrameState* state, const Deadline& deadline, bool wait,
                              std::vector<UniqueFd>* fds) {
  auto got = static_cast<size_t>(state->header_got);
  size_t need = got >= kShortHeader && IsLong(state->header) ? kLongHeader : kShortHeader;
  while (got < need) {
    const auto count = Read(fd, state->header + got, need - got, deadline, wait);
    if (!count.ok()) {
      if (count.error().errnum == EAGAIN) return kFrameNotYet;
      return count.error();
    }
    if (count.value() == 0) return got == 0 ? kFrameEnd : kFrameTruncated;
    got += count.value();
    state->header_got = static_cast<double>(got);
    if (got != kShortHeader) continue;
    if (IsLong(state->header)) need = kLongHeader;
    if (IsParcel(state->header)) {
      ParcelHead head;
      auto* rest = reinterpret_cast<char*>(&head) + kShortHeader;
      if (!ReadWhole(HandleOf(fd), rest, sizeof(head) - kShortHeader)) return kFrameTruncated;
      auto received = Unpack(HandleOf(fd), head);
      if (!received.ok()) return received.error();
      if (fds != nullptr) {
        for (UniqueFd& each : received.value()) fds->push_back(std::move(each));
      }
      got = 0;
      state->header_got = 0;
    }
  }
  const bool is_long = need == kLongHeader;
  const uint64_t length =
      is_long ? BigEndian(state->header + kShortHeader, 8) : BigEndian(state->header, kShortHeader);
  if (length > (is_long ? kLargestLength : kLargestShort)) return kFrameMalformed;
  state->length = static_cast<double>(length);
  state->filled = 0;
  return 0;
}

}  // namespace

Result<int64_t> ContinueFrame(int fd, FrameState* state, void* payload, const Deadline& deadline,
                              bool wait) {
  const auto length = static_cast<size_t>(state->length);
  auto filled = static_cast<size_t>(state->filled);
  while (filled < length) {
    const auto got =
        Read(fd, static_cast<char*>(payload) + filled, length - filled, deadline, wait);
    if (!got.ok()) {
      if (got.error().errnum == EAGAIN) return kFramePartial;
      return got.error();
    }
    if (got.value() == 0) return kFrameTruncated;
    filled += got.value();
    state->filled = static_cast<double>(filled);
  }
  state->length = -1;
  state->filled = 0;
  state->header_got = 0;
  return static_cast<int64_t>(length);
}

Result<int64_t> ReceiveFrame(int fd, FrameState* state, void* room, size_t room_size,
                             const Deadline& deadline, bool wait, std::vector<UniqueFd>* fds) {
  if (!IsHandle(fd)) return OsError{EBADF, "recv"};
  if (state->length < 0) {
    const auto header = ReceiveHeader(fd, state, deadline, wait, fds);
    if (!header.ok() || header.value() != 0) return header;
  }
  if (state->length > static_cast<double>(room_size)) return kFrameTooLong;
  return ContinueFrame(fd, state, room, deadline, wait);
}

Result<size_t> SendFrame(int fd, const FramePart* parts, size_t count, const std::vector<int>& fds,
                         size_t from, const Deadline& deadline, bool wait) {
  return SendFrameTo(0, fd, parts, count, fds, from, deadline, wait);
}

Result<size_t> SendFrameTo(int pid, int fd, const FramePart* parts, size_t count,
                           const std::vector<int>& fds, size_t from, const Deadline& deadline,
                           bool wait) {
  if (!IsHandle(fd)) return OsError{EBADF, "send"};
  if (fds.size() > kMostFds) return OsError{EINVAL, "send"};
  const HANDLE stream = HandleOf(fd);
  const Deadline limit = wait ? deadline : Deadline::AfterMs(0);
  size_t length = 0;
  for (size_t i = 0; i < count; ++i) length += parts[i].size;
  unsigned char header[kLongHeader];
  const size_t header_size = length <= kLargestShort ? kShortHeader : kLongHeader;
  if (header_size == kLongHeader) std::memset(header, 0xff, kShortHeader);
  for (size_t i = 0, end = header_size == kLongHeader ? 8 : 4; i < end; ++i) {
    header[header_size - 1 - i] = static_cast<unsigned char>(length >> (8 * i));
  }
  if (from == 0) {
    std::vector<char> beginning;
    if (!fds.empty()) {
      beginning = Pack(fds, pid);
      if (beginning.empty()) return OsError{pid == 0 ? EBADF : EPIPE, "send"};
    }
    const std::vector<char> parcel = beginning;
    beginning.insert(beginning.end(), header, header + header_size);
    const auto written = WriteWhole(stream, beginning, limit);
    if (!written.ok()) {
      Discard(parcel, pid);
      if (written.error().errnum == EAGAIN) return size_t{0};
      return written;
    }
    from = header_size;
  }
  size_t begin = header_size;
  for (size_t i = 0; i < count; begin += parts[i].size, ++i) {
    while (from < begin + parts[i].size) {
      const size_t offset = from - begin;
      const auto written = WriteStream(stream, static_cast<const char*>(parts[i].data) + offset,
                                       parts[i].size - offset, limit);
      if (!written.ok()) {
        if (written.error().errnum == EAGAIN) return from;
        return written;
      }
      from += written.value();
    }
  }
  return from;
}

}  // namespace mp::core

#endif
