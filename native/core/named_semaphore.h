// POSIX named semaphores: sem_open(3) and its family.
//
// A semaphore has no owner: a process that dies after a wait has taken a count that nobody gives
// back. Waiting needs no event loop, goes on after a signal, and its deadline is of the monotonic
// clock: a change of the time of day does not touch it. A forked child has a copy of the mapping:
// closing it there leaves the parent's as it is.
#pragma once

#include <string>
#include <utility>

#if !defined(_WIN32)
#include <semaphore.h>
#endif

#include "core/clock.h"
#include "core/result.h"

namespace mp::core {

#if defined(_WIN32)
using SemaphoreHandle = void;
#else
using SemaphoreHandle = sem_t;
#endif

// Owns one open semaphore and closes it when it goes. Not to be used after Close().
class NamedSemaphore {
 public:
  // `mode` and `value` count when `flags` has O_CREAT. ENOMEM, too, when this process may map no more
  // (mapping_budget.h): each open semaphore is a mapping.
  static Result<NamedSemaphore> Open(const std::string& name, int flags, unsigned mode,
                                     unsigned value);
  // Removes the name; who has it open goes on.
  static Result<void> Unlink(const std::string& name);

  NamedSemaphore(NamedSemaphore&& other) noexcept
      : handle_(std::exchange(other.handle_, nullptr)) {}
  NamedSemaphore& operator=(NamedSemaphore&&) = delete;
  NamedSemaphore(const NamedSemaphore&) = delete;
  NamedSemaphore& operator=(const NamedSemaphore&) = delete;
  ~NamedSemaphore() { Close(); }

  bool open() const { return handle_ != nullptr; }

  // False: the deadline passed first. A deadline that has passed already takes what there is.
  Result<bool> Wait(const Deadline& deadline);
  // EOVERFLOW: it would exceed SEM_VALUE_MAX.
  Result<void> Post();
  // ENOSYS on macOS.
  Result<int> Value();
  // Does nothing the second time.
  void Close();

 private:
  explicit NamedSemaphore(SemaphoreHandle* handle) : handle_(handle) {}

  SemaphoreHandle* handle_;
};

}  // namespace mp::core
