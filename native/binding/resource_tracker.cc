// The pipe to the resource tracker: what src/resource_tracker.ts stands on. Its state is the process's (see the core).

#include <napi.h>

#include <cerrno>

#include "binding/errors.h"
#include "binding/values.h"
#include "core/resource_tracker.h"

namespace mp {

namespace {

// trackerLink() → [fd, generation]
Napi::Value Link(const Napi::CallbackInfo& info) {
  const auto link = core::CurrentTracker();
  auto pair = Napi::Array::New(info.Env(), 2);
  pair.Set(0U, Napi::Number::New(info.Env(), link.fd));
  pair.Set(1U, Napi::Number::New(info.Env(), link.generation));
  return pair;
}

// trackerReplace(generation, fd) → whether it was
Napi::Value Replace(const Napi::CallbackInfo& info) {
  const auto replaced = core::ReplaceTracker(Unsigned(info, 0), core::UniqueFd(Int(info, 1)));
  if (replaced.ok()) return Napi::Boolean::New(info.Env(), replaced.value());
  ThrowErrno(info.Env(), replaced.error().errnum, replaced.error().syscall);
  return info.Env().Undefined();
}

// trackerTell(message, timeoutMs) → core::Told
Napi::Value Tell(const Napi::CallbackInfo& info) {
  // One byte more than what fits, and the zero behind it.
  char message[core::kLongestTold + 2];
  size_t length = 0;
  napi_get_value_string_utf8(info.Env(), info[0], message, sizeof(message), &length);
  if (length > core::kLongestTold) {
    ThrowErrno(info.Env(), ENAMETOOLONG, "trackerTell");
    return info.Env().Undefined();
  }
  const auto told = core::TellTracker(message, length, DeadlineOf(info, 1));
  return Napi::Number::New(info.Env(), static_cast<int>(told));
}

Napi::Value Close(const Napi::CallbackInfo& info) {
  core::CloseTracker();
  return info.Env().Undefined();
}

// addonFile() → the addon's path
Napi::Value AddonFile(const Napi::CallbackInfo& info) {
  const auto file = core::OwnFile();
  if (file.ok()) return Napi::String::New(info.Env(), file.value());
  ThrowErrno(info.Env(), file.error().errnum, file.error().syscall);
  return info.Env().Undefined();
}

template <Napi::Value (*callback)(const Napi::CallbackInfo&)>
void Export(Napi::Object& exports, const char* name) {
  exports.Set(name, Napi::Function::New<callback>(exports.Env(), name));
}

}  // namespace

void InitResourceTracker(Napi::Env, Napi::Object exports) {
  Export<Link>(exports, "trackerLink");
  Export<Replace>(exports, "trackerReplace");
  Export<Tell>(exports, "trackerTell");
  Export<Close>(exports, "trackerClose");
  Export<AddonFile>(exports, "addonFile");
}

}  // namespace mp
