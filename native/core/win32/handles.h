// Windows' counterpart of a descriptor: the number of a handle.
//
// Everything above native/core knows descriptors: small numbers that are waited for, passed on and closed. Here such a
// number is the handle itself, which fits (Windows uses 32 bits of one) and is the same in no other process. What the
// descriptors of the package are:
//   the memory of a segment         a section, without a name
//   the socket of a pipe's end      one end of a named pipe (streams.h)
//   a bell                          an event, by the name of its identity
//   what tells of a process's end   the process
// 0, 1 and 2 are the standard handles, to be written to. The numbers that node gives for files (`fs.openSync`) are of
// its C library's, and mean nothing here: so /posix refuses them all.
#ifndef MP_CORE_WIN32_HANDLES_H_
#define MP_CORE_WIN32_HANDLES_H_

#include <windows.h>

#include <cstdint>
#include <string>
#include <utility>

#include "core/fd.h"
#include "core/result.h"

namespace mp::core {

// As poll(2) has them on Linux.
constexpr int32_t kPollIn = 1;
constexpr int32_t kPollOut = 4;
constexpr int32_t kPollHangUp = 16;
constexpr int32_t kPollInvalid = 32;

inline HANDLE HandleOf(int fd) {
  return reinterpret_cast<HANDLE>(static_cast<intptr_t>(static_cast<uint32_t>(fd)));
}
inline int FdOf(HANDLE handle) { return static_cast<int>(reinterpret_cast<intptr_t>(handle)); }
inline UniqueFd OwnFd(HANDLE handle) { return UniqueFd(FdOf(handle)); }

// Handles are multiples of 4: the kernel ignores the last bits, and would take another number for them.
inline bool IsHandle(int fd) { return fd > 0 && fd % 4 == 0; }

// The errno of a Windows error. EIO where there is none: then this thread remembers the error, for the message.
int ErrnoOf(DWORD error);
DWORD LastWithoutErrno();
inline OsError WindowsError(const char* call) { return OsError{ErrnoOf(GetLastError()), call}; }

// Milliseconds to wait for, at most `slice`; rounded up, so that waiting it out reaches the deadline.
DWORD WaitMs(const Deadline& deadline, int64_t slice_ms = 60'000);

std::wstring Wide(const std::string& utf8);
// 32 hexadecimal digits of chance.
Result<std::wstring> RandomName();
bool FillWithChance(void* data, size_t size);

// Closes by itself.
class UniqueHandle {
 public:
  explicit UniqueHandle(HANDLE handle = nullptr) : handle_(handle) {}
  UniqueHandle(UniqueHandle&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
  UniqueHandle& operator=(UniqueHandle&& other) noexcept {
    if (this != &other) {
      Close();
      handle_ = std::exchange(other.handle_, nullptr);
    }
    return *this;
  }
  UniqueHandle(const UniqueHandle&) = delete;
  UniqueHandle& operator=(const UniqueHandle&) = delete;
  ~UniqueHandle() { Close(); }

  HANDLE get() const { return handle_; }
  bool valid() const { return handle_ != nullptr && handle_ != INVALID_HANDLE_VALUE; }
  HANDLE Release() { return std::exchange(handle_, nullptr); }

 private:
  void Close() {
    if (valid()) CloseHandle(handle_);
    handle_ = nullptr;
  }
  HANDLE handle_;
};

}  // namespace mp::core

#endif  // MP_CORE_WIN32_HANDLES_H_
