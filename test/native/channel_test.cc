// The channel: what goes in comes out, in order, whatever the size; and what a death at each of its steps costs.

#if !defined(_WIN32)

#include <doctest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "core/channel.h"
#include "core/steps.h"

using mp::core::Channel;
using mp::core::Deadline;
using mp::core::kMostSmall;
using mp::core::LargeMessage;
using mp::core::Part;

namespace {

constexpr double kLongMs = 20'000;

std::shared_ptr<Channel> MakeChannel(uint32_t max_items = 0) {
  auto created = Channel::Create(max_items);
  REQUIRE(created.ok());
  return created.value();
}

std::shared_ptr<Channel> MakeChannelOfBytes(uint32_t max_bytes) {
  mp::core::ChannelLimits limits;
  limits.max_bytes = max_bytes;
  limits.chunks = 1024;
  auto memory = Channel::CreateMemory(2, limits);
  REQUIRE(memory.ok());
  // The second one, so that nothing is taken for granted about where it lies.
  auto opened = Channel::Open(memory.value(), 1, mp::core::Bell::AtSocket(-1));
  REQUIRE(opened.ok());
  return opened.value();
}

// This thread's token there.
uint32_t Me(const Channel& channel) {
  thread_local pid_t pid = 0;
  thread_local std::weak_ptr<mp::core::Segment> last;
  thread_local uint32_t token = 0;
  if (pid != getpid() || last.lock() != channel.segment()) {
    pid = getpid();
    last = channel.segment();
    token = mp::core::Enrol(channel.segment()->header()).value();
  }
  return token;
}

// A message of `size` bytes that tells which one it is.
std::string Message(uint32_t id, size_t size) {
  std::string text(size < 4 ? 4 : size, '\0');
  for (size_t i = 4; i < text.size(); i++) text[i] = static_cast<char>(id + i * 7);
  std::memcpy(text.data(), &id, 4);
  return text;
}

bool Put(Channel& channel, const std::string& message, double ms = kLongMs) {
  const Part part{message.data(), message.size()};
  auto put = channel.Put(&part, 1, Me(channel), Deadline::AfterMs(ms));
  return put.ok() && put.value();
}

// Empty: nothing came.
std::string Get(Channel& channel, double ms = kLongMs) {
  char small[kMostSmall];
  LargeMessage large;
  std::string all;
  const auto deadline = Deadline::AfterMs(ms);
  for (;;) {
    auto got = channel.Get(small, &large, Me(channel));
    if (!got.ok()) return "error " + std::to_string(got.error().errnum);
    if (got.value().what == Channel::Got::kNothing) {
      if (!channel.WaitForMessage(Me(channel), deadline)) return "";
      continue;
    }
    if (got.value().what == Channel::Got::kSmall) return {small, got.value().size};
    if (got.value().what == Channel::Got::kLarge) return all;
    size_t size = 0;
    for (size_t part : large.sizes) size += part;
    all.resize(size);
    large.into.clear();
    size = 0;
    for (size_t part : large.sizes) {
      large.into.push_back(all.data() + size);
      size += part;
    }
  }
}

uint32_t IdOf(const std::string& message) {
  uint32_t id = UINT32_MAX;
  if (message.size() >= 4) std::memcpy(&id, message.data(), 4);
  return id;
}

}  // namespace

TEST_CASE("channel: messages of all sizes come out as they went in") {
  const auto channel = MakeChannel();
  uint32_t id = 0;
  for (size_t size : {4, 12, 13, 28, 4095, 4096, 4097, 65535, 65536, 65537, 1'000'000}) {
    const std::string message = Message(id++, size);
    CHECK(Put(*channel, message));
    CHECK(channel->Size() == 1);
    CHECK(Get(*channel) == message);
  }
  CHECK(channel->Size() == 0);
  CHECK(Get(*channel, 0).empty());
}

