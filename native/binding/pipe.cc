// The ends of a Pipe, for src/transport.ts.

#include <napi.h>

#if !defined(_WIN32)
#include <algorithm>
#include <cerrno>
#include <memory>
#include <utility>
#include <vector>

#include "core/pipe.h"
#endif

#include "binding/errors.h"

namespace mp {

#if !defined(_WIN32)

namespace {

struct Bytes {
  char* data = nullptr;
  size_t size = 0;
};

// Nothing for what is no typed array.
Bytes BytesOf(napi_env env, napi_value value) {
  Bytes bytes;
  void* data = nullptr;
  if (napi_get_typedarray_info(env, value, nullptr, &bytes.size, &data, nullptr, nullptr) !=
      napi_ok) {
    return {};
  }
  bytes.data = static_cast<char*>(data);
  return bytes;
}

double Number(const Napi::CallbackInfo& info, size_t index) {
  double number = 0;
  napi_get_value_double(info.Env(), info[index], &number);
  return number;
}

uint32_t Unsigned(const Napi::CallbackInfo& info, size_t index) {
  return static_cast<uint32_t>(Number(info, index));
}

// 0 does not wait, negative waits for ever.
struct Wait {
  explicit Wait(double ms) : deadline(core::Deadline::AfterMs(ms)), wait(ms != 0) {}
  core::Deadline deadline;
  bool wait;
};

class PipeEnd : public Napi::ObjectWrap<PipeEnd> {
 public:
  static Napi::Function Define(Napi::Env env) {
    return DefineClass(
        env, "PipeEnd",
        {InstanceMethod<&PipeEnd::Token>("token"), InstanceMethod<&PipeEnd::Fd>("fd"),
         InstanceMethod<&PipeEnd::MemoryFd>("memoryFd"), InstanceMethod<&PipeEnd::Side>("side"),
         InstanceMethod<&PipeEnd::Send>("send"), InstanceMethod<&PipeEnd::SendParts>("sendParts"),
         InstanceMethod<&PipeEnd::Receive>("receive"),
         InstanceMethod<&PipeEnd::IncomingLength>("incomingLength"),
         InstanceMethod<&PipeEnd::LargeLength>("largeLength"),
         InstanceMethod<&PipeEnd::TakeFds>("takeFds"), InstanceMethod<&PipeEnd::Amidst>("amidst"),
         InstanceMethod<&PipeEnd::Forget>("forget"), InstanceMethod<&PipeEnd::Ready>("ready"),
         InstanceMethod<&PipeEnd::WaitUntilReady>("waitUntilReady"),
         InstanceMethod<&PipeEnd::Arm>("arm"), InstanceMethod<&PipeEnd::Close>("close")});
  }

  explicit PipeEnd(const Napi::CallbackInfo& info) : Napi::ObjectWrap<PipeEnd>(info) {
    const Napi::Env env = info.Env();
    if (info[0].IsObject()) {
      end_ = std::move(Unwrap(info[0].As<Napi::Object>())->other_);
    } else if (info[0].IsBoolean()) {
      auto pair = core::PipeEnd::Create(info[0].As<Napi::Boolean>().Value());
      if (!pair.ok()) {
        ThrowErrno(env, pair.error().errnum, pair.error().syscall);
        return;
      }
      end_ = std::move(pair.value().first);
      other_ = std::move(pair.value().second);
    } else {
      auto end =
          core::PipeEnd::Open(core::UniqueFd(static_cast<int>(Number(info, 0))),
                              core::UniqueFd(static_cast<int>(Number(info, 1))), Unsigned(info, 2));
      if (!end.ok()) {
        ThrowErrno(env, end.error().errnum, end.error().syscall);
        return;
      }
      end_ = std::move(end.value());
    }
  }

 private:
  template <typename Value>
  static Napi::Value Answer(Napi::Env env, const core::Result<Value>& result) {
    if (result.ok()) return Napi::Value::From(env, result.value());
    ThrowErrno(env, result.error().errnum, result.error().syscall);
    return env.Undefined();
  }
  // False: it is closed, which JavaScript has been told.
  bool IsOpen(Napi::Env env) const {
    if (end_ == nullptr) ThrowErrno(env, EBADF, "pipe");
    return end_ != nullptr;
  }

  // token() → the calling thread's name here, for the calls that take one
  Napi::Value Token(const Napi::CallbackInfo& info) {
    if (!IsOpen(info.Env())) return info.Env().Undefined();
    return Answer(info.Env(), core::Enrol(end_->segment()->header()));
  }
  Napi::Value Fd(const Napi::CallbackInfo& info) {
    return Napi::Number::New(info.Env(), end_ == nullptr ? -1 : end_->fd());
  }
  Napi::Value MemoryFd(const Napi::CallbackInfo& info) {
    return Napi::Number::New(info.Env(), end_ == nullptr ? -1 : end_->memory_fd());
  }
  Napi::Value Side(const Napi::CallbackInfo& info) {
    return Napi::Number::New(info.Env(), end_ == nullptr ? 0 : end_->side());
  }

