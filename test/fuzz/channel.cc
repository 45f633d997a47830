// A channel whose memory somebody else writes to: getting, putting and collecting end, with an error or a message.

#include "core/channel.h"

#include <vector>

#include "core/owner.h"
#include "input.h"
#include "tamper.h"

using namespace mp::core;

namespace {

// Enough for the pool to give some back.
constexpr uint32_t kChunks = 160;
constexpr int kMostSteps = 48;

struct Limit {
  uint32_t items;
  uint32_t bytes;
};
constexpr Limit kLimits[] = {{0, 0}, {4, 0}, {0, 200'000}};

const Deadline kAtOnce = Deadline::AfterMs(0);

struct Bench {
  std::shared_ptr<Channel> channel;
  uint32_t token;
  LargeMessage large;
  std::vector<std::vector<char>> room;

  void Put(Input* input, size_t count, size_t size) {
    static const std::string bytes(400'000, 'x');
    std::vector<Part> parts(count, Part{bytes.data(), size});
    (void)channel->Put(parts.data(), count, token, kAtOnce, input->Byte());
  }

  void Get() {
    char small[kMostSmall];
    const auto got = channel->Get(small, &large, token);
    if (!got.ok()) {
      FUZZ_CHECK(got.error().errnum == EBADMSG);
      return;
    }
    if (got.value().what == Channel::Got::kSmall) FUZZ_CHECK(got.value().size <= kMostSmall);
    if (got.value().what != Channel::Got::kSizes) return;
    size_t total = 0;
    for (size_t size : large.sizes) total += size;
    FUZZ_CHECK(total <= kChunks * kChunkBytes);
    room.clear();
    large.into.clear();
    for (size_t size : large.sizes) {
      room.emplace_back(size);
      large.into.push_back(room.back().data());
    }
  }

  void Ask() {
    (void)channel->Size();
    (void)channel->HasRoom();
    (void)channel->Unfinished();
    (void)channel->UsedChunks();
    (void)channel->Done();
    (void)channel->WantBell();
    (void)channel->WantRoom();
    (void)channel->WaitForMessage(token, kAtOnce);
    (void)channel->WaitUntilDone(kAtOnce);
    channel->ResetBell();
  }
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  Input input(data, size);
  const Limit limit = kLimits[input.Byte() % 3];
  ChannelLimits limits;
  limits.max_items = limit.items;
  limits.max_bytes = limit.bytes;
  limits.chunks = kChunks;
  auto memory = Channel::CreateMemory(1, limits);
  FUZZ_CHECK(memory.ok());
  auto opened = Channel::Open(memory.value(), 0, Bell::AtSocket(-1));
  FUZZ_CHECK(opened.ok());
  Bench bench{opened.value(), Enrol(memory.value()->header()).value(), {}, {}};
  Tamperer tamperer(*bench.channel);
  for (int step = 0; step < kMostSteps && !input.done(); step++) {
    switch (input.Byte() % 10) {
      case 0:
      case 1:
        bench.Put(&input, 1, input.Below(kMostSmall + 1));
        break;
      case 2:
        bench.Put(&input, 1, input.Below(400'000));
        break;
      case 3:
        bench.Put(&input, input.Below(300), input.Byte());
        break;
      case 4:
      case 5:
        bench.Get();
        break;
      case 6:
        bench.channel->Collect(bench.token);
        break;
      case 7:
        bench.Ask();
        break;
      default:
        tamperer.Change(&input);
    }
  }
  // Another process that opens what is left finds that it is no channel, or uses it.
  auto again = Channel::Open(memory.value(), 0, Bell::AtSocket(-1));
  if (again.ok()) {
    bench.channel = again.value();
    for (int i = 0; i < 4; i++) bench.Get();
    bench.Put(&input, 1, 100);
    bench.channel->Collect(bench.token);
  }
  return 0;
}
