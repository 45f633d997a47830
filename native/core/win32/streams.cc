#if defined(_WIN32)

#include "core/win32/streams.h"

#include <algorithm>
#include <cerrno>
#include <string>

namespace mp::core {

namespace {

constexpr DWORD kBufferBytes = 64 << 10;
// So much at once is written as a whole.
constexpr size_t kPieceBytes = 16 << 10;
// So long the system may take to answer what can be answered at once.
constexpr DWORD kAnswerMs = 50;

UniqueHandle NewEvent() { return UniqueHandle(CreateEventW(nullptr, TRUE, FALSE, nullptr)); }

// Of the thread's calls that wait for their own end.
HANDLE OwnEvent() {
  thread_local UniqueHandle event = NewEvent();
  return event.get();
}

// FILE_PIPE_LOCAL_INFORMATION of the driver kit.
struct LocalInformation {
  ULONG type;
  ULONG configuration;
  ULONG maximum_instances;
  ULONG current_instances;
  ULONG inbound_quota;
  ULONG read_data_available;
  ULONG outbound_quota;
  ULONG write_quota_available;
  ULONG state;
  ULONG end;
};
constexpr ULONG kConnected = 3;
constexpr int kFilePipeLocalInformation = 24;

struct IoStatus {
  void* status;
  ULONG_PTR information;
};
using QueryInformation = LONG(NTAPI*)(HANDLE, IoStatus*, void*, ULONG, int);

QueryInformation FindQuery() {
  const FARPROC found = GetProcAddress(GetModuleHandleW(L"ntdll.dll"), "NtQueryInformationFile");
  return reinterpret_cast<QueryInformation>(reinterpret_cast<void*>(found));
}

bool IsEnd(DWORD error) {
  return error == ERROR_BROKEN_PIPE || error == ERROR_PIPE_NOT_CONNECTED || error == ERROR_NO_DATA;
}

}  // namespace

Result<FdPair> MakeStream() {
  const auto chance = RandomName();
  if (!chance.ok()) return chance.error();
  const std::wstring name = L"\\\\.\\pipe\\node-multiprocessing-" + chance.value();
  constexpr DWORD kOpen = PIPE_ACCESS_DUPLEX | FILE_FLAG_OVERLAPPED | FILE_FLAG_FIRST_PIPE_INSTANCE;
  constexpr DWORD kMode = PIPE_TYPE_BYTE | PIPE_READMODE_BYTE | PIPE_REJECT_REMOTE_CLIENTS;
  UniqueHandle first(
      CreateNamedPipeW(name.c_str(), kOpen, kMode, 1, kBufferBytes, kBufferBytes, 0, nullptr));
  if (!first.valid()) return WindowsError("CreateNamedPipe");
  UniqueHandle second(CreateFileW(name.c_str(), GENERIC_READ | GENERIC_WRITE, 0, nullptr,
                                  OPEN_EXISTING, FILE_FLAG_OVERLAPPED, nullptr));
  if (!second.valid()) return WindowsError("CreateFile");
  return FdPair{OwnFd(first.Release()), OwnFd(second.Release())};
}

StreamState LookAtStream(HANDLE stream) {
  static const QueryInformation query = FindQuery();
  LocalInformation about{};
  IoStatus status{};
  if (query(stream, &status, &about, sizeof(about), kFilePipeLocalInformation) >= 0) {
    return {about.read_data_available, about.write_quota_available, about.state != kConnected};
  }
  // An end that was opened for one direction only.
  DWORD available = 0;
  const bool there = PeekNamedPipe(stream, nullptr, 0, nullptr, &available, nullptr);
  return {available, 1, !there && IsEnd(GetLastError())};
}

size_t PeekStream(HANDLE stream, void* data, size_t size) {
  DWORD got = 0;
  if (!PeekNamedPipe(stream, data, static_cast<DWORD>(size), &got, nullptr, nullptr)) return 0;
  return got;
}

// Wine says that there is no room, whatever there is.
bool StreamsTellRoom() {
  static const bool tells = [] {
    const auto fresh = MakeStream();
    return fresh.ok() && LookAtStream(HandleOf(fresh.value().first.get())).room > 0;
  }();
  return tells;
}

Result<size_t> ReadStream(HANDLE stream, void* data, size_t size) {
  // What another reader may have taken by now is not waited for.
  DWORD available = 0;
  if (!PeekNamedPipe(stream, nullptr, 0, nullptr, &available, nullptr)) {
    if (IsEnd(GetLastError())) return size_t{0};
    return WindowsError("read");
  }
  if (available == 0) return OsError{EAGAIN, "read"};
  OVERLAPPED overlapped{};
  overlapped.hEvent = OwnEvent();
  const auto most = static_cast<DWORD>(std::min<size_t>(size, available));
  DWORD got = 0;
  if (!ReadFile(stream, data, most, nullptr, &overlapped)) {
    if (GetLastError() != ERROR_IO_PENDING) {
      if (IsEnd(GetLastError())) return size_t{0};
      return WindowsError("read");
    }
    if (WaitForSingleObject(overlapped.hEvent, kAnswerMs) != WAIT_OBJECT_0) {
      CancelIoEx(stream, &overlapped);
    }
  }
  if (!GetOverlappedResult(stream, &overlapped, &got, TRUE)) {
    if (GetLastError() == ERROR_OPERATION_ABORTED) return OsError{EAGAIN, "read"};
    if (IsEnd(GetLastError())) return size_t{0};
    return WindowsError("read");
  }
  return size_t{got};
}

Result<size_t> WriteStream(HANDLE stream, const void* data, size_t size, const Deadline& deadline) {
  // A write that the buffer has room for is done at once; others are not begun before it has, because a write that is
  // called off may have been read in part.
  constexpr int64_t kNapMs = 1;
  const size_t most = std::min(size, kPieceBytes);
  for (;;) {
    const StreamState state = LookAtStream(stream);
    if (state.hung_up) return OsError{EPIPE, "write"};
    if (state.room >= most || !StreamsTellRoom()) break;
    if (deadline.passed()) return OsError{EAGAIN, "write"};
    Sleep(WaitMs(deadline, kNapMs));
  }
  OVERLAPPED overlapped{};
  overlapped.hEvent = OwnEvent();
  overlapped.Offset = overlapped.OffsetHigh = 0xffffffff;
  DWORD written = 0;
  if (!WriteFile(stream, data, static_cast<DWORD>(most), nullptr, &overlapped) &&
      GetLastError() != ERROR_IO_PENDING) {
    return WindowsError("write");
  }
  while (WaitForSingleObject(overlapped.hEvent, std::max(kAnswerMs, WaitMs(deadline))) !=
         WAIT_OBJECT_0) {
    if (deadline.passed()) CancelIoEx(stream, &overlapped);
  }
  if (!GetOverlappedResult(stream, &overlapped, &written, TRUE)) {
    if (GetLastError() == ERROR_OPERATION_ABORTED) return OsError{EAGAIN, "write"};
    return WindowsError("write");
  }
  return size_t{written};
}

StreamWatch::StreamWatch(HANDLE stream, UniqueHandle event)
    : stream_(stream), event_(std::move(event)) {
  overlapped_.hEvent = event_.get();
}

Result<std::unique_ptr<StreamWatch>> StreamWatch::Begin(HANDLE stream) {
  UniqueHandle event = NewEvent();
  if (!event.valid()) return WindowsError("CreateEvent");
  std::unique_ptr<StreamWatch> watch(new StreamWatch(stream, std::move(event)));
  static char nothing;
  if (ReadFile(stream, &nothing, 0, nullptr, &watch->overlapped_) ||
      GetLastError() == ERROR_IO_PENDING) {
    watch->pending_ = true;
  } else {
    // The end, or no stream at all: whoever looks finds out.
    SetEvent(watch->event());
  }
  return watch;
}

StreamWatch::~StreamWatch() {
  if (!pending_) return;
  DWORD none = 0;
  CancelIoEx(stream_, &overlapped_);
  GetOverlappedResult(stream_, &overlapped_, &none, TRUE);
}

}  // namespace mp::core

#endif
