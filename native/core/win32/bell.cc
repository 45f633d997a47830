// Bells are events that stay set until they are reset. Who attaches to one finds it by its identity, which is its name.
#if defined(_WIN32)

#include "core/bell.h"

#include <cerrno>
#include <cwchar>
#include <iterator>

#include "core/win32/handles.h"
#include "core/win32/streams.h"

namespace mp::core {

namespace {

UniqueHandle EventOf(const FileIdentity& identity) {
  wchar_t name[64];
  swprintf(name, std::size(name), L"Local\\nmp-bell-%016llx%016llx",
           static_cast<unsigned long long>(identity.device),
           static_cast<unsigned long long>(identity.inode));
  return UniqueHandle(CreateEventW(nullptr, TRUE, FALSE, name));
}

}  // namespace

Result<Bell> Bell::Create() {
  Bell bell;
  if (!FillWithChance(&bell.identity_, sizeof(bell.identity_))) {
    return OsError{EIO, "RtlGenRandom"};
  }
  UniqueHandle event = EventOf(bell.identity_);
  if (!event.valid()) return WindowsError("CreateEvent");
  bell.read_ = OwnFd(event.Release());
  return bell;
}

// What came along has kept the name alive until here.
Result<Bell> Bell::Attach(UniqueFd, UniqueFd, const FileIdentity& identity) {
  UniqueHandle event = EventOf(identity);
  if (!event.valid()) return WindowsError("CreateEvent");
  Bell bell;
  bell.identity_ = identity;
  bell.read_ = OwnFd(event.Release());
  return bell;
}

Result<FileIdentity> Bell::Identity() const { return identity_; }

Bell Bell::AtSocket(int fd) {
  Bell bell;
  bell.socket_ = fd;
  return bell;
}

void Bell::Ring() const {
  // A stream that is full is readable: it rings already.
  if (socket_ >= 0) {
    (void)WriteStream(HandleOf(socket_), &kRing, 1, Deadline::AfterMs(0));
  } else {
    RingOwn();
  }
}

void Bell::RingOwn() const { SetEvent(HandleOf(read_.get())); }
void Bell::Reset() const { ResetEvent(HandleOf(read_.get())); }

}  // namespace mp::core

#endif
