// A set of descriptors, of which one descriptor tells whether any is ready: an epoll set or a kqueue inside the
// event loop's own.
//
// libuv's uv_poll_t watches a descriptor itself, but makes its open file non-blocking, under the hands of every
// process that shares it, and takes each descriptor only once. The set touches nothing.
//
// Interests are one-shot. A forked child closes its copy of the set: removing something from it would remove it
// for the parent as well.
#pragma once

#if !defined(_WIN32)

#include <vector>

#include "core/fd.h"
#include "core/result.h"

namespace mp::core {

class Readiness {
 public:
  static Result<Readiness> Create();

  int fd() const { return set_.get(); }
  // Once `fd` is readable (or has ended), or writable with `write`. Replaces an earlier interest in `fd`.
  Result<void> Add(int fd, bool read, bool write);
  // Nothing happens where `fd` is not in the set, or closed by now.
  void Remove(int fd);
  // Forgets which descriptors became ready. False: none was.
  bool Drain();

 private:
  explicit Readiness(UniqueFd set) : set_(std::move(set)) {}
  UniqueFd set_;
};

}  // namespace mp::core

#endif
