// Frames over descriptors, and waiting for descriptors on the event loop: what src/transport.ts stands on.
//
// Arguments arrive checked. A frame that is being received has its state in a Float64Array of JavaScript's, and
// the bytes in buffers of JavaScript's, so nothing here has to be found, freed or forked.

#include <napi.h>
#include <uv.h>

#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include "core/frame.h"
#include "core/readiness.h"
#if defined(_WIN32)
#include <unordered_map>

#include "core/win32/handle_wait.h"
#endif

#include "binding/callback.h"
#include "binding/errors.h"
#include "binding/values.h"

namespace mp {

namespace {

core::FrameState* StateOf(const Napi::CallbackInfo& info) {
  return reinterpret_cast<core::FrameState*>(BytesOf(info.Env(), info[1]).data);
}

// receiveFrame(fd, state, room, roomBytes, timeoutMs, fds?) → the payload's length, or a FrameOutcome. `fds`, an
// array, takes the descriptors that came along.
Napi::Value ReceiveFrame(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const int fd = Int(info, 0);
  const Bytes room = BytesOf(env, info[2]);
  const auto size = std::min(room.size, static_cast<size_t>(Number(info, 3)));
  const Wait wait(Number(info, 4));
  if (info.Length() < 6) {
    return Answer(env, core::ReceiveFrame(fd, StateOf(info), room.data, size, wait.deadline,
                                          wait.wait, nullptr));
  }
  std::vector<core::UniqueFd> fds;
  const auto result =
      core::ReceiveFrame(fd, StateOf(info), room.data, size, wait.deadline, wait.wait, &fds);
  auto list = info[5].As<Napi::Array>();
  for (core::UniqueFd& received : fds) {
    list.Set(list.Length(), Napi::Number::New(env, received.Release()));
  }
  return Answer(env, result);
}

// continueFrame(fd, state, payload, timeoutMs) → its length, or a FrameOutcome
Napi::Value ContinueFrame(const Napi::CallbackInfo& info) {
  const Bytes payload = BytesOf(info.Env(), info[2]);
  core::FrameState* state = StateOf(info);
  if (state->length < 0 || state->length > static_cast<double>(payload.size)) {
    ThrowRangeError(info.Env(), "the payload has another length");
    return info.Env().Undefined();
  }
  const Wait wait(Number(info, 3));
  return Answer(info.Env(),
                core::ContinueFrame(Int(info, 0), state, payload.data, wait.deadline, wait.wait));
}

// sendFrame(fd, bytes, offset, size, timeoutMs) → bytes of the frame that were sent, its header included
Napi::Value SendFrame(const Napi::CallbackInfo& info) {
  const Bytes bytes = BytesOf(info.Env(), info[1]);
  const auto offset = std::min(bytes.size, static_cast<size_t>(Number(info, 2)));
  const auto size = std::min(bytes.size - offset, static_cast<size_t>(Number(info, 3)));
  const core::FramePart part{bytes.data + offset, size};
  const Wait wait(Number(info, 4));
  static const std::vector<int> kNoFds;
  return Answer(info.Env(),
                core::SendFrame(Int(info, 0), &part, 1, kNoFds, 0, wait.deadline, wait.wait));
}

// sendFrameParts(fd, parts, fds, from, timeoutMs, pid?) → up to which byte of the frame it has come
Napi::Value SendFrameParts(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const auto parts = PartsOf<core::FramePart>(info[1]);
  const auto fds = IntsOf(info[2]);
  const Wait wait(Number(info, 4));
#if defined(_WIN32)
  if (info[5].IsNumber()) {
    return Answer(
        env, core::SendFrameTo(Int(info, 5), Int(info, 0), parts.data(), parts.size(), fds,
                               static_cast<size_t>(Number(info, 3)), wait.deadline, wait.wait));
  }
#endif
  return Answer(env,
                core::SendFrame(Int(info, 0), parts.data(), parts.size(), fds,
                                static_cast<size_t>(Number(info, 3)), wait.deadline, wait.wait));
}

// --- on the event loop ---------------------------------------------------------------------------

#if defined(_WIN32)

// As below. The waiting is done by threads of the system's, one wait for each descriptor, which wake the event loop.
class Watch : public Napi::ObjectWrap<Watch> {
 public:
  static Napi::Function Define(Napi::Env env) {
    return DefineClass(
        env, "Watch",
        {InstanceMethod<&Watch::Add>("add"), InstanceMethod<&Watch::Remove>("remove"),
         InstanceMethod<&Watch::Arm>("arm"), InstanceMethod<&Watch::Disarm>("disarm"),
         InstanceMethod<&Watch::Close>("close")});
  }

