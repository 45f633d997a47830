// What the calls of connection.cc, pipe.cc, channel.cc and sync.cc take from JavaScript and give to it.
//
// Arguments arrive checked by src/. They are taken straight by Node-API: Napi::TypedArray makes a handle for the
// ArrayBuffer, which messages of a few bytes would pay for.
#ifndef MP_BINDING_VALUES_H_
#define MP_BINDING_VALUES_H_

#include <napi.h>

#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <vector>

#include "binding/errors.h"
#include "core/clock.h"
#include "core/result.h"

namespace mp {

// --- from JavaScript -----------------------------------------------------------------------------

inline double Number(const Napi::CallbackInfo& info, size_t index) {
  double number = 0;
  napi_get_value_double(info.Env(), info[index], &number);
  return number;
}

inline int Int(const Napi::CallbackInfo& info, size_t index) {
  return static_cast<int>(Number(info, index));
}

inline uint32_t Unsigned(const Napi::CallbackInfo& info, size_t index) {
  uint32_t number = 0;
  napi_get_value_uint32(info.Env(), info[index], &number);
  return number;
}

struct Bytes {
  char* data = nullptr;
  size_t size = 0;
};

// Of a Uint8Array. Nothing for what is no typed array.
inline Bytes BytesOf(napi_env env, napi_value value) {
  Bytes bytes;
  void* data = nullptr;
  napi_get_typedarray_info(env, value, nullptr, &bytes.size, &data, nullptr, nullptr);
  bytes.data = static_cast<char*>(data);
  return bytes;
}

// Each of an array, as the core takes the parts of a message.
template <typename Part>
std::vector<Part> PartsOf(const Napi::Value& value) {
  const auto array = value.As<Napi::Array>();
  std::vector<Part> parts;
  parts.reserve(array.Length());
  for (uint32_t i = 0; i < array.Length(); ++i) {
    const Bytes bytes = BytesOf(value.Env(), array.Get(i));
    parts.push_back({bytes.data, bytes.size});
  }
  return parts;
}

inline std::vector<int> IntsOf(const Napi::Value& value) {
  const auto array = value.As<Napi::Array>();
  std::vector<int> ints;
  ints.reserve(array.Length());
  for (uint32_t i = 0; i < array.Length(); ++i) {
    ints.push_back(array.Get(i).As<Napi::Number>().Int32Value());
  }
  return ints;
}

inline core::Deadline DeadlineOf(const Napi::CallbackInfo& info, size_t index) {
  return core::Deadline::AfterMs(Number(info, index));
}

// Milliseconds: 0 does not wait, negative waits for ever.
struct Wait {
  explicit Wait(double ms) : deadline(core::Deadline::AfterMs(ms)), wait(ms != 0) {}
  core::Deadline deadline;
  bool wait;
};

// --- to JavaScript -------------------------------------------------------------------------------

inline Napi::Value Throw(Napi::Env env, const core::OsError& error) {
  ThrowErrno(env, error.errnum, error.syscall);
  return env.Undefined();
}

template <typename Value>
Napi::Value Answer(Napi::Env env, const core::Result<Value>& result) {
  if (!result.ok()) return Throw(env, result.error());
  if constexpr (std::is_same_v<Value, bool>) {
    return Napi::Boolean::New(env, result.value());
  } else {
    return Napi::Number::New(env, static_cast<double>(result.value()));
  }
}

}  // namespace mp

#endif  // MP_BINDING_VALUES_H_
