// A pipe whose peer writes what it likes, on the socket and into the memory: sending and receiving end, with an error,
// an outcome or a message.

#include "core/pipe.h"

#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <vector>

#include "core/fd_passing.h"
#include "core/owner.h"
#include "input.h"
#include "tamper.h"

using namespace mp::core;

namespace {

constexpr int kMostSteps = 48;
constexpr uint64_t kMostMessage = 1 << 22;

const Deadline kAtOnce = Deadline::AfterMs(0);

struct User {
  PipeEnd* end;
  uint32_t token;
  uint64_t sent = 0;
  uint64_t sending = 0;
  std::vector<int> fds;
  std::vector<char> payload;
  std::vector<char> large;

  User(PipeEnd* end, uint32_t token) : end(end), token(token) {}

  // One of up to 600 kB at a time, and what is left of the last one first.
  void Send(size_t size, size_t descriptors) {
    static const std::string bytes(600'000, 'x');
    if (sent == 0) {
      sending = size;
      fds.assign(descriptors, 0);
    }
    const Part parts[] = {{bytes.data(), sending / 3}, {bytes.data(), sending - sending / 3}};
    const auto answer = end->Send(parts, 2, fds, sent, token, kAtOnce, false);
    sent = answer.ok() && answer.value() != PipeEnd::SentWhole(sending) ? answer.value() : 0;
  }

  // As native/binding/pipe.cc and src/transport.ts do it.
  void Receive() {
    char scratch[kMostSmall];
    const bool amidst = end->amidst() && payload.size() == end->incoming_length();
    const auto got =
        end->Receive(scratch, amidst ? payload.data() : nullptr,
                     large.empty() ? nullptr : large.data(), large.size(), token, kAtOnce, false);
    if (!got.ok()) return;
    FUZZ_CHECK(got.value() <= static_cast<int64_t>(kMostSmall));
    if (got.value() == kPipeBegun) {
      // Memory that cannot be had.
      if (end->incoming_length() > kMostMessage) return end->Forget();
      payload.assign(end->incoming_length(), '\0');
      payload.reserve(1);
    } else if (got.value() == kPipeLarge) {
      FUZZ_CHECK(end->large_length() <= uint64_t{64} << 20);
      large.assign(end->large_length(), '\0');
    } else if (got.value() == kPipeDone || got.value() == kPipeLargeDone) {
      (void)end->TakeFds();
    }
  }
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  Input input(data, size);
  const bool duplex = input.Byte() % 2 == 0;
  auto pair = PipeEnd::Create(duplex);
  FUZZ_CHECK(pair.ok());
  std::unique_ptr<PipeEnd> first = std::move(pair.value().first);
  std::unique_ptr<PipeEnd> second = std::move(pair.value().second);
  const auto segment = first->segment();
  const auto one = Channel::Open(segment, 0, Bell::AtSocket(-1));
  const auto other = Channel::Open(segment, 1, Bell::AtSocket(-1));
  FUZZ_CHECK(one.ok() && other.ok() == duplex);
  Tamperer tamper_one(*one.value());
  Tamperer tamper_other(*(duplex ? other : one).value());
  // A process's threads share a token only one after the other, as here.
  const uint32_t token = Enrol(segment->header()).value();
  User users[] = {{first.get(), token}, {second.get(), token}};

  for (int step = 0; step < kMostSteps && !input.done(); step++) {
    const uint8_t what = input.Byte();
    User& user = users[what >> 7];
    switch (what % 12) {
      case 0:
      case 1:
        user.Send(input.Below(5000), 0);
        break;
      case 2:
        user.Send(input.Below(600'000), 0);
        break;
      case 3:
        user.Send(input.Below(600), input.Byte() % 4);
        break;
      case 4:
      case 5:
      case 6:
        user.Receive();
        break;
      case 7: {
        const std::string bytes = input.Bytes(input.Byte() % 32);
        (void)send(user.end->fd(), bytes.data(), bytes.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
        break;
      }
      case 8: {
        // Descriptors with an id that may be right.
        unsigned char packet[9] = {0xfd};
        const uint64_t id = uint64_t{token} << 32 | (input.Byte() % 4);
        std::memcpy(packet + 1, &id, sizeof(id));
        (void)SendFds(user.end->fd(), packet, 1 + input.Byte() % sizeof(packet), {0, 1},
                      MSG_DONTWAIT | MSG_NOSIGNAL);
        break;
      }
      case 9:
        (void)user.end->Ready();
        (void)user.end->WaitUntilReady(token, kAtOnce);
        (void)user.end->Arm(input.Byte() % 2 == 0, true, token);
        if (input.Byte() % 8 == 0) user.end->Forget();
        break;
      default:
        (what % 2 == 0 ? tamper_one : tamper_other).Change(&input);
    }
  }
  // Whoever gets it now, by its descriptors.
  const uint32_t side = input.Byte() % 3;
  UniqueFd socket(dup(second->fd()));
  UniqueFd memory(dup(segment->fd()));
  if (input.Byte() % 4 == 0) first->Forget();
  auto opened = PipeEnd::Open(std::move(socket), std::move(memory), side);
  if (opened.ok()) {
    User user(opened.value().get(), token);
    for (int i = 0; i < 4; i++) user.Receive();
    user.Send(100, 0);
  }
  return 0;
}
