// Waiting for a descriptor on the event loop: what the Async calls stand on. No thread of the pool is used.

#include <napi.h>
#include <uv.h>

#include "callback.h"
#include "errors.h"

namespace mp {
namespace {

#if !defined(_WIN32)

// watchReadable(fd, onReady): one-shot. The object lives until it has fired or was stopped, whatever
// JavaScript keeps; then libuv closes the handle, and only after that the memory goes.
class FdWatch : public Napi::ObjectWrap<FdWatch> {
 public:
  static Napi::Function Define(Napi::Env env) {
    return DefineClass(env, "FdWatch", {InstanceMethod<&FdWatch::Stop>("stop")});
  }

  explicit FdWatch(const Napi::CallbackInfo& info)
      : Napi::ObjectWrap<FdWatch>(info), context_(info.Env(), "FdWatch") {
    Napi::Env env = info.Env();
    uv_loop_t* loop = nullptr;
    napi_get_uv_event_loop(env, &loop);
    handle_ = new uv_poll_t;
    const int status = uv_poll_init(loop, handle_, info[0].As<Napi::Number>().Int32Value());
    if (status != 0) {
      delete handle_;
      handle_ = nullptr;
      ThrowErrno(env, -status, "uv_poll_init");
      return;
    }
    handle_->data = this;
    callback_ = Napi::Persistent(info[1].As<Napi::Function>());
    uv_poll_start(handle_, UV_READABLE | UV_DISCONNECT,
                  [](uv_poll_t* handle, int, int) { static_cast<FdWatch*>(handle->data)->Fire(); });
    Ref();
  }

  ~FdWatch() override { CloseHandle(); }

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
    if (handle_ == nullptr) return;
    CloseHandle();
    callback_.Reset();
    Unref();
  }

  void CloseHandle() {
    if (handle_ == nullptr) return;
    uv_poll_stop(handle_);
    uv_close(reinterpret_cast<uv_handle_t*>(handle_),
             [](uv_handle_t* handle) { delete reinterpret_cast<uv_poll_t*>(handle); });
    handle_ = nullptr;
  }

  // async_hooks and AsyncLocalStorage follow the callback by it.
  Napi::AsyncContext context_;
  uv_poll_t* handle_ = nullptr;
  Napi::FunctionReference callback_;
};

#endif

}  // namespace

void InitFdWatch(Napi::Env env, Napi::Object exports) {
#if !defined(_WIN32)
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
#else
  (void)env;
  (void)exports;
#endif
}

}  // namespace mp
