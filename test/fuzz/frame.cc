// CPython's frames from a descriptor that anybody may write to, against a reader of a dozen lines; and what is sent,
// byte for byte.

#include "core/frame.h"

#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <vector>

#include "core/fd.h"
#include "input.h"

using namespace mp::core;

namespace {

// What fits into a socket, or a pipe, that nobody reads yet.
constexpr size_t kMostBytes = 16'384;
// Memory for a message: what announces itself longer is not waited for, as in src/transport.ts.
constexpr size_t kMostMessage = 1 << 20;

const Deadline kAtOnce = Deadline::AfterMs(0);

uint64_t BigEndian(const std::string& bytes, size_t from, size_t count) {
  uint64_t number = 0;
  for (size_t i = 0; i < count; i++) number = number << 8 | static_cast<uint8_t>(bytes[from + i]);
  return number;
}

// The same, without any system.
struct Model {
  std::string bytes;
  size_t at = 0;

  // The outcome at the end of the file, and the message.
  int64_t Next(std::string* message) {
    const size_t left = bytes.size() - at;
    if (left == 0) return kFrameEnd;
    if (left < 4) return kFrameTruncated;
    uint64_t length = BigEndian(bytes, at, 4);
    size_t header = 4;
    if (length == 0xffffffff) {
      if (left < 12) return kFrameTruncated;
      length = BigEndian(bytes, at + 4, 8);
      header = 12;
      if (length > uint64_t{1} << 52) return kFrameMalformed;
    } else if (length > 0x7fffffff) {
      return kFrameMalformed;
    }
    if (length > kMostMessage) return kFrameTooLong;
    if (left - header < length) return kFrameTruncated;
    *message = bytes.substr(at + header, length);
    at += header + length;
    return static_cast<int64_t>(length);
  }
};

FdPair NewStream(bool sockets) {
  auto made = sockets ? MakeSocketPair(SOCK_STREAM, true) : MakePipe(true);
  FUZZ_CHECK(made.ok());
  return std::move(made.value());
}

// The message, or an outcome below 0. The writer's bytes arrive when the reader has taken those before.
struct Reader {
  int fd;
  FrameState state{};
  bool with_fds;
  size_t room_size;

  template <typename More>
  int64_t Next(std::string* message, More more) {
    state.length = -1;
    state.filled = 0;
    state.header_got = 0;
    std::string room(room_size, '\0');
    std::vector<UniqueFd> fds;
    for (;;) {
      auto got = ReceiveFrame(fd, &state, room.data(), room.size(), kAtOnce, false,
                              with_fds ? &fds : nullptr);
      FUZZ_CHECK(got.ok());
      int64_t outcome = got.value();
      const bool elsewhere = outcome == kFrameTooLong;
      if (outcome == kFrameTooLong || outcome == kFramePartial) {
        FUZZ_CHECK(state.length >= 0 && state.filled <= state.length);
        if (state.length > kMostMessage) return kFrameTooLong;
        std::string payload(static_cast<size_t>(state.length), '\0');
        std::memcpy(payload.data(), room.data(), static_cast<size_t>(state.filled));
        do {
          got = ContinueFrame(fd, &state, payload.data(), kAtOnce, false);
          FUZZ_CHECK(got.ok());
          outcome = got.value();
        } while (outcome == kFramePartial && more());
        FUZZ_CHECK(outcome != kFrameTooLong);
        room = payload;
      }
      if (outcome == kFrameNotYet && more()) continue;
      FUZZ_CHECK(outcome >= 0 || outcome < kFrameTooLong || outcome == kFrameEnd);
      FUZZ_CHECK(outcome < 0 || elsewhere || static_cast<size_t>(outcome) <= room.size());
      if (outcome >= 0) *message = room.substr(0, static_cast<size_t>(outcome));
      return outcome;
    }
  }
};

void CheckReading(Input* input) {
  const bool sockets = input->Byte() % 4 != 0;
  FdPair stream = NewStream(sockets);
  Reader reader{stream.first.get(), {}, input->Byte() % 2 == 1, input->Below(9000)};
  if (!sockets) reader.with_fds = false;
  const size_t slice = input->Byte() % 2 == 0 ? kMostBytes : input->Byte() + size_t{1};
  Model model{input->Bytes(kMostBytes)};
  size_t written = 0;
  const auto more = [&] {
    const size_t size = std::min(slice, model.bytes.size() - written);
    if (size == 0) {
      stream.second.Reset();
      return true;
    }
    FUZZ_CHECK(write(stream.second.get(), model.bytes.data() + written, size) ==
               static_cast<ssize_t>(size));
    written += size;
    return true;
  };
  for (;;) {
    std::string expected;
    std::string message;
    const int64_t should = model.Next(&expected);
    const int64_t is = reader.Next(&message, more);
    FUZZ_CHECK(is == should);
    FUZZ_CHECK(message == expected);
    if (is < 0) return;
  }
}

void CheckSending(Input* input) {
  FdPair stream = NewStream(input->Byte() % 4 != 0);
  std::vector<std::string> texts;
  std::string all;
  for (size_t count = input->Byte(); count > 0; count--) {
    texts.push_back(input->Bytes(input->Byte() * (count % 3)));
    all += texts.back();
  }
  std::vector<FramePart> parts;
  for (const auto& text : texts) parts.push_back({text.data(), text.size()});
  for (size_t at = 0; at < all.size() + 4;) {
    const auto sent =
        SendFrame(stream.second.get(), parts.data(), parts.size(), {}, at, kAtOnce, false);
    FUZZ_CHECK(sent.ok() && sent.value() > at);
    at = sent.value();
  }
  std::string bytes(all.size() + 4, '\0');
  FUZZ_CHECK(read(stream.first.get(), bytes.data(), bytes.size()) ==
             static_cast<ssize_t>(bytes.size()));
  FUZZ_CHECK(BigEndian(bytes, 0, 4) == all.size());
  FUZZ_CHECK(bytes.substr(4) == all);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  Input input(data, std::min(size, kMostBytes));
  if (input.Byte() % 4 == 0) {
    CheckSending(&input);
  } else {
    CheckReading(&input);
  }
  return 0;
}
