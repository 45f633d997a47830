#include "core/bell.h"

#if !defined(_WIN32)

#include <sys/socket.h>
#include <unistd.h>

#if defined(__linux__)
#include <sys/eventfd.h>
#endif

#include <cstdint>

namespace mp::core {

#if defined(MSG_NOSIGNAL)
constexpr int kNoSignal = MSG_NOSIGNAL;
#else
constexpr int kNoSignal = 0;
#endif

Bell Bell::AtSocket(int fd) {
  Bell bell;
  bell.socket_ = fd;
  return bell;
}

void Bell::Ring() const {
  if (socket_ < 0) {
    RingOwn();
    return;
  }
  // A socket that is full is readable: it rings already.
  (void)RetryOnSignal([&] { return send(socket_, &kRing, 1, MSG_DONTWAIT | kNoSignal); });
}

#if defined(__linux__)

Result<Bell> Bell::Create() {
  Bell bell;
  bell.read_.Reset(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!bell.read_.valid()) return LastError("eventfd");
  return bell;
}

void Bell::RingOwn() const {
  const uint64_t one = 1;
  (void)RetryOnSignal([&] { return write(read_.get(), &one, sizeof(one)); });
}

void Bell::Reset() const {
  uint64_t count;
  (void)RetryOnSignal([&] { return read(read_.get(), &count, sizeof(count)); });
}

#else

Result<Bell> Bell::Create() {
  auto pipe = MakePipe(true);
  if (!pipe.ok()) return pipe.error();
  for (const UniqueFd* end : {&pipe.value().first, &pipe.value().second}) {
    const auto set = SetBlocking(end->get(), false);
    if (!set.ok()) return set.error();
  }
  Bell bell;
  bell.read_ = std::move(pipe.value().first);
  bell.write_ = std::move(pipe.value().second);
  return bell;
}

void Bell::RingOwn() const {
  const char one = 1;
  (void)RetryOnSignal([&] { return write(write_.get(), &one, 1); });
}

void Bell::Reset() const {
  char bytes[512];
  while (RetryOnSignal([&] { return read(read_.get(), bytes, sizeof(bytes)); }) > 0) {
  }
}

#endif

void Bell::Close() {
  read_.Reset();
  write_.Reset();
}

}  // namespace mp::core

#endif  // !_WIN32
