// The ends of a Pipe, for src/transport.ts.

#include <napi.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <utility>
#include <vector>

#include "core/pipe.h"

#include "binding/errors.h"
#include "binding/values.h"

namespace mp {

namespace {

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
        Throw(env, pair.error());
        return;
      }
      end_ = std::move(pair.value().first);
      other_ = std::move(pair.value().second);
    } else {
      auto end = core::PipeEnd::Open(core::UniqueFd(Int(info, 0)), core::UniqueFd(Int(info, 1)),
                                     Unsigned(info, 2));
      if (!end.ok()) {
        Throw(env, end.error());
        return;
      }
      end_ = std::move(end.value());
    }
  }

 private:
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
    if (!sent.ok()) Throw(env, sent.error());
  }

  // sendParts(parts, fds, from, token, timeoutMs) → up to where it has come; -1: all has left
  Napi::Value SendParts(const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    if (!IsOpen(env)) return env.Undefined();
    const auto parts = PartsOf<core::Part>(info[0]);
    uint64_t length = 0;
    for (const core::Part& part : parts) length += part.size;
    const auto fds = IntsOf(info[1]);
    const Wait wait(Number(info, 4));
    const auto sent =
        end_->Send(parts.data(), parts.size(), fds, static_cast<uint64_t>(Number(info, 2)),
                   Unsigned(info, 3), wait.deadline, wait.wait);
    if (sent.ok() && sent.value() == core::PipeEnd::SentWhole(length)) {
      return Napi::Number::New(env, -1);
    }
    return Answer(env, sent);
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
    return Answer(env, outcome);
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
    return Answer(info.Env(), end_->WaitUntilReady(Unsigned(info, 0), DeadlineOf(info, 1)));
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

}  // namespace mp
