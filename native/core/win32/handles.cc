#if defined(_WIN32)

#include "core/win32/handles.h"

// Before ntsecapi's RtlGenRandom there is nothing to include.
extern "C" BOOLEAN NTAPI SystemFunction036(PVOID buffer, ULONG length);

#include <algorithm>
#include <cerrno>
#include <climits>
#include <memory>
#include <vector>

#include "core/win32/streams.h"

namespace mp::core {

namespace {

thread_local DWORD t_without_errno = 0;

}  // namespace

DWORD LastWithoutErrno() { return t_without_errno; }

int ErrnoOf(DWORD error) {
  switch (error) {
    case ERROR_SUCCESS:
      return 0;
    case ERROR_FILE_NOT_FOUND:
    case ERROR_PATH_NOT_FOUND:
    case ERROR_INVALID_NAME:
    case ERROR_BAD_PATHNAME:
    case ERROR_DIRECTORY:
      return ENOENT;
    case ERROR_ACCESS_DENIED:
    case ERROR_SHARING_VIOLATION:
    case ERROR_PRIVILEGE_NOT_HELD:
      return EACCES;
    case ERROR_INVALID_HANDLE:
      return EBADF;
    case ERROR_NOT_ENOUGH_MEMORY:
    case ERROR_OUTOFMEMORY:
    case ERROR_COMMITMENT_LIMIT:
    case ERROR_NO_SYSTEM_RESOURCES:
    case ERROR_PAGEFILE_QUOTA:
    case ERROR_WORKING_SET_QUOTA:
      return ENOMEM;
    case ERROR_TOO_MANY_OPEN_FILES:
      return EMFILE;
    case ERROR_ALREADY_EXISTS:
    case ERROR_FILE_EXISTS:
      return EEXIST;
    case ERROR_BROKEN_PIPE:
    case ERROR_NO_DATA:
    case ERROR_PIPE_NOT_CONNECTED:
      return EPIPE;
    case ERROR_DISK_FULL:
      return ENOSPC;
    case ERROR_INVALID_PARAMETER:
      return EINVAL;
    case ERROR_BAD_EXE_FORMAT:
    case ERROR_EXE_MACHINE_TYPE_MISMATCH:
      return ENOEXEC;
    case ERROR_FILENAME_EXCED_RANGE:
      return ENAMETOOLONG;
    default:
      t_without_errno = error;
      return EIO;
  }
}

DWORD WaitMs(const Deadline& deadline, int64_t slice_ms) {
  const int64_t ms = (deadline.RemainingNs() + 999'999) / 1'000'000;
  return static_cast<DWORD>(std::min(ms, slice_ms));
}

std::wstring Wide(const std::string& utf8) {
  if (utf8.empty()) return {};
  const int size = static_cast<int>(utf8.size());
  std::wstring wide(MultiByteToWideChar(CP_UTF8, 0, utf8.data(), size, nullptr, 0), L'\0');
  MultiByteToWideChar(CP_UTF8, 0, utf8.data(), size, &wide[0], static_cast<int>(wide.size()));
  return wide;
}

bool FillWithChance(void* data, size_t size) {
  return SystemFunction036(data, static_cast<ULONG>(size)) != 0;
}

Result<std::wstring> RandomName() {
  unsigned char bytes[16];
  if (!FillWithChance(bytes, sizeof(bytes))) return OsError{EIO, "RtlGenRandom"};
  constexpr wchar_t kDigits[] = L"0123456789abcdef";
  std::wstring name;
  for (const unsigned char byte : bytes) {
    name += kDigits[byte >> 4];
    name += kDigits[byte & 15];
  }
  return name;
}

// ---- fd.h ----

namespace {

HANDLE StandardHandle(int fd) {
  constexpr DWORD kNames[] = {STD_INPUT_HANDLE, STD_OUTPUT_HANDLE, STD_ERROR_HANDLE};
  return GetStdHandle(kNames[fd]);
}

bool IsStandard(int fd) { return fd >= 0 && fd <= 2; }

OsError BadFd(const char* call) { return OsError{EBADF, call}; }

bool IsStream(HANDLE handle) { return GetFileType(handle) == FILE_TYPE_PIPE; }

}  // namespace

void UniqueFd::Reset(int fd) {
  const int old = std::exchange(fd_, fd);
  if (!IsHandle(old)) return;
  const DWORD saved = GetLastError();
  CloseHandle(HandleOf(old));
  SetLastError(saved);
}

Result<FdPair> MakePipe(bool) { return MakeStream(); }
Result<FdPair> MakeSocketPair(int, bool) { return MakeStream(); }

Result<size_t> ReadSome(int fd, void* data, size_t size) {
  if (!IsHandle(fd) || !IsStream(HandleOf(fd))) return BadFd("read");
  for (;;) {
    const auto got = ReadStream(HandleOf(fd), data, size);
    if (got.ok() || got.error().errnum != EAGAIN) return got;
    PollSlot slot{fd, kPollIn, 0};
    const auto ready = PollFds(&slot, 1, Deadline::Never());
    if (!ready.ok()) return ready.error();
  }
}

Result<size_t> WriteSome(int fd, const void* data, size_t size) {
  if (IsStandard(fd)) {
    const HANDLE handle = StandardHandle(fd);
    if (handle == nullptr || handle == INVALID_HANDLE_VALUE) return BadFd("write");
    if (IsStream(handle)) return WriteStream(handle, data, size, Deadline::Never());
    DWORD written = 0;
    const auto most = static_cast<DWORD>(std::min<size_t>(size, 1 << 20));
    if (!WriteFile(handle, data, most, &written, nullptr)) return WindowsError("write");
    return size_t{written};
  }
  if (!IsHandle(fd) || !IsStream(HandleOf(fd))) return BadFd("write");
  return WriteStream(HandleOf(fd), data, size, Deadline::Never());
}

Result<void> WriteAll(int fd, const void* data, size_t size) {
  const char* at = static_cast<const char*>(data);
  while (size > 0) {
    const auto written = WriteSome(fd, at, size);
    if (!written.ok()) return written.error();
    at += written.value();
    size -= written.value();
  }
  return {};
}

Result<void> CloseFd(int fd) {
  if (!IsHandle(fd)) return BadFd("close");
  if (!CloseHandle(HandleOf(fd))) return WindowsError("close");
  return {};
}

Result<UniqueFd> Duplicate(int fd) {
  if (!IsHandle(fd)) return BadFd("dup");
  HANDLE copy = nullptr;
  const HANDLE self = GetCurrentProcess();
  if (!DuplicateHandle(self, HandleOf(fd), self, &copy, 0, FALSE, DUPLICATE_SAME_ACCESS)) {
    return WindowsError("dup");
  }
  return OwnFd(copy);
}

Result<void> DuplicateOnto(int, int, bool) { return OsError{ENOSYS, "dup2"}; }

Result<void> SetInheritable(int fd, bool inheritable) {
  if (!IsHandle(fd)) return BadFd("setInheritable");
  const DWORD flag = inheritable ? HANDLE_FLAG_INHERIT : 0;
  if (!SetHandleInformation(HandleOf(fd), HANDLE_FLAG_INHERIT, flag)) {
    return WindowsError("setInheritable");
  }
  return {};
}

Result<bool> GetInheritable(int fd) {
  DWORD flags = 0;
  if (!IsHandle(fd)) return BadFd("getInheritable");
  if (!GetHandleInformation(HandleOf(fd), &flags)) return WindowsError("getInheritable");
  return (flags & HANDLE_FLAG_INHERIT) != 0;
}

Result<UniqueFd> MakeMemoryFile(const char*) { return OsError{ENOSYS, "memfd_create"}; }
Result<void> FreezeMemoryFile(int) { return OsError{ENOSYS, "memfd_create"}; }

Result<void> SetBlocking(int, bool) { return OsError{ENOSYS, "setBlocking"}; }
Result<bool> GetBlocking(int) { return OsError{ENOSYS, "getBlocking"}; }
bool IsTty(int) { return false; }

// ---- waiting ----

namespace {

// What it has to say at this moment.
int32_t Look(const PollSlot& slot) {
  if (!IsHandle(slot.fd)) return slot.fd < 0 ? 0 : kPollInvalid;
  const HANDLE handle = HandleOf(slot.fd);
  if (IsStream(handle)) {
    const StreamState state = LookAtStream(handle);
    int32_t revents = state.hung_up ? kPollHangUp : 0;
    if (state.available > 0 || state.hung_up) revents |= slot.events & kPollIn;
    if (state.room > 0 || state.hung_up || !StreamsTellRoom()) revents |= slot.events & kPollOut;
    return revents;
  }
  switch (WaitForSingleObject(handle, 0)) {
    case WAIT_OBJECT_0:
    case WAIT_ABANDONED:
      return slot.events & kPollIn;
    case WAIT_TIMEOUT:
      return 0;
    default:
      return kPollInvalid;
  }
}

}  // namespace

Result<int> PollFds(PollSlot* slots, size_t count, const Deadline& deadline) {
  // Beyond them, and for room to write, there are only naps.
  constexpr size_t kMostWaits = MAXIMUM_WAIT_OBJECTS;
  constexpr int64_t kNapMs = 5;
  for (;;) {
    int ready = 0;
    for (size_t i = 0; i < count; i++) {
      slots[i].revents = Look(slots[i]);
      if (slots[i].revents != 0) ready++;
    }
    if (ready > 0 || deadline.passed()) return ready;

    std::vector<HANDLE> handles;
    std::vector<std::unique_ptr<StreamWatch>> watches;
    bool all = true;
    for (size_t i = 0; i < count; i++) {
      if (slots[i].fd < 0) continue;
      if ((slots[i].events & kPollOut) != 0) all = false;
      if ((slots[i].events & kPollIn) == 0) continue;
      if (handles.size() == kMostWaits) {
        all = false;
        break;
      }
      const HANDLE handle = HandleOf(slots[i].fd);
      if (IsStream(handle)) {
        auto watch = StreamWatch::Begin(handle);
        if (!watch.ok()) return watch.error();
        handles.push_back(watch.value()->event());
        watches.push_back(std::move(watch.value()));
      } else {
        handles.push_back(handle);
      }
    }
    const DWORD wait = WaitMs(deadline, all ? 60'000 : kNapMs);
    if (handles.empty()) {
      Sleep(wait);
    } else {
      WaitForMultipleObjects(static_cast<DWORD>(handles.size()), handles.data(), FALSE, wait);
    }
  }
}

Result<bool> WaitUntilReady(int fd, bool writing, const Deadline& deadline) {
  PollSlot slot{fd, writing ? kPollOut : kPollIn, 0};
  const auto ready = PollFds(&slot, 1, deadline);
  if (!ready.ok()) return ready.error();
  return ready.value() > 0;
}

}  // namespace mp::core

#endif