  explicit Watch(const Napi::CallbackInfo& info)
      : Napi::ObjectWrap<Watch>(info), context_(info.Env(), "Watch") {
    const Napi::Env env = info.Env();
    if (info[0].IsNumber()) {
      auto copy = core::Duplicate(Int(info, 0));
      if (!copy.ok()) {
        Throw(env, copy.error());
        return;
      }
      copy_ = std::move(copy.value());
    }
    uv_loop_t* loop = nullptr;
    napi_get_uv_event_loop(env, &loop);
    async_ = new uv_async_t;
    async_->data = this;
    uv_async_init(loop, async_,
                  [](uv_async_t* async) { static_cast<Watch*>(async->data)->Fire(); });
    uv_unref(reinterpret_cast<uv_handle_t*>(async_));
  }

  ~Watch() override { Release(); }

 private:
  // Room to write is not waited for, but looked for so often.
  static constexpr DWORD kNapMs = 5;

  void Add(const Napi::CallbackInfo& info) {
    if (async_ == nullptr) return;
    const int fd = Int(info, 0);
    const bool write = info[2].ToBoolean();
    Begin(info.Env(), fd, write ? kNapMs : INFINITE);
  }

  void Begin(Napi::Env env, int fd, DWORD limit_ms) {
    waits_.erase(fd);
    auto wait = core::HandleWait::Begin(fd, limit_ms, [async = async_] { uv_async_send(async); });
    if (!wait.ok()) {
      Throw(env, wait.error());
      return;
    }
    waits_[fd] = std::move(wait.value());
  }

  void Remove(const Napi::CallbackInfo& info) { waits_.erase(Int(info, 0)); }

  void Arm(const Napi::CallbackInfo& info) {
    if (async_ == nullptr) return;
    if (copy_.valid()) Begin(info.Env(), copy_.get(), INFINITE);
    if (info.Env().IsExceptionPending()) return;
    if (callback_.IsEmpty()) {
      Ref();
      uv_ref(reinterpret_cast<uv_handle_t*>(async_));
    }
    callback_ = Napi::Persistent(info[0].As<Napi::Function>());
  }

  void Disarm(const Napi::CallbackInfo&) { Rest(); }

  void Rest() {
    if (copy_.valid()) waits_.clear();
    if (callback_.IsEmpty()) return;
    callback_.Reset();
    if (async_ != nullptr) uv_unref(reinterpret_cast<uv_handle_t*>(async_));
    Unref();
  }

  void Close(const Napi::CallbackInfo&) {
    Rest();
    Release();
  }

  void Release() {
    if (async_ == nullptr) return;
    waits_.clear();
    uv_close(reinterpret_cast<uv_handle_t*>(async_),
             [](uv_handle_t* handle) { delete reinterpret_cast<uv_async_t*>(handle); });
    async_ = nullptr;
    copy_.Reset();
  }

  void Fire() {
    if (callback_.IsEmpty()) return;
    const Napi::Env env = Env();
    Napi::HandleScope scope(env);
    Napi::Function callback = callback_.Value();
    Rest();
    CallBack(callback, {}, context_);
  }

  Napi::AsyncContext context_;
  core::UniqueFd copy_;
  uv_async_t* async_ = nullptr;
  std::unordered_map<int, std::unique_ptr<core::HandleWait>> waits_;
  Napi::FunctionReference callback_;
};

#else

// One wait at a time for any of several descriptors. It holds a descriptor of its own until close(); while it is
// armed it keeps the event loop alive, and itself. Afterwards it holds nothing of JavaScript's, so that whoever
// owns it can be collected.
class Watch : public Napi::ObjectWrap<Watch> {
 public:
  static Napi::Function Define(Napi::Env env) {
    return DefineClass(
        env, "Watch",
        {InstanceMethod<&Watch::Add>("add"), InstanceMethod<&Watch::Remove>("remove"),
         InstanceMethod<&Watch::Arm>("arm"), InstanceMethod<&Watch::Disarm>("disarm"),
         InstanceMethod<&Watch::Close>("close")});
  }

