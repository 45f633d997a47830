// File descriptors: making, copying, reading, writing and polling them.
//
// Every descriptor made here is close-on-exec from its first moment wherever the system can do that
// atomically, so that a spawn on another thread never leaks one; the caller asks for an inheritable
// one by name. Calls that a signal interrupts go on (PEP 475). On Windows a descriptor is the number of a
// handle (win32/handles.h): Node's descriptors there belong to another C runtime than an addon's.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "core/clock.h"
#include "core/result.h"

namespace mp::core {

// Owns one descriptor and closes it when it goes.
class UniqueFd {
 public:
  UniqueFd() = default;
  explicit UniqueFd(int fd) : fd_(fd) {}
  UniqueFd(UniqueFd&& other) noexcept : fd_(other.Release()) {}
  UniqueFd& operator=(UniqueFd&& other) noexcept {
    if (this != &other) Reset(other.Release());
    return *this;
  }
  UniqueFd(const UniqueFd&) = delete;
  UniqueFd& operator=(const UniqueFd&) = delete;
  ~UniqueFd() { Reset(); }

  int get() const { return fd_; }
  bool valid() const { return fd_ >= 0; }
  // The caller owns the descriptor from here on.
  int Release() { return std::exchange(fd_, -1); }
  // Keeps errno as it was, so that it may run between a failed call and the report of it.
  void Reset(int fd = -1);

 private:
  int fd_ = -1;
};

struct FdPair {
  UniqueFd first;
  UniqueFd second;
};

// first is the read end, second the write end.
Result<FdPair> MakePipe(bool cloexec);
Result<FdPair> MakeSocketPair(int type, bool cloexec);
// A file in memory, without a name in any directory (`name` is for who lists descriptors), close-on-exec. ENOSYS where
// the system has none that can be read and written.
Result<UniqueFd> MakeMemoryFile(const char* name);
// From here on nobody can change what such a file holds.
Result<void> FreezeMemoryFile(int fd);

// At most `size` bytes, one system call; 0 is the end of the file.
Result<size_t> ReadSome(int fd, void* data, size_t size);
// One write(2), which may take less than all.
Result<size_t> WriteSome(int fd, const void* data, size_t size);
// Everything, also on a non-blocking descriptor, where it waits for room.
Result<void> WriteAll(int fd, const void* data, size_t size);

// EINTR counts as closed: Linux has released the number by then, and closing it again could hit a
// stranger's.
Result<void> CloseFd(int fd);
Result<UniqueFd> Duplicate(int fd);
Result<void> DuplicateOnto(int fd, int target, bool inheritable);
Result<void> SetInheritable(int fd, bool inheritable);
Result<bool> GetInheritable(int fd);
Result<void> SetBlocking(int fd, bool blocking);
Result<bool> GetBlocking(int fd);
bool IsTty(int fd);

// One slot of a poll: what poll(2) has as pollfd, in a shape that exists on every platform.
struct PollSlot {
  int32_t fd;
  int32_t events;
  int32_t revents;
};

// How many slots have revents; 0 when the deadline passed first.
Result<int> PollFds(PollSlot* slots, size_t count, const Deadline& deadline);

// Waits until a read (or a write) would not sleep; false when the deadline passed first. True at once
// for what never sleeps: a descriptor that is non-blocking, not open, or not open for it. Others may
// take what is there before the call; and a write of more than there is room for sleeps all the same.
Result<bool> WaitUntilReady(int fd, bool writing, const Deadline& deadline);

}  // namespace mp::core
