// WeakTable, for src/heap.ts: numbers to objects that are held by others.
//
// JavaScript's own WeakRef would not do: each one that is made or looked into keeps its object until the job ends, and
// the job of a process that works in blocking calls never does.

#include <napi.h>

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <unordered_map>

namespace mp {
namespace {

class WeakTable : public Napi::ObjectWrap<WeakTable> {
 public:
  static Napi::Function Define(Napi::Env env) {
    return DefineClass(
        env, "WeakTable",
        {InstanceMethod<&WeakTable::Set>("set"), InstanceMethod<&WeakTable::Get>("get"),
         InstanceMethod<&WeakTable::Keys>("keys")});
  }

  explicit WeakTable(const Napi::CallbackInfo& info) : Napi::ObjectWrap<WeakTable>(info) {}
  ~WeakTable() override {
    for (auto& [key, ref] : refs_) napi_delete_reference(Env(), ref);
  }

 private:
  // set(key, object)
  void Set(const Napi::CallbackInfo& info) {
    napi_ref ref = nullptr;
    if (napi_create_reference(info.Env(), info[1], 0, &ref) != napi_ok) return;
    if (refs_.size() >= crowded_) Sweep(info.Env());
    napi_ref& place = refs_[info[0].As<Napi::Number>().Uint32Value()];
    if (place != nullptr) napi_delete_reference(info.Env(), place);
    place = ref;
  }

  // get(key) → undefined: there was none, or it was collected
  Napi::Value Get(const Napi::CallbackInfo& info) {
    const auto found = refs_.find(info[0].As<Napi::Number>().Uint32Value());
    const napi_value value = found == refs_.end() ? nullptr : ValueOf(info.Env(), found->second);
    return value == nullptr ? info.Env().Undefined() : Napi::Value(info.Env(), value);
  }

  // keys() → of the objects that are there
  Napi::Value Keys(const Napi::CallbackInfo& info) {
    Sweep(info.Env());
    Napi::Array keys = Napi::Array::New(info.Env(), refs_.size());
    uint32_t at = 0;
    for (const auto& [key, ref] : refs_) keys[at++] = Napi::Number::New(info.Env(), key);
    return keys;
  }

  static napi_value ValueOf(napi_env env, napi_ref ref) {
    napi_value value = nullptr;
    return napi_get_reference_value(env, ref, &value) == napi_ok ? value : nullptr;
  }

  // What was collected has left its entry behind.
  void Sweep(napi_env env) {
    for (auto at = refs_.begin(); at != refs_.end();) {
      const Napi::HandleScope scope(env);
      if (ValueOf(env, at->second) != nullptr) {
        at = std::next(at);
        continue;
      }
      napi_delete_reference(env, at->second);
      at = refs_.erase(at);
    }
    crowded_ = std::max<size_t>(256, 2 * refs_.size());
  }

  std::unordered_map<uint32_t, napi_ref> refs_;
  // The number of entries at which the empty ones are looked for.
  size_t crowded_ = 256;
};

}  // namespace

void InitWeakTable(Napi::Env env, Napi::Object exports) {
  exports["WeakTable"] = WeakTable::Define(env);
}

}  // namespace mp
