#if !defined(_WIN32)

#include "core/named_semaphore.h"

#include <doctest.h>
#include <fcntl.h>
#include <unistd.h>

#include <atomic>
#include <string>
#include <thread>
#include <vector>

using namespace mp::core;

namespace {

std::string Name(const char* suffix) { return "/mpt" + std::to_string(getpid()) + "_" + suffix; }

NamedSemaphore New(const std::string& name, unsigned value) {
  auto made = NamedSemaphore::Open(name, O_CREAT | O_EXCL, 0600, value);
  REQUIRE(made.ok());
  REQUIRE(NamedSemaphore::Unlink(name).ok());
  return std::move(made.value());
}

}  // namespace

TEST_CASE("a semaphore counts, and waits no longer than told") {
  auto semaphore = New(Name("count"), 1);
  CHECK(semaphore.Wait(Deadline::Never()).value());
  CHECK_FALSE(semaphore.Wait(Deadline::AfterMs(0)).value());
  const int64_t begin = MonotonicNs();
  CHECK_FALSE(semaphore.Wait(Deadline::AfterMs(30)).value());
  CHECK(MonotonicNs() - begin >= 30'000'000);
  REQUIRE(semaphore.Post().ok());
  CHECK(semaphore.Wait(Deadline::AfterMs(0)).value());
#if !defined(__APPLE__)
  CHECK(semaphore.Value().value() == 0);
#endif
}

TEST_CASE("a post wakes a waiter of another thread") {
  auto semaphore = New(Name("wake"), 0);
  constexpr int kRounds = 200;
  std::vector<std::thread> waiters;
  std::atomic<int> taken{0};
  for (int i = 0; i < 2; ++i) {
    waiters.emplace_back([&semaphore, &taken, i] {
      for (int round = 0; round < kRounds; ++round) {
        const auto deadline = i == 0 ? Deadline::Never() : Deadline::AfterMs(20'000);
        if (semaphore.Wait(deadline).value()) taken.fetch_add(1);
      }
    });
  }
  for (int i = 0; i < 2 * kRounds; ++i) REQUIRE(semaphore.Post().ok());
  for (auto& waiter : waiters) waiter.join();
  CHECK(taken.load() == 2 * kRounds);
}

TEST_CASE("what is not there and what is taken") {
  CHECK(NamedSemaphore::Open(Name("none"), 0, 0, 0).error().errnum == ENOENT);
  CHECK(NamedSemaphore::Unlink(Name("none")).error().errnum == ENOENT);
  CHECK(
      NamedSemaphore::Open(Name("neg"), O_CREAT, 0600, static_cast<unsigned>(-1)).error().errnum ==
      EINVAL);
  auto made = NamedSemaphore::Open(Name("taken"), O_CREAT | O_EXCL, 0600, 0);
  REQUIRE(made.ok());
  CHECK(NamedSemaphore::Open(Name("taken"), O_CREAT | O_EXCL, 0600, 0).error().errnum == EEXIST);
  auto same = NamedSemaphore::Open(Name("taken"), 0, 0, 0);
  REQUIRE(same.ok());
  REQUIRE(NamedSemaphore::Unlink(Name("taken")).ok());
  REQUIRE(same.value().Post().ok());
  same.value().Close();
  same.value().Close();
  CHECK(made.value().Wait(Deadline::AfterMs(0)).value());
}

#endif
