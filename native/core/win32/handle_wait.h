// Being told when a descriptor becomes readable: for event loops, which on Windows watch no handles of others.
#ifndef MP_CORE_WIN32_HANDLE_WAIT_H_
#define MP_CORE_WIN32_HANDLE_WAIT_H_

#include <windows.h>

#include <functional>
#include <memory>

#include "core/fd.h"
#include "core/win32/handles.h"
#include "core/win32/streams.h"

namespace mp::core {

// One wait, by the system's threads for it. It has a copy of the handle, so that whoever closes the descriptor
// meanwhile takes nothing away.
class HandleWait {
 public:
  // `notify` is called once, on another thread, when it is readable, or after `limit_ms`.
  static Result<std::unique_ptr<HandleWait>> Begin(int fd, DWORD limit_ms,
                                                   std::function<void()> notify);
  // Afterwards it is not called, and is not being called.
  ~HandleWait();
  HandleWait(const HandleWait&) = delete;
  HandleWait& operator=(const HandleWait&) = delete;

 private:
  HandleWait(UniqueFd copy, std::function<void()> notify)
      : copy_(std::move(copy)), notify_(std::move(notify)) {}
  UniqueFd copy_;
  std::function<void()> notify_;
  std::unique_ptr<StreamWatch> stream_;
  HANDLE wait_ = nullptr;
};

}  // namespace mp::core

#endif  // MP_CORE_WIN32_HANDLE_WAIT_H_
