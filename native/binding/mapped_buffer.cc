// See mapped_buffer.h.

#include "binding/mapped_buffer.h"

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <iterator>
#include <new>
#include <type_traits>
#include <utility>

#if !defined(_WIN32)
#include <dlfcn.h>
#endif

#include "binding/errors.h"
#include "core/plain_posix.h"
#include "core/stay_loaded.h"

namespace mp {

namespace {

#if !defined(_WIN32)

struct DestroyBackingStore {
  void operator()(void* store) const;
};

// A v8::BackingStore, which nobody here looks into.
using BackingStore = std::unique_ptr<void, DestroyBackingStore>;

struct V8Calls {
  bool complete = false;
  void* (*isolate)() = nullptr;
  BackingStore (*new_store)(void* data, size_t length, void (*free)(void*, size_t, void*),
                            void* hint) = nullptr;
  void (*destroy_store)(void* store) = nullptr;
  void* (*new_buffer)(void* isolate, std::shared_ptr<void> store) = nullptr;
};

V8Calls FindV8Calls() {
  V8Calls calls;
  const auto load = [](auto* out, const char* name) {
    *out = reinterpret_cast<std::remove_pointer_t<decltype(out)>>(dlsym(RTLD_DEFAULT, name));
    return *out != nullptr;
  };
#if defined(__GLIBCXX__) && !defined(MP_PLAIN_POSIX)
  constexpr bool kSameLibrary = true;
#else
  // Node's shared_ptr is GCC's, and ours is another's; or, on macOS, the calls have other names than below.
  constexpr bool kSameLibrary = false;
#endif
  calls.complete =
      kSameLibrary && load(&calls.isolate, "_ZN2v87Isolate10GetCurrentEv") &&
      load(&calls.new_store, "_ZN2v811ArrayBuffer15NewBackingStoreEPvmPFvS1_mS1_ES1_") &&
      load(&calls.destroy_store, "_ZN2v812BackingStoreD1Ev") &&
      load(&calls.new_buffer,
           "_ZN2v811ArrayBuffer3NewEPNS_7IsolateESt10shared_ptrINS_12BackingStoreEE") &&
      core::StayLoaded();
  return calls;
}

const V8Calls& Calls() {
  static const V8Calls calls = FindV8Calls();
  return calls;
}

void DestroyBackingStore::operator()(void* store) const {
  Calls().destroy_store(store);
  ::operator delete(store);
}

bool HasDirect() { return Calls().complete; }

void MakeDirectBuffer(void* data, size_t length, FreeMemory free, void* hint, napi_value* buffer) {
  const V8Calls& v8 = Calls();
  BackingStore store = v8.new_store(data, length, free, hint);
  // A napi_value is a v8::Local, and that is one pointer.
  *buffer =
      static_cast<napi_value>(v8.new_buffer(v8.isolate(), std::shared_ptr<void>(std::move(store))));
}

#else

bool HasDirect() { return false; }

void MakeDirectBuffer(void*, size_t, FreeMemory, void*, napi_value*) {}

#endif

// What Node-API's finaliser, which knows no length, gets.
struct Freeing {
  FreeMemory free;
  size_t length;
  void* hint;
};

// Node 20's Buffer, by way of which Node-API makes an ArrayBuffer, ends here.
constexpr size_t kBufferLimit = size_t{1} << 32;
constexpr uint32_t kFirstWithoutLimit = 22;

bool FitsNodeApi(napi_env env, size_t length) {
  if (length < kBufferLimit) return true;
  const napi_node_version* version = nullptr;
  return napi_get_node_version(env, &version) == napi_ok && version->major >= kFirstWithoutLimit;
}

}  // namespace

napi_status MakeExternalBuffer(napi_env env, void* data, size_t length, FreeMemory free, void* hint,
                               napi_value* buffer) {
  if (HasDirect()) {
    MakeDirectBuffer(data, length, free, hint, buffer);
    return napi_ok;
  }
  return napi_create_external_arraybuffer(
      env, data, length,
      [](napi_env, void* memory, void* given) {
        const std::unique_ptr<Freeing> freeing(static_cast<Freeing*>(given));
        freeing->free(memory, freeing->length, freeing->hint);
      },
      new Freeing{free, length, hint}, buffer);
}

void MappedBuffers::MakeDirectly(Handle* hint, napi_value* buffer) {
  const core::Mapping& mapping = (*hint)->mapping;
  MakeDirectBuffer(mapping.address(), mapping.length(), FinaliseDirect, hint, buffer);
}

bool MayMakeExternalBuffers(napi_env env) {
  const char* told = std::getenv("NODE_MULTIPROCESSING_EXTERNAL_BUFFERS");
  if (told != nullptr && std::strcmp(told, "forbidden") == 0) return false;
  // Memory of its own for each probe: two ArrayBuffers must not share theirs.
  auto* memory = new uint64_t(0);
  napi_value probe = nullptr;
  const napi_status status = napi_create_external_arraybuffer(
      env, memory, sizeof(*memory),
      [](napi_env, void* data, void*) { delete static_cast<uint64_t*>(data); }, nullptr, &probe);
  if (status == napi_no_external_buffers_allowed) delete memory;
  return status == napi_ok;
}

bool MappedBuffers::MayMake(napi_env env) {
  if (!asked_) allowed_ = MayMakeExternalBuffers(env);
  asked_ = true;
  return allowed_;
}

napi_status MappedBuffers::MakeBuffer(napi_env env, Handle* hint, napi_value* buffer) {
  if (!MayMake(env)) return napi_no_external_buffers_allowed;
  const core::Mapping& mapping = (*hint)->mapping;
  if (direct_ && HasDirect()) {
    MakeDirectly(hint, buffer);
    return napi_ok;
  }
  if (!FitsNodeApi(env, mapping.length())) return napi_no_external_buffers_allowed;
  return napi_create_external_arraybuffer(env, mapping.address(), mapping.length(), Finalise, hint,
                                          buffer);
}

Napi::Value MappedBuffers::Wrap(Napi::Env env, core::Mapping mapping) {
  auto mapped = std::make_shared<Mapped>();
  mapped->mapping = std::move(mapping);
  mapped->table = shared_from_this();
  void* address = mapped->mapping.address();

  auto* hint = new Handle(mapped);
  napi_value buffer = nullptr;
  const napi_status status = MakeBuffer(env, hint, &buffer);
  if (status == napi_no_external_buffers_allowed) {
    // As in Electron. A copy would not be shared memory.
    mapped->End();
    delete hint;
    ThrowErrno(env, ENOSYS, "mmap",
               "(this build of Node allows no ArrayBuffer of this size on memory of the system)");
    return {};
  }
  // On any other failure Node-API calls the finaliser, now or later.
  if (status != napi_ok) {
    if (!env.IsExceptionPending()) ThrowErrno(env, ENOMEM, "mmap");
    return {};
  }
  Remember(address, std::move(mapped));
  return Napi::Value(env, buffer);
}

// What was collected has left its entry behind.
void MappedBuffers::Remember(void* address, Handle mapped) {
  if (entries_.size() >= crowded_) {
    for (auto entry = entries_.begin(); entry != entries_.end();) {
      entry = entry->second->alive.load() ? std::next(entry) : entries_.erase(entry);
    }
    crowded_ = std::max<size_t>(64, 2 * entries_.size());
  }
  entries_.insert_or_assign(address, std::move(mapped));
}

Napi::Value MappedBuffers::Unmap(Napi::Env env, napi_value buffer) {
  void* address = nullptr;
  size_t length = 0;
  if (napi_get_arraybuffer_info(env, buffer, &address, &length) != napi_ok || address == nullptr)
    return Napi::Boolean::New(env, false);
  const auto found = entries_.find(address);
  if (found == entries_.end() || !found->second->alive.load())
    return Napi::Boolean::New(env, false);
  // The detaching may free the memory's last holder at once, and its finaliser may run: keep ours.
  const Handle mapped = found->second;
  if (napi_detach_arraybuffer(env, buffer) != napi_ok) {
    if (!env.IsExceptionPending()) ThrowErrno(env, EBUSY, "munmap");
    return {};
  }
  entries_.erase(address);
  mapped->End();
  return Napi::Boolean::New(env, true);
}

// On the environment's thread, once the memory has no holder, or when the environment ends.
void MappedBuffers::Finalise(napi_env, void* data, void* hint) {
  const std::unique_ptr<Handle> handle(static_cast<Handle*>(hint));
  const Handle& mapped = *handle;
  auto& entries = mapped->table->entries_;
  const auto found = entries.find(data);
  if (found != entries.end() && found->second == mapped) entries.erase(found);
  mapped->End();
}

// On any thread: the table must not be touched.
void MappedBuffers::FinaliseDirect(void*, size_t, void* hint) {
  const std::unique_ptr<Handle> handle(static_cast<Handle*>(hint));
  (*handle)->End();
}

}  // namespace mp