  // Watch(): a set of descriptors. Watch(fd): a copy of that one, which must be non-blocking, for reading.
  explicit Watch(const Napi::CallbackInfo& info)
      : Napi::ObjectWrap<Watch>(info), context_(info.Env(), "Watch") {
    const Napi::Env env = info.Env();
    int fd = -1;
    if (info[0].IsNumber()) {
      // Its own: the event loop must have let go of a descriptor before it is closed.
      auto copy = core::Duplicate(Int(info, 0));
      if (!copy.ok()) {
        Throw(env, copy.error());
        return;
      }
      copy_ = std::move(copy.value());
      fd = copy_.get();
    } else {
      auto set = core::Readiness::Create();
      if (!set.ok()) {
        Throw(env, set.error());
        return;
      }
      set_.emplace(std::move(set.value()));
      fd = set_->fd();
    }
    uv_loop_t* loop = nullptr;
    napi_get_uv_event_loop(env, &loop);
    handle_ = new uv_poll_t;
    const int status = uv_poll_init(loop, handle_, fd);
    if (status != 0) {
      delete handle_;
      handle_ = nullptr;
      set_.reset();
      ThrowErrno(env, -status, "uv_poll_init");
      return;
    }
    handle_->data = this;
    uv_unref(reinterpret_cast<uv_handle_t*>(handle_));
    if (set_.has_value()) Start();
  }

  ~Watch() override { Release(); }

 private:
  // add(fd, read, write)
  void Add(const Napi::CallbackInfo& info) {
    if (!set_.has_value()) return;
    const auto added =
        set_->Add(Int(info, 0), info[1].ToBoolean().Value(), info[2].ToBoolean().Value());
    if (!added.ok()) Throw(info.Env(), added.error());
  }

  void Remove(const Napi::CallbackInfo& info) {
    if (set_.has_value()) set_->Remove(Int(info, 0));
  }

  // arm(onReady): calls back once
  void Arm(const Napi::CallbackInfo& info) {
    if (handle_ == nullptr) return;
    if (!started_) Start();
    if (callback_.IsEmpty()) {
      Ref();
      uv_ref(reinterpret_cast<uv_handle_t*>(handle_));
    }
    callback_ = Napi::Persistent(info[0].As<Napi::Function>());
  }

  void Disarm(const Napi::CallbackInfo&) { Rest(); }

  void Start() {
    started_ = true;
    uv_poll_start(handle_, UV_READABLE,
                  [](uv_poll_t* handle, int, int) { static_cast<Watch*>(handle->data)->Fire(); });
  }

  void Rest() {
    if (callback_.IsEmpty()) return;
    callback_.Reset();
    if (handle_ != nullptr) uv_unref(reinterpret_cast<uv_handle_t*>(handle_));
    Unref();
  }

  void Close(const Napi::CallbackInfo&) {
    Rest();
    Release();
  }

  void Release() {
    if (handle_ == nullptr) return;
    uv_poll_stop(handle_);
    uv_close(reinterpret_cast<uv_handle_t*>(handle_),
             [](uv_handle_t* handle) { delete reinterpret_cast<uv_poll_t*>(handle); });
    handle_ = nullptr;
    set_.reset();
    copy_.Reset();
  }

  void Fire() {
    if (set_.has_value()) {
      if (!set_->Drain()) return;
    } else if (callback_.IsEmpty()) {
      // It stays readable, and the next arm() is soon enough. Starting and stopping each time would cost two calls.
      uv_poll_stop(handle_);
      started_ = false;
    }
    if (callback_.IsEmpty()) return;
    const Napi::Env env = Env();
    Napi::HandleScope scope(env);
    Napi::Function callback = callback_.Value();
    Rest();
    CallBack(callback, {}, context_);
  }

  Napi::AsyncContext context_;
  std::optional<core::Readiness> set_;
  core::UniqueFd copy_;
  uv_poll_t* handle_ = nullptr;
  bool started_ = false;
  Napi::FunctionReference callback_;
};

#endif

}  // namespace

void InitConnection(Napi::Env env, Napi::Object exports) {
  exports["receiveFrame"] = Napi::Function::New(env, ReceiveFrame, "receiveFrame");
  exports["continueFrame"] = Napi::Function::New(env, ContinueFrame, "continueFrame");
  exports["sendFrame"] = Napi::Function::New(env, SendFrame, "sendFrame");
  exports["sendFrameParts"] = Napi::Function::New(env, SendFrameParts, "sendFrameParts");
  exports["Watch"] = Watch::Define(env);
}

}  // namespace mp
