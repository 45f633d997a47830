#if !defined(_WIN32)

#include "core/shared_memory.h"
#include "core/plain_posix.h"

#include <doctest.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <string>
#include <thread>

using namespace mp::core;

namespace {

std::string Name(const char* suffix) { return "/mpt" + std::to_string(getpid()) + "_" + suffix; }

bool Exists(const std::string& name) { return OpenShared(name, O_RDONLY, 0).ok(); }

// Gives a limit back when the test is done.
class FileLimit {
 public:
  explicit FileLimit(rlim_t bytes) {
    getrlimit(RLIMIT_FSIZE, &old_);
    rlimit limit = old_;
    limit.rlim_cur = bytes;
    setrlimit(RLIMIT_FSIZE, &limit);
  }
  ~FileLimit() { setrlimit(RLIMIT_FSIZE, &old_); }

 private:
  rlimit old_{};
};

}  // namespace

TEST_CASE("a block is created once, attached, and unlinked once") {
  const std::string name = Name("block");
  auto made = CreateBlock(name, 10'000);
  REQUIRE(made.ok());
  CHECK(made.value().mapping.length() >= 10'000);
  CHECK(CreateBlock(name, 1).error().errnum == EEXIST);

  auto attached = AttachBlock(name);
  REQUIRE(attached.ok());
  auto* here = static_cast<char*>(made.value().mapping.address());
  const auto* there = static_cast<const char*>(attached.value().mapping.address());
  CHECK(here != there);
  CHECK(there[9'999] == 0);
  here[9'999] = 'x';
  CHECK(there[9'999] == 'x');
  CHECK(attached.value().identity.inode == made.value().identity.inode);

  CHECK(UnlinkBlock(name, made.value().identity).value());
  CHECK_FALSE(UnlinkBlock(name, made.value().identity).value());
  CHECK(AttachBlock(name).error().errnum == ENOENT);
  CHECK(there[9'999] == 'x');
}

TEST_CASE("who attaches during a creation finds all of a block or nothing") {
  const std::string name = Name("growing");
  constexpr uint64_t kSize = uint64_t{8} << 20;
  std::atomic<bool> done{false};
  std::atomic<int> wrong{0};
  std::thread attacher([&] {
    while (!done.load()) {
      const auto block = AttachBlock(name);
      const bool expected = block.ok()
                                ? block.value().mapping.length() == kSize
                                : block.error().errnum == ENOENT || block.error().errnum == EINVAL;
      if (!expected) wrong.fetch_add(1);
    }
  });
  for (int i = 0; i < 100; ++i) {
    const auto made = CreateBlock(name, kSize);
    CHECK(made.ok());
    if (made.ok()) CHECK(UnlinkShared(name).ok());
  }
  done.store(true);
  attacher.join();
  CHECK(wrong.load() == 0);
}

#if defined(MP_LINUX)
TEST_CASE("another block of the same name is not unlinked") {
  const std::string name = Name("other");
  auto first = CreateBlock(name, 1);
  REQUIRE(first.ok());
  REQUIRE(UnlinkShared(name).ok());
  auto second = CreateBlock(name, 1);
  REQUIRE(second.ok());
  CHECK_FALSE(UnlinkBlock(name, first.value().identity).value());
  CHECK(Exists(name));
  CHECK(UnlinkBlock(name, second.value().identity).value());
}
#endif

TEST_CASE("a mapping moves, and is removed once") {
  auto map = Map(-1, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, 0);
  REQUIRE(map.ok());
  Mapping moved(std::move(map.value()));
  CHECK(map.value().address() == nullptr);
  CHECK(moved.length() == 4096);
  Mapping assigned;
  assigned = std::move(moved);
  static_cast<char*>(assigned.address())[0] = 1;
  assigned.Unmap();
  assigned.Unmap();
  CHECK(assigned.address() == nullptr);
}

TEST_CASE("mappings are counted") {
  const size_t before = CountedMappings();
  {
    auto map = Map(-1, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, 0);
    REQUIRE(map.ok());
    CHECK(CountedMappings() == before + 1);
    Mapping moved(std::move(map.value()));
    Mapping assigned;
    assigned = std::move(moved);
    CHECK(CountedMappings() == before + 1);
    CHECK_FALSE(Map(-1, 0, PROT_READ, MAP_SHARED, 0).ok());
    CHECK(CountedMappings() == before + 1);
  }
  CHECK(CountedMappings() == before);
}

#if defined(__linux__)

TEST_CASE("when there are as many mappings as may be, nothing is made") {
  const std::string name = Name("budget");
  auto there = CreateBlock(name, 1);
  REQUIRE(there.ok());
  const int rest = static_cast<int>(MappingLimit());
  CountMapping(rest);
  CHECK_FALSE(MayMapMore());
  const std::string other = Name("budget2");
  CHECK(CreateBlock(other, 1).error().errnum == ENOMEM);
  CHECK_FALSE(Exists(other));
  CHECK(AttachBlock(name).error().errnum == ENOMEM);
  CHECK(Map(-1, 4096, PROT_READ, MAP_SHARED, 0).error().errnum == ENOMEM);
  CountMapping(-rest);
  CHECK(AttachBlock(name).ok());
  REQUIRE(UnlinkShared(name).ok());
}

#endif

TEST_CASE("an empty object and an impossible range are refused") {
  const std::string name = Name("empty");
  auto fd = OpenShared(name, O_CREAT | O_EXCL | O_RDWR, 0600);
  REQUIRE(fd.ok());
  CHECK((fcntl(fd.value().get(), F_GETFD) & FD_CLOEXEC) != 0);
  CHECK(AttachBlock(name).error().errnum == EINVAL);
  REQUIRE(UnlinkShared(name).ok());
  const int number = fd.value().get();
  const auto map = [number](uint64_t length, uint64_t offset, int flags = MAP_SHARED) {
    return Map(number, length, PROT_READ | PROT_WRITE, flags, offset);
  };
  CHECK(map(0, 0).error().errnum == EINVAL);
  // Whole pages, anywhere: macOS counts in them.
  constexpr size_t kPage = 16384;
  REQUIRE(Truncate(number, 3 * kPage).ok());
  CHECK(map(0, 0).value().length() == 3 * kPage);
  CHECK(map(3 * kPage + 1, 0).error().errnum == EINVAL);
  CHECK(map(UINT64_MAX, 0).error().errnum == EINVAL);
  CHECK(map(1, UINT64_MAX).error().errnum == EINVAL);
  CHECK(map(0, kPage).value().length() == 2 * kPage);
  CHECK(map(100, 0, MAP_SHARED | MAP_FIXED).error().errnum == EINVAL);
}

TEST_CASE("beyond the limit of a file's size it is EFBIG, not a signal") {
  const std::string name = Name("limit");
  const FileLimit limit(1 << 20);
  CHECK(CreateBlock(name, 2 << 20).error().errnum == EFBIG);
  CHECK_FALSE(Exists(name));
  auto fd = OpenShared(name, O_CREAT | O_EXCL | O_RDWR, 0600);
  REQUIRE(fd.ok());
  REQUIRE(UnlinkShared(name).ok());
  const int number = fd.value().get();
  REQUIRE(Truncate(number, 1 << 20).ok());
  CHECK(Truncate(number, (1 << 20) + 1).error().errnum == EFBIG);
  CHECK(Truncate(number, UINT64_MAX).error().errnum == EFBIG);
#if defined(MP_LINUX)
  CHECK(Truncate(number, 0).ok());
#else
  CHECK(Truncate(number, 0).error().errnum == EINVAL);
#endif
}

#if defined(MP_LINUX)

TEST_CASE("a block that cannot have its memory is not made") {
  const std::string name = Name("full");
  for (const uint64_t size : {uint64_t{1} << 45, uint64_t{1} << 62}) {
    const auto made = CreateBlock(name, size);
    REQUIRE_FALSE(made.ok());
    CHECK_FALSE(Exists(name));
  }
}

TEST_CASE("a small block has its memory at once, a large one has not") {
  struct stat status;
  const auto blocks_of = [&status](const std::string& name) {
    const auto fd = OpenShared(name, O_RDONLY, 0);
    fstat(fd.value().get(), &status);
    return status.st_blocks * 512;
  };
  const std::string name = Name("memory");
  const auto small = CreateBlock(name, 3 << 20);
  REQUIRE(small.ok());
  CHECK(blocks_of(name) == 3 << 20);
  REQUIRE(UnlinkShared(name).ok());
  const auto large = CreateBlock(name, kAllocatedAtOnce + 1);
  REQUIRE(large.ok());
  CHECK(blocks_of(name) == 0);
  REQUIRE(UnlinkShared(name).ok());
}

TEST_CASE("allocating takes the whole range or, when it is hopeless, nothing") {
  const std::string name = Name("range");
  auto fd = OpenShared(name, O_CREAT | O_EXCL | O_RDWR, 0600);
  REQUIRE(fd.ok());
  REQUIRE(UnlinkShared(name).ok());
  const int number = fd.value().get();
  REQUIRE(Allocate(number, 100, 5 << 20).ok());
  struct stat status;
  fstat(number, &status);
  CHECK(status.st_size == 100 + (5 << 20));
  const auto before = status.st_blocks;
  CHECK(Allocate(number, 0, uint64_t{1} << 50).error().errnum == ENOSPC);
  fstat(number, &status);
  CHECK(status.st_blocks == before);
  CHECK(Allocate(number, 0, 0).error().errnum == EINVAL);
  CHECK(Allocate(number, UINT64_MAX, 2).error().errnum == EFBIG);
  CHECK(Allocate(-1, 0, 1).error().errnum == EBADF);
}

#endif
#endif
