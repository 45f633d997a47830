// Waiting for a descriptor on the event loop: what the Async calls stand on. No thread of the pool is used.

#include <napi.h>
#include <uv.h>

#if defined(_WIN32)
#include <memory>

#include "core/win32/handle_wait.h"
#endif

#include "callback.h"
#include "errors.h"

namespace mp {
namespace {

#if defined(_WIN32)

// What stands for uv_poll_t, which on Windows knows sockets alone: a thread of the system's waits, and wakes the loop.
class Poll {
 public:
  // Null: it cannot be had, which JavaScript has been told.
  static Poll* Begin(Napi::Env env, int fd, void* data, void (*ready)(void* data)) {
    uv_loop_t* loop = nullptr;
    napi_get_uv_event_loop(env, &loop);
    auto* poll = new Poll(data, ready);
    uv_async_init(loop, &poll->async_, [](uv_async_t* async) {
      auto* self = static_cast<Poll*>(async->data);
      self->ready_(self->data_);
    });
    poll->async_.data = poll;
    auto wait = core::HandleWait::Begin(fd, INFINITE, [poll] { uv_async_send(&poll->async_); });
    if (!wait.ok()) {
      ThrowErrno(env, wait.error().errnum, wait.error().syscall);
      End(poll);
      return nullptr;
    }
    poll->wait_ = std::move(wait.value());
    return poll;
  }

  static void End(Poll* poll) {
    poll->wait_.reset();
    uv_close(reinterpret_cast<uv_handle_t*>(&poll->async_),
             [](uv_handle_t* handle) { delete static_cast<Poll*>(handle->data); });
  }

 private:
  Poll(void* data, void (*ready)(void* data)) : data_(data), ready_(ready) {}
  uv_async_t async_;
  void* data_;
  void (*ready_)(void* data);
  std::unique_ptr<core::HandleWait> wait_;
};

#else

class Poll {
 public:
  static Poll* Begin(Napi::Env env, int fd, void* data, void (*ready)(void* data)) {
    uv_loop_t* loop = nullptr;
    napi_get_uv_event_loop(env, &loop);
    auto* poll = new Poll{{}, data, ready};
    const int status = uv_poll_init(loop, &poll->handle_, fd);
    if (status != 0) {
      delete poll;
      ThrowErrno(env, -status, "uv_poll_init");
      return nullptr;
    }
    poll->handle_.data = poll;
    uv_poll_start(&poll->handle_, UV_READABLE | UV_DISCONNECT, [](uv_poll_t* handle, int, int) {
      auto* self = static_cast<Poll*>(handle->data);
      self->ready_(self->data_);
    });
    return poll;
  }

  static void End(Poll* poll) {
    uv_poll_stop(&poll->handle_);
    uv_close(reinterpret_cast<uv_handle_t*>(&poll->handle_),
             [](uv_handle_t* handle) { delete static_cast<Poll*>(handle->data); });
  }

  uv_poll_t handle_;
  void* data_;
  void (*ready_)(void* data);
};

#endif

// watchReadable(fd, onReady): one-shot. The object lives until it has fired or was stopped, whatever
// JavaScript keeps; then libuv closes the handle, and only after that the memory goes.
class FdWatch : public Napi::ObjectWrap<FdWatch> {
 public:
  static Napi::Function Define(Napi::Env env) {
    return DefineClass(env, "FdWatch", {InstanceMethod<&FdWatch::Stop>("stop")});
  }

  explicit FdWatch(const Napi::CallbackInfo& info)
      : Napi::ObjectWrap<FdWatch>(info), context_(info.Env(), "FdWatch") {
    poll_ = Poll::Begin(info.Env(), info[0].As<Napi::Number>().Int32Value(), this,
                        [](void* watch) { static_cast<FdWatch*>(watch)->Fire(); });
    if (poll_ == nullptr) return;
    callback_ = Napi::Persistent(info[1].As<Napi::Function>());
    Ref();
  }

  ~FdWatch() override { EndPoll(); }

 private:
  void Fire() {
    Napi::Env env = Env();
    Napi::HandleScope scope(env);
    Napi::Function callback = callback_.Value();
    Finish();
    CallBack(callback, {}, context_);
  }

  void Stop(const Napi::CallbackInfo&) { Finish(); }

  void Finish() {
    if (poll_ == nullptr) return;
    EndPoll();
    callback_.Reset();
    Unref();
  }

  void EndPoll() {
    if (poll_ != nullptr) Poll::End(poll_);
    poll_ = nullptr;
  }

  // async_hooks and AsyncLocalStorage follow the callback by it.
  Napi::AsyncContext context_;
  Poll* poll_ = nullptr;
  Napi::FunctionReference callback_;
};

}  // namespace

void InitFdWatch(Napi::Env env, Napi::Object exports) {
  Napi::Function constructor = FdWatch::Define(env);
  // The constructor lives as long as the environment: the exported function holds it.
  auto* held = new Napi::FunctionReference(Napi::Persistent(constructor));
  env.AddCleanupHook([](Napi::FunctionReference* reference) { delete reference; }, held);
  exports["watchReadable"] = Napi::Function::New(
      env,
      [held](const Napi::CallbackInfo& info) -> Napi::Value {
        return held->New({info[0], info[1]});
      },
      "watchReadable");
}

}  // namespace mp