TEST_CASE("channel: an empty message, and parts that stay apart") {
  const auto channel = MakeChannel();
  const Part empty{nullptr, 0};
  CHECK(channel->Put(&empty, 1, Me(*channel), Deadline::AfterMs(0)).value());
  const std::string head = "head";
  const std::string bulk = Message(1, 200'000);
  const Part parts[] = {{head.data(), head.size()}, {bulk.data(), bulk.size()}, empty};
  CHECK(channel->Put(parts, 3, Me(*channel), Deadline::AfterMs(0)).value());
  char small[kMostSmall];
  LargeMessage large;
  auto get = [&] { return channel->Get(small, &large, Me(*channel)).value(); };
  auto got = get();
  CHECK(got.what == Channel::Got::kSmall);
  CHECK(got.size == 0);
  CHECK(get().what == Channel::Got::kSizes);
  CHECK(channel->Size() == 1);
  CHECK(large.sizes == std::vector<size_t>{4, 200'000, 0});
  std::string first(4, ' ');
  std::string second(200'000, ' ');
  large.into = {first.data(), second.data(), nullptr};
  large.sizes[0] = 3;
  CHECK(get().what == Channel::Got::kSizes);
  CHECK(get().what == Channel::Got::kLarge);
  CHECK(first == head);
  CHECK(second == bulk);
  CHECK(channel->Size() == 0);
}

TEST_CASE("channel: many messages in order, and the memory goes back") {
  const auto channel = MakeChannel();
  constexpr uint32_t kMany = 200'000;
  for (uint32_t i = 0; i < kMany; i++) REQUIRE(Put(*channel, Message(i, 4 + i % 100)));
  CHECK(channel->Size() == kMany);
  CHECK(channel->UsedChunks() > 100);
  for (uint32_t i = 0; i < kMany; i++) REQUIRE(Get(*channel) == Message(i, 4 + i % 100));
  CHECK(channel->UsedChunks() == 1);
  CHECK(channel->control()->warm_count.load() < 64 + 32);
}

TEST_CASE("channel: a bounded one takes no more than that") {
  const auto channel = MakeChannel(2);
  CHECK(Put(*channel, Message(0, 4)));
  CHECK(Put(*channel, Message(1, 100'000)));
  CHECK_FALSE(channel->HasRoom());
  CHECK_FALSE(Put(*channel, Message(2, 4), 0));
  CHECK_FALSE(Put(*channel, Message(2, 100'000), 20));
  CHECK(IdOf(Get(*channel)) == 0);
  CHECK(Put(*channel, Message(2, 4), 0));
  CHECK(IdOf(Get(*channel)) == 1);
  CHECK(IdOf(Get(*channel)) == 2);
}

TEST_CASE("channel: one that is bounded in bytes, and tags") {
  const auto channel = MakeChannelOfBytes(1 << 20);
  uint32_t count = 0;
  while (Put(*channel, Message(count, 200'000), 0)) count++;
  CHECK(count == 4);
  CHECK_FALSE(channel->HasRoom());
  // Whoever has waited goes on when a quarter is free, whoever comes at once.
  CHECK_FALSE(channel->WantRoom());
  CHECK(IdOf(Get(*channel)) == 0);
  CHECK(channel->HasRoom());
  CHECK(Put(*channel, Message(count++, 10), 0));
  for (uint32_t id = 1; id < count; id++) CHECK(IdOf(Get(*channel)) == id);
  // One message may be larger than all that.
  CHECK(Put(*channel, Message(0, 5'000'000), 0));
  CHECK_FALSE(Put(*channel, Message(1, 10), 0));
  CHECK(Get(*channel).size() == 5'000'000);
  CHECK(channel->control()->put_bytes == channel->control()->got_bytes);

  const std::string small = "small";
  const Part part{small.data(), small.size()};
  for (uint8_t tag : {0, 1, 255}) {
    CHECK(channel->Put(&part, 1, Me(*channel), Deadline::AfterMs(0), tag).value());
    char bytes[kMostSmall];
    LargeMessage large;
    const auto got = channel->Get(bytes, &large, Me(*channel));
    CHECK(got.value().tag == tag);
    CHECK(got.value().size == small.size());
  }
}

TEST_CASE("channel: what was taken is reported done, and not more") {
  const auto channel = MakeChannel();
  CHECK_FALSE(channel->Done());
  Put(*channel, Message(0, 4));
  Put(*channel, Message(1, 4));
  CHECK(channel->Unfinished() == 2);
  Get(*channel);
  CHECK_FALSE(channel->WaitUntilDone(Deadline::AfterMs(10)));
  CHECK(channel->Done());
  std::thread later([&] { CHECK(channel->WaitUntilDone(Deadline::AfterMs(kLongMs))); });
  Get(*channel);
  CHECK(channel->Done());
  later.join();
  CHECK_FALSE(channel->Done());
}

TEST_CASE("channel: the bell rings for whoever asked, once there is something") {
  const auto channel = MakeChannel();
  auto rings = [&] {
    mp::core::PollSlot slot{channel->bell().fd(), 1, 0};
    return mp::core::PollFds(&slot, 1, Deadline::AfterMs(0)).value() == 1;
  };
  Put(*channel, Message(0, 4));
  CHECK_FALSE(rings());
  CHECK(channel->WantBell());
  Get(*channel);
  CHECK_FALSE(channel->WantBell());
  CHECK_FALSE(rings());
  Put(*channel, Message(1, 4));
  CHECK(rings());
  Get(*channel);
  channel->ResetBell();
  CHECK_FALSE(rings());
  Put(*channel, Message(2, 4));
  CHECK(rings());
  channel->ResetBell();
  CHECK(rings());
}

TEST_CASE("channel: attached by its descriptors, bell and all") {
  const auto channel = MakeChannel(3);
  auto copy = [](int fd) {
    auto made = mp::core::Duplicate(fd);
    return made.ok() ? std::move(made.value()) : mp::core::UniqueFd();
  };
  auto memory = [&] {
    return mp::core::Segment::Attach(copy(channel->segment()->fd()),
                                     channel->segment()->header()->identity,
                                     mp::core::SegmentKind::kChannel)
        .value();
  };
  const auto& bell = channel->bell();
  auto attached = Channel::Attach(memory(), copy(bell.fd()), copy(bell.write_fd()));
  REQUIRE(attached.ok());
  Channel& other = *attached.value();
  CHECK(other.max_items() == 3);
  CHECK_FALSE(other.WantBell());
  CHECK(Put(*channel, Message(5, 100'000)));
  mp::core::PollSlot slot{other.bell().fd(), 1, 0};
  CHECK(mp::core::PollFds(&slot, 1, Deadline::AfterMs(kLongMs)).value() == 1);
  CHECK(Get(other) == Message(5, 100'000));

  const auto stranger = MakeChannel();
  const auto refused =
      Channel::Attach(memory(), copy(stranger->bell().fd()), copy(stranger->bell().write_fd()));
  REQUIRE_FALSE(refused.ok());
  CHECK(refused.error().errnum == EPROTO);
  channel->control()->chunk_limit++;
  CHECK_FALSE(Channel::Attach(memory(), copy(bell.fd()), copy(bell.write_fd())).ok());
}

// Whoever shares the memory may have written anything into it: an error, a message, but never a crash or a loop.
TEST_CASE("channel: records that have been tampered with") {
  uint64_t seed = 88172645463325252u;
  auto random = [&](uint64_t below) {
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed % below;
  };
  int errors = 0;
  int messages = 0;
  for (int round = 0; round < 3000; round++) {
    const auto channel = MakeChannel();
    for (uint32_t id = 0; id < 6; id++)
      Put(*channel, Message(id, id % 3 == 2 ? 70'000 : 20 + id * 700));
    auto* control = channel->control();
    char* base = static_cast<char*>(channel->segment()->base());
    // The first chunk has the records, the next two the large messages, with their tables of parts at the front.
    char* chunks = base + control->chunks_offset;
    char* table = base + control->table_offset;
    for (uint64_t change = random(6) + 1; change > 0; change--) {
      switch (random(4)) {
        case 0:
          chunks[random(12'000)] = static_cast<char>(random(256));
          break;
        case 1:
          chunks[random(300) * 16] ^= static_cast<char>(1 << random(8));
          break;
        case 2:
          chunks[65536 * (1 + random(4)) + random(16)] = static_cast<char>(random(256));
          break;
        default:
          table[random(6 * 8)] = static_cast<char>(random(256));
      }
    }
    char small[kMostSmall];
    LargeMessage large;
    std::vector<std::string> room;
    for (int i = 0; i < 20; i++) {
      const auto got = channel->Get(small, &large, Me(*channel));
      if (!got.ok()) {
        CHECK(got.error().errnum == EBADMSG);
        errors++;
        break;
      }
      if (got.value().what == Channel::Got::kNothing) break;
      if (got.value().what == Channel::Got::kSmall) CHECK(got.value().size <= kMostSmall);
      if (got.value().what == Channel::Got::kSizes) {
        room.clear();
        large.into.clear();
        for (size_t size : large.sizes) room.emplace_back(size, ' ');
        for (auto& part : room) large.into.push_back(part.data());
        continue;
      }
      messages++;
    }
  }
  CHECK(errors > 100);
  CHECK(messages > 1000);
}

// The same of the words that lead there: nothing outside of the memory is touched, nobody waits for ever, and the chunks
// that nobody can reach any more are found.
TEST_CASE("channel: a control page that has been tampered with") {
  const auto channel = MakeChannel();
  auto* control = channel->control();
  char small[kMostSmall];
  LargeMessage large;
  const auto get = [&] { return channel->Get(small, &large, Me(*channel)); };
  const auto put = [&](size_t size) {
    const std::string text(size, 'x');
    const Part part{text.data(), size};
    return channel->Put(&part, 1, Me(*channel), Deadline::AfterMs(kLongMs));
  };
  const auto at = [](uint32_t position, uint32_t count) {
    return uint64_t{position} << 32 | count << 1;
  };
  constexpr uint32_t kChunk = mp::core::kUnitsPerChunk;
  constexpr uint32_t kFar = 0xfffffff0;
  REQUIRE(put(100).ok());

  SUBCASE("the tail is elsewhere") {
    control->put_state.store(at(kFar, 2));
    CHECK(put(10).error().errnum == EBADMSG);
    CHECK(put(100'000).error().errnum == EBADMSG);
    CHECK(channel->Collect(Me(*channel)) == 0);
  }
  SUBCASE("the head is elsewhere") {
    control->get_state.store(at(kFar, 0));
    CHECK(get().error().errnum == EBADMSG);
    CHECK(channel->Collect(Me(*channel)) == 0);
  }
  SUBCASE("the tail is in front of the head") {
    REQUIRE(get().ok());
    control->put_state.store(at(0, 2));
    control->get_state.store(at(40, 1));
    CHECK(channel->Collect(Me(*channel)) == 0);
  }
  SUBCASE("messages that are counted and not there") {
    REQUIRE(get().ok());
    control->put_state.store(control->put_state.load() + 2);
    CHECK(get().error().errnum == EBADMSG);
  }
  SUBCASE("more chunks than there are") {
    control->fresh.store(UINT32_MAX);
    control->get_state.store(at(control->chunk_limit * kChunk, 0));
    CHECK(get().error().errnum == EBADMSG);
    CHECK(channel->Collect(Me(*channel)) < control->chunk_limit);
    control->warm.store(0);
    control->cold.store(0);
    CHECK(put(100'000).error().errnum == ENOMEM);
  }
  SUBCASE("another limit, and other places") {
    control->chunk_limit = UINT32_MAX;
    control->table_offset = uint64_t{1} << 60;
    control->chunks_offset = uint64_t{1} << 60;
    CHECK(put(100'000).ok());
    CHECK(get().value().what == Channel::Got::kSmall);
  }
  SUBCASE("a pool that leads elsewhere") {
    for (auto* list : {&control->warm, &control->cold}) list->store(kFar);
    control->warm_count.store(1);
    CHECK(put(100'000).ok());
    CHECK(control->warm.load() == 0);
  }
  SUBCASE("a pool in a circle") {
    REQUIRE(put(1'000'000).ok());
    REQUIRE(get().ok());
    large.into.clear();
    std::string room(1'000'000, ' ');
    REQUIRE(get().value().what == Channel::Got::kSizes);
    large.into.push_back(room.data());
    REQUIRE(get().value().what == Channel::Got::kLarge);
    auto* table = reinterpret_cast<mp::core::ChunkEntry*>(
        static_cast<char*>(channel->segment()->base()) + control->table_offset);
    const uint32_t first = control->warm.load();
    REQUIRE(first != 0);
    table[first - 1].next.store(first);
    control->warm_count.store(UINT32_MAX);
    REQUIRE(put(1'000'000).ok());
    CHECK(channel->UsedChunks() > 0);
  }
  SUBCASE("a pool that counts what it has not") {
    control->warm_count.store(0x7fffffff);
    REQUIRE(put(100'000).ok());
    REQUIRE(get().ok());
    REQUIRE(get().value().what == Channel::Got::kSizes);
    std::string room(100'000, ' ');
    large.into.push_back(room.data());
    CHECK(get().value().what == Channel::Got::kLarge);
  }
  SUBCASE("a jump to itself, and one back") {
    auto* record = reinterpret_cast<uint32_t*>(static_cast<char*>(channel->segment()->base()) +
                                               control->chunks_offset);
    record[0] = 3;
    for (uint32_t where : {0u, 1u}) {
      record[1] = where;
      CHECK(channel->Collect(Me(*channel)) == 0);
    }
  }
}

TEST_CASE("channel: a message without parts is none") {
  const auto channel = MakeChannel();
  CHECK(channel->Put(nullptr, 0, Me(*channel), Deadline::AfterMs(0)).error().errnum == EINVAL);
}

namespace {

// Threads on both ends; every message once, and those of one producer in order.
void Exchange(uint32_t max_items, int producers, int consumers, uint32_t each, size_t most_bytes) {
  const auto channel = MakeChannel(max_items);
  std::vector<std::thread> threads;
  std::vector<std::atomic<uint32_t>> seen(static_cast<size_t>(producers) * each);
  std::atomic<int> wrong{0};
  for (int p = 0; p < producers; p++) {
    threads.emplace_back([&, p] {
      for (uint32_t i = 0; i < each; i++) {
        const uint32_t id = static_cast<uint32_t>(p) * each + i;
        if (!Put(*channel, Message(id, 4 + (id * 37) % most_bytes))) wrong++;
      }
    });
  }
  const uint32_t total = static_cast<uint32_t>(producers) * each;
  std::atomic<uint32_t> taken{0};
  for (int c = 0; c < consumers; c++) {
    threads.emplace_back([&] {
      std::vector<int64_t> last(static_cast<size_t>(producers), -1);
      while (taken.load() < total) {
        const std::string message = Get(*channel, 5);
        if (message.empty()) continue;
        taken++;
        const uint32_t id = IdOf(message);
        if (id >= total || message != Message(id, 4 + (id * 37) % most_bytes)) {
          wrong++;
          continue;
        }
        if (seen[id]++ != 0) wrong++;
        if (last[id / each] >= id) wrong++;
        last[id / each] = id;
      }
    });
  }
  for (auto& thread : threads) thread.join();
  CHECK(wrong == 0);
  CHECK(taken == total);
  CHECK(channel->Size() == 0);
  CHECK(channel->UsedChunks() == 1);
}

}  // namespace

TEST_CASE("channel: threads on both ends") {
  Exchange(0, 1, 1, 20'000, 64);
  Exchange(0, 4, 4, 5'000, 64);
  Exchange(3, 3, 3, 2'000, 64);
  Exchange(0, 3, 3, 500, 200'000);
  Exchange(2, 2, 2, 300, 200'000);
}

#if defined(MP_TEST_STEPS)

namespace {

int steps_left;

void DieAtLast() {
  if (steps_left-- == 0) raise(SIGKILL);
}

using Ids = std::vector<uint32_t>;

// A process does `act` and is killed at each of its steps in turn; what is in the channel then is one of `outcomes`.
struct DeathScene {
  std::string name;
  std::function<void(Channel&)> prepare;
  std::function<void(Channel&)> act;
  std::vector<Ids> outcomes;
};

struct Leftover {
  Ids ids;
  uint32_t used;
};

// What the survivor finds, and whether it can go on. Every message must be whole.
Leftover Survive(Channel& channel, uint32_t most_size) {
  Leftover left;
  const uint32_t size = channel.Size();
  // Both ends: locks that were held are taken over.
  REQUIRE(Put(channel, Message(1000, 20)));
  for (;;) {
    const std::string message = Get(channel, 2'000);
    REQUIRE(!message.empty());
    const uint32_t id = IdOf(message);
    if (id == 1000) break;
    const size_t size_of_it = id == 1 ? 400'000 : id % 2 == 0 ? 20 : most_size;
    REQUIRE(message == Message(id, size_of_it));
    left.ids.push_back(id);
  }
  CHECK(left.ids.size() == size);
  CHECK(channel.Size() == 0);
  REQUIRE(Put(channel, Message(1001, most_size)));
  REQUIRE(Get(channel, 2'000) == Message(1001, most_size));
  // An idle slice is enough to find what was left.
  CHECK(Get(channel, 30).empty());
  left.used = channel.UsedChunks();
  return left;
}

}  // namespace

// Even ones are small, odd ones are large: three chunks each.
TEST_CASE("channel: a death at any step costs at most the message at hand") {
  constexpr uint32_t kLarge = 150'000;
  auto put = [](uint32_t id) {
    return [id](Channel& channel) { Put(channel, Message(id, id % 2 == 0 ? 20 : kLarge)); };
  };
  auto fill = [=](Ids ids) {
    return [=](Channel& channel) {
      for (uint32_t id : ids) put(id)(channel);
    };
  };
  // So that after one small message the next does not fit into the first chunk any more.
  auto fill_chunk = [=](Ids ids) {
    return [=](Channel& channel) {
      for (int i = 0; i < 4095 / 2 - 1; i++) {
        put(2000)(channel);
        Get(channel);
      }
      for (uint32_t id : ids) put(id)(channel);
    };
  };
  auto get = [](Channel& channel) { Get(channel, 0); };
  auto get_both = [=](Channel& channel) { get(channel), get(channel); };
  const std::vector<DeathScene> scenes = {
      {"put small", fill({2, 3}), put(4), {{2, 3}, {2, 3, 4}}},
      {"put large", fill({2, 3}), put(5), {{2, 3}, {2, 3, 5}}},
      {"put small into the next chunk", fill_chunk({2}), put(4), {{2}, {2, 4}}},
      {"put large into the next chunk", fill_chunk({2, 3}), put(5), {{2, 3}, {2, 3, 5}}},
      {"get small", fill({2, 3, 4}), get, {{2, 3, 4}, {3, 4}}},
      {"get large", fill({3, 2, 5}), get, {{3, 2, 5}, {2, 5}}},
      {"get small from the next chunk", fill_chunk({2, 4}), get_both, {{2, 4}, {4}, {}}},
      {"get large from the next chunk",
       fill_chunk({2, 3, 5}),
       [=](Channel& c) { get_both(c), get(c); },
       {{2, 3, 5}, {3, 5}, {5}, {}}},
      {"wait for a message", fill({}), [](Channel& c) { Get(c, 2); }, {{}}},
      {"collect", fill_chunk({2, 3, 5}), [](Channel& c) { c.Collect(Me(c)); }, {{2, 3, 5}}},
      {"give memory back",
       [=](Channel& c) {
         for (int i = 0; i < 3; i++) Put(c, Message(1, 400'000));
         for (int i = 0; i < 2; i++) Get(c);
       },
       get,
       {{1}, {}}},
  };
  for (const bool bytes : {false, true})
    for (const auto& scene : scenes) {
      CAPTURE(scene.name);
      CAPTURE(bytes);
      bool finished = false;
      int deaths = 0;
      for (int step = 0; !finished; step++) {
        CAPTURE(step);
        const auto channel = bytes ? MakeChannelOfBytes(2 << 20) : MakeChannel();
        scene.prepare(*channel);
        const pid_t child = fork();
        if (child == 0) {
          steps_left = step;
          mp::core::at_step = DieAtLast;
          scene.act(*channel);
          _exit(0);
        }
        int status = 0;
        waitpid(child, &status, 0);
        finished = WIFEXITED(status);
        if (!finished) deaths++;
        const Leftover left = Survive(*channel, kLarge);
        const auto& outcomes = scene.outcomes;
        CHECK(std::find(outcomes.begin(), outcomes.end(), left.ids) != outcomes.end());
        if (finished) CHECK(left.ids == outcomes.back());
        CHECK(left.used == 1);
        CHECK(channel->control()->put_bytes == channel->control()->got_bytes);
      }
      CHECK(deaths > 0);
      MESSAGE(scene.name << ": died at " << deaths << " steps");
    }
}

#endif  // MP_TEST_STEPS

#endif  // !_WIN32