  // send(bytes, offset, size, token): blocks until it has left
  void Send(const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    if (!IsOpen(env)) return;
    const Bytes bytes = BytesOf(env, info[0]);
    const auto offset = std::min(bytes.size, static_cast<size_t>(Number(info, 1)));
    const auto size = std::min(bytes.size - offset, static_cast<size_t>(Number(info, 2)));
    const core::Part part{bytes.data + offset, size};
    static const std::vector<int> kNoFds;
    const auto sent =
        end_->Send(&part, 1, kNoFds, 0, Unsigned(info, 3), core::Deadline::Never(), true);
    if (!sent.ok()) ThrowErrno(env, sent.error().errnum, sent.error().syscall);
  }

  // sendParts(parts, fds, from, token, timeoutMs) → up to where it has come; -1: all has left
  Napi::Value SendParts(const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    if (!IsOpen(env)) return env.Undefined();
    const auto array = info[0].As<Napi::Array>();
    std::vector<core::Part> parts;
    uint64_t length = 0;
    for (uint32_t i = 0; i < array.Length(); ++i) {
      const Bytes bytes = BytesOf(env, array.Get(i));
      parts.push_back({bytes.data, bytes.size});
      length += bytes.size;
    }
    const auto numbers = info[1].As<Napi::Array>();
    std::vector<int> fds;
    for (uint32_t i = 0; i < numbers.Length(); ++i) {
      fds.push_back(numbers.Get(i).As<Napi::Number>().Int32Value());
    }
    const Wait wait(Number(info, 4));
    const auto sent =
        end_->Send(parts.data(), parts.size(), fds, static_cast<uint64_t>(Number(info, 2)),
                   Unsigned(info, 3), wait.deadline, wait.wait);
    if (sent.ok() && sent.value() == core::PipeEnd::SentWhole(length)) {
      return Napi::Number::New(env, -1);
    }
    if (sent.ok()) return Napi::Number::New(env, static_cast<double>(sent.value()));
    ThrowErrno(env, sent.error().errnum, sent.error().syscall);
    return env.Undefined();
  }

  // receive(scratch, payload, large, token, timeoutMs) → how many bytes are in `scratch`, or a PipeOutcome
  Napi::Value Receive(const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    if (!IsOpen(env)) return env.Undefined();
    const Bytes scratch = BytesOf(env, info[0]);
    Bytes payload = BytesOf(env, info[1]);
    if (payload.size != end_->incoming_length()) payload.data = nullptr;
    // Memory for an empty message is memory, too.
    static char nothing;
    if (payload.data == nullptr && payload.size == 0 && info[1].IsTypedArray()) {
      payload.data = &nothing;
    }
    const Bytes large = BytesOf(env, info[2]);
    if (scratch.size < core::kMostSmall) {
      ThrowRangeError(env, "the scratch memory is too small");
      return env.Undefined();
    }
    const Wait wait(Number(info, 4));
    const auto outcome = end_->Receive(scratch.data, payload.data, large.data, large.size,
                                       Unsigned(info, 3), wait.deadline, wait.wait);
    if (outcome.ok()) return Napi::Number::New(env, static_cast<double>(outcome.value()));
    ThrowErrno(env, outcome.error().errnum, outcome.error().syscall);
    return env.Undefined();
  }

  Napi::Value IncomingLength(const Napi::CallbackInfo& info) {
    return Napi::Number::New(info.Env(), static_cast<double>(end_->incoming_length()));
  }
  Napi::Value LargeLength(const Napi::CallbackInfo& info) {
    return Napi::Number::New(info.Env(), static_cast<double>(end_->large_length()));
  }
  Napi::Value TakeFds(const Napi::CallbackInfo& info) {
    Napi::Array list = Napi::Array::New(info.Env());
    for (core::UniqueFd& fd : end_->TakeFds()) list.Set(list.Length(), fd.Release());
    return list;
  }
  Napi::Value Amidst(const Napi::CallbackInfo& info) {
    return Napi::Boolean::New(info.Env(), end_ != nullptr && end_->amidst());
  }
  void Forget(const Napi::CallbackInfo&) {
    if (end_ != nullptr) end_->Forget();
  }
  Napi::Value Ready(const Napi::CallbackInfo& info) {
    return Napi::Boolean::New(info.Env(), end_ == nullptr || end_->Ready());
  }
  // waitUntilReady(token, timeoutMs)
  Napi::Value WaitUntilReady(const Napi::CallbackInfo& info) {
    if (!IsOpen(info.Env())) return info.Env().Undefined();
    return Answer(info.Env(),
                  end_->WaitUntilReady(Unsigned(info, 0), Wait(Number(info, 1)).deadline));
  }
  // arm(receive, send, token) → core::PipeEnd::Armed
  Napi::Value Arm(const Napi::CallbackInfo& info) {
    if (!IsOpen(info.Env())) return info.Env().Undefined();
    const auto armed = end_->Arm(info[0].ToBoolean(), info[1].ToBoolean(), Unsigned(info, 2));
    return Napi::Number::New(info.Env(), static_cast<int32_t>(armed));
  }

  void Close(const Napi::CallbackInfo&) {
    end_.reset();
    other_.reset();
  }

  std::unique_ptr<core::PipeEnd> end_;
  // Until it gets an object of its own.
  std::unique_ptr<core::PipeEnd> other_;
};

}  // namespace

void InitPipe(Napi::Env env, Napi::Object exports) { exports["PipeEnd"] = PipeEnd::Define(env); }

#else

void InitPipe(Napi::Env, Napi::Object) {}

#endif

}  // namespace mp
