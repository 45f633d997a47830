#if !defined(_WIN32)

#include "tracker/resources.h"

#include <doctest.h>

#include <cstring>
#include <random>
#include <string>
#include <vector>

using namespace mp::tracker;

namespace {

// What a line says, as text; nothing for what is no message.
std::string Said(std::string line) {
  Message message;
  if (!ReadMessage(line.data(), &message)) return "";
  const auto& [type, device, inode, name] = message.resource;
  return std::string(message.registers ? "+" : "-") + kTypeNames[static_cast<size_t>(type)] + " " +
         std::to_string(device) + " " + std::to_string(inode) + " " + name;
}

// The lines that come out when `pieces` are read one after the other.
std::vector<std::string> LinesOf(const std::vector<std::string>& pieces,
                                 size_t* too_long = nullptr) {
  Lines lines;
  std::vector<std::string> got;
  for (const std::string& piece : pieces) {
    for (size_t at = 0; at < piece.size();) {
      REQUIRE(lines.room() > 0);
      const size_t count = std::min(lines.room(), piece.size() - at);
      std::memcpy(lines.space(), piece.data() + at, count);
      at += count;
      const size_t skipped = lines.Filled(count, [&](char* line) { got.emplace_back(line); });
      if (too_long != nullptr) *too_long += skipped;
    }
  }
  return got;
}

Resource Block(const char* name, uint64_t inode = 1) {
  return Resource{Type::kSharedMemory, 1, inode, name};
}

}  // namespace

TEST_CASE("tracker: a message is read") {
  CHECK(Said("+ shared_memory 1a 2b3c /psm_1") == "+shared_memory 26 11068 /psm_1");
  CHECK(Said("- file 0 ffffffffffffffff /tmp/x") == "-file 0 18446744073709551615 /tmp/x");
  CHECK(Said("+ directory 0 0 /a%20b%0ac%25") == "+directory 0 0 /a b\nc%");
}

TEST_CASE("tracker: what is none is refused") {
  for (const char* line : {"",
                           "+",
                           "+ ",
                           "* shared_memory 0 0 /x",
                           "+shared_memory 0 0 /x",
                           "+ semaphore 0 0 /x",
                           "+ shared_memory",
                           "+ shared_memory ",
                           "+ shared_memory 0",
                           "+ shared_memory 0 /x",
                           "+ shared_memory  0 0 /x",
                           "+ shared_memory 0 0 ",
                           "+ shared_memory 0 0",
                           "+ shared_memory 0x1 0 /x",
                           "+ shared_memory 00000000000000001 0 /x",
                           "+ shared_memory 0 0 /%",
                           "+ shared_memory 0 0 /%0",
                           "+ shared_memory 0 0 /%0g",
                           "+ shared_memory 0 0 /%00",
                           "+ shared_memory_ 0 0 /x"}) {
    INFO(line);
    CHECK(Said(line).empty());
  }
}

TEST_CASE("tracker: lines come out whole, however they are read") {
  const std::string text = "one\ntwo\n\nthree\nunfinished";
  const std::vector<std::string> expected = {"one", "two", "", "three"};
  CHECK(LinesOf({text}) == expected);
  std::vector<std::string> bytes;
  for (const char c : text) bytes.emplace_back(1, c);
  CHECK(LinesOf(bytes) == expected);
}

TEST_CASE("tracker: a line that is too long costs itself alone") {
  size_t too_long = 0;
  const std::string endless(10 * kLongestMessage + 7, 'x');
  const auto lines = LinesOf({"one\n" + endless + "\ntwo\n" + endless, "\nthree\n"}, &too_long);
  CHECK(lines == std::vector<std::string>{"one", "two", "three"});
  CHECK(too_long == 2);
  const std::string longest(kLongestMessage - 1, 'x');
  CHECK(LinesOf({longest + "\n", longest + "\n"}) == std::vector<std::string>{longest, longest});
}

TEST_CASE("tracker: any bytes are lines or none") {
  std::mt19937 random(1);
  std::string bytes;
  for (int i = 0; i < 200'000; ++i) bytes += "+- shared_memory0af/%\n\x01\xff"[random() % 24];
  for (std::string& line : LinesOf({bytes})) (void)Said(line);
}

TEST_CASE("tracker: a set") {
  Resources resources;
  CHECK(resources.Add(Block("/a")));
  CHECK(resources.Add(Block("/a")));
  CHECK(resources.size() == 1);
  // The same name, but another block.
  CHECK(resources.Add(Block("/a", 2)));
  CHECK(resources.Add(Resource{Type::kFile, 1, 1, "/a"}));
  CHECK(resources.size() == 3);
  resources.Remove(Block("/b"));
  resources.Remove(Block("/a"));
  resources.Remove(Block("/a"));
  CHECK(resources.size() == 2);
  int seen = 0;
  resources.ForEach(Type::kSharedMemory, [&](const Resource& resource) {
    ++seen;
    CHECK(resource.inode == 2);
  });
  CHECK(seen == 1);
}

TEST_CASE("tracker: thousands, and the names are its own") {
  Resources resources;
  for (int i = 0; i < 5000; ++i) {
    const std::string name = "/psm_" + std::to_string(i);
    CHECK(resources.Add(Block(name.c_str())));
  }
  CHECK(resources.size() == 5000);
  resources.Prune([](const Resource& resource) {
    return (resource.name[std::strlen(resource.name) - 1] - '0') % 2 == 0;
  });
  CHECK(resources.size() == 2500);
  for (int i = 0; i < 5000; ++i) {
    const std::string name = "/psm_" + std::to_string(i);
    resources.Remove(Block(name.c_str()));
  }
  CHECK(resources.size() == 0);
}

#endif
