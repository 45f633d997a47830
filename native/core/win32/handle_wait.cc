#if defined(_WIN32)

#include "core/win32/handle_wait.h"

namespace mp::core {

Result<std::unique_ptr<HandleWait>> HandleWait::Begin(int fd, DWORD limit_ms,
                                                      std::function<void()> notify) {
  auto copy = Duplicate(fd);
  if (!copy.ok()) return copy.error();
  std::unique_ptr<HandleWait> wait(new HandleWait(std::move(copy.value()), std::move(notify)));
  HANDLE waitable = HandleOf(wait->copy_.get());
  if (GetFileType(waitable) == FILE_TYPE_PIPE) {
    auto stream = StreamWatch::Begin(waitable);
    if (!stream.ok()) return stream.error();
    wait->stream_ = std::move(stream.value());
    waitable = wait->stream_->event();
  }
  const auto fire = [](void* self, BOOLEAN) { static_cast<HandleWait*>(self)->notify_(); };
  if (!RegisterWaitForSingleObject(&wait->wait_, waitable, fire, wait.get(), limit_ms,
                                   WT_EXECUTEONLYONCE)) {
    wait->wait_ = nullptr;
    return WindowsError("RegisterWaitForSingleObject");
  }
  return wait;
}

HandleWait::~HandleWait() {
  if (wait_ != nullptr) UnregisterWaitEx(wait_, INVALID_HANDLE_VALUE);
}

}  // namespace mp::core

#endif
