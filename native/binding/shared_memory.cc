// Shared memory, mappings and named semaphores: what src/posix.ts and src/shared_memory.ts stand on.
//
// Arguments arrive checked, as for posix.cc. The only state is the table of an environment's mappings
// (mapped_buffer.h) and, behind each handle of a semaphore, the semaphore.

#include <napi.h>

#if !defined(_WIN32)
#include <limits.h>
#include <sys/mman.h>
#endif

#include <cerrno>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "binding/errors.h"
#include "binding/mapped_buffer.h"
#include "core/clock.h"
#include "core/mapping_budget.h"
#include "core/named_semaphore.h"
#include "core/shared_memory.h"

namespace mp {

namespace {

using Table = std::shared_ptr<MappedBuffers>;

MappedBuffers& TableOf(const Napi::CallbackInfo& info) {
  return **static_cast<Table*>(info.Data());
}

int Int(const Napi::CallbackInfo& info, size_t index) {
  return info[index].As<Napi::Number>().Int32Value();
}

uint64_t Size(const Napi::CallbackInfo& info, size_t index) {
  return static_cast<uint64_t>(info[index].As<Napi::Number>().Int64Value());
}

// Names are short: one call of Node-API instead of two.
std::string Text(const Napi::CallbackInfo& info, size_t index) {
  char text[512];
  size_t length = 0;
  napi_get_value_string_utf8(info.Env(), info[index], text, sizeof(text), &length);
  // What does not fit is cut between characters, of at most 4 bytes.
  if (length < sizeof(text) - 5) return std::string(text, length);
  return info[index].As<Napi::String>().Utf8Value();
}

std::string Quoted(const std::string& name) { return "'" + name + "'"; }

// Why there is no memory, where it is for the number of mappings.
std::string Cause(const core::OsError& error) {
  if (error.errnum != ENOMEM || core::MayMapMore()) return "";
  return "(" + std::to_string(core::CountedMappings()) +
         " mappings are open in this process, of the system's limit of " +
         std::to_string(core::MappingLimit()) + ", vm.max_map_count)";
}

Napi::Value Throw(Napi::Env env, const core::OsError& error, const std::string& detail = "") {
  if (error.errnum == ENOSYS) {
    ThrowUnsupported(env, error.syscall);
  } else {
    const std::string cause = Cause(error);
    const char* between = detail.empty() || cause.empty() ? "" : " ";
    ThrowErrno(env, error.errnum, error.syscall, detail + between + cause);
  }
  return env.Undefined();
}

Napi::Value Answer(Napi::Env env, const core::Result<void>& result,
                   const std::string& detail = "") {
  if (!result.ok()) return Throw(env, result.error(), detail);
  return env.Undefined();
}

// --- objects and mappings ------------------------------------------------------------------------

// shmOpen(name, flags, mode) → fd
Napi::Value ShmOpen(const Napi::CallbackInfo& info) {
  const std::string name = Text(info, 0);
  auto fd = core::OpenShared(name, Int(info, 1), static_cast<unsigned>(Int(info, 2)));
  if (!fd.ok()) return Throw(info.Env(), fd.error(), Quoted(name));
  return Napi::Number::New(info.Env(), fd.value().Release());
}

Napi::Value ShmUnlink(const Napi::CallbackInfo& info) {
  const std::string name = Text(info, 0);
  return Answer(info.Env(), core::UnlinkShared(name), Quoted(name));
}

// ftruncate(fd, length)
Napi::Value Ftruncate(const Napi::CallbackInfo& info) {
  return Answer(info.Env(), core::Truncate(Int(info, 0), Size(info, 1)));
}

// posixFallocate(fd, offset, length)
Napi::Value PosixFallocate(const Napi::CallbackInfo& info) {
  return Answer(info.Env(), core::Allocate(Int(info, 0), Size(info, 1), Size(info, 2)));
}

// mmap(fd, length, flags, protection, offset) → ArrayBuffer
Napi::Value Mmap(const Napi::CallbackInfo& info) {
  auto mapping = core::Map(Int(info, 0), Size(info, 1), Int(info, 3), Int(info, 2), Size(info, 4));
  if (!mapping.ok()) return Throw(info.Env(), mapping.error());
  return TableOf(info).Wrap(info.Env(), std::move(mapping.value()));
}

// munmap(buffer) → whether there was something to unmap
Napi::Value Munmap(const Napi::CallbackInfo& info) {
  return TableOf(info).Unmap(info.Env(), info[0]);
}

// preferDirectBuffers(direct)
Napi::Value PreferDirectBuffers(const Napi::CallbackInfo& info) {
  TableOf(info).PreferDirect(info[0].As<Napi::Boolean>().Value());
  return info.Env().Undefined();
}

// --- blocks of SharedMemory ----------------------------------------------------------------------

core::FileIdentity* IdentityIn(const Napi::CallbackInfo& info, size_t index) {
  static_assert(sizeof(core::FileIdentity) == 2 * sizeof(uint64_t),
                "two numbers of a BigUint64Array");
  void* data = nullptr;
  napi_get_typedarray_info(info.Env(), info[index], nullptr, nullptr, &data, nullptr, nullptr);
  return static_cast<core::FileIdentity*>(data);
}

// sharedCreate(name, size, identity) → ArrayBuffer
Napi::Value SharedCreate(const Napi::CallbackInfo& info) {
  const std::string name = Text(info, 0);
  auto block = core::CreateBlock(name, Size(info, 1));
  if (!block.ok()) return Throw(info.Env(), block.error(), Quoted(name));
  *IdentityIn(info, 2) = block.value().identity;
  const Napi::Value buffer = TableOf(info).Wrap(info.Env(), std::move(block.value().mapping));
  if (buffer.IsEmpty()) (void)core::UnlinkBlock(name, block.value().identity);
  return buffer;
}

// sharedAttach(name, identity) → ArrayBuffer
Napi::Value SharedAttach(const Napi::CallbackInfo& info) {
  const std::string name = Text(info, 0);
  auto block = core::AttachBlock(name);
  if (!block.ok()) return Throw(info.Env(), block.error(), Quoted(name));
  *IdentityIn(info, 1) = block.value().identity;
  return TableOf(info).Wrap(info.Env(), std::move(block.value().mapping));
}

// sharedUnlink(name, identity) → whether the name still meant that object
Napi::Value SharedUnlink(const Napi::CallbackInfo& info) {
  const std::string name = Text(info, 0);
  const auto unlinked = core::UnlinkBlock(name, *IdentityIn(info, 1));
  if (!unlinked.ok()) return Throw(info.Env(), unlinked.error(), Quoted(name));
  return Napi::Boolean::New(info.Env(), unlinked.value());
}

// sharedIs(name, identity) → whether the name means that object
Napi::Value SharedIs(const Napi::CallbackInfo& info) {
  const auto is_it = core::IsBlock(Text(info, 0), *IdentityIn(info, 1));
  // What cannot be looked at may be there.
  return Napi::Boolean::New(info.Env(), !is_it.ok() || is_it.value());
}

// --- semaphores ----------------------------------------------------------------------------------

// A handle of ours, and nobody else's External: programs can give the class of posix.ts anything.
constexpr napi_type_tag kSemaphoreTag = {0x6d70736d656d7365, 0x9b1f4c2a7d3e5086};

// The semaphore behind the first argument. Null, with an exception pending, when that is no open one.
core::NamedSemaphore* SemaphoreOf(const Napi::CallbackInfo& info, const char* call) {
  bool ours = false;
  void* data = nullptr;
  if (napi_check_object_type_tag(info.Env(), info[0], &kSemaphoreTag, &ours) != napi_ok || !ours ||
      napi_get_value_external(info.Env(), info[0], &data) != napi_ok) {
    if (!info.Env().IsExceptionPending())
      ThrowTypeError(info.Env(), "the handle of a semaphore must come from semOpen");
    return nullptr;
  }
  auto* semaphore = static_cast<core::NamedSemaphore*>(data);
  if (semaphore->open()) return semaphore;
  ThrowErrno(info.Env(), EBADF, call);
  return nullptr;
}

// semOpen(name, flags, mode, value) → handle
Napi::Value SemOpen(const Napi::CallbackInfo& info) {
  const std::string name = Text(info, 0);
  auto opened = core::NamedSemaphore::Open(name, Int(info, 1), static_cast<unsigned>(Int(info, 2)),
                                           static_cast<unsigned>(Int(info, 3)));
  if (!opened.ok()) return Throw(info.Env(), opened.error(), Quoted(name));
  const auto handle = Napi::External<core::NamedSemaphore>::New(
      info.Env(), new core::NamedSemaphore(std::move(opened.value())),
      [](Napi::Env, core::NamedSemaphore* semaphore) { delete semaphore; });
  napi_type_tag_object(info.Env(), handle, &kSemaphoreTag);
  return handle;
}

Napi::Value SemUnlink(const Napi::CallbackInfo& info) {
  const std::string name = Text(info, 0);
  return Answer(info.Env(), core::NamedSemaphore::Unlink(name), Quoted(name));
}

// semWait(handle, timeoutMs) → false when the time was up
Napi::Value SemWait(const Napi::CallbackInfo& info) {
  const auto deadline = core::Deadline::AfterMs(info[1].As<Napi::Number>().DoubleValue());
  auto* semaphore = SemaphoreOf(info, "sem_wait");
  if (semaphore == nullptr) return info.Env().Undefined();
  const auto taken = semaphore->Wait(deadline);
  if (!taken.ok()) return Throw(info.Env(), taken.error());
  return Napi::Boolean::New(info.Env(), taken.value());
}

Napi::Value SemPost(const Napi::CallbackInfo& info) {
  auto* semaphore = SemaphoreOf(info, "sem_post");
  if (semaphore == nullptr) return info.Env().Undefined();
  return Answer(info.Env(), semaphore->Post());
}

Napi::Value SemGetValue(const Napi::CallbackInfo& info) {
  auto* semaphore = SemaphoreOf(info, "sem_getvalue");
  if (semaphore == nullptr) return info.Env().Undefined();
  const auto value = semaphore->Value();
  if (!value.ok()) return Throw(info.Env(), value.error());
  return Napi::Number::New(info.Env(), value.value());
}

Napi::Value SemClose(const Napi::CallbackInfo& info) {
  auto* semaphore = SemaphoreOf(info, "sem_close");
  if (semaphore != nullptr) semaphore->Close();
  return info.Env().Undefined();
}

// --- constants -----------------------------------------------------------------------------------

Napi::Object Constants(Napi::Env env) {
  auto constants = Napi::Object::New(env);
#define MP_CONSTANT(name) constants.Set(#name, Napi::Number::New(env, name))
#if !defined(_WIN32)
  MP_CONSTANT(PROT_NONE);
  MP_CONSTANT(PROT_READ);
  MP_CONSTANT(PROT_WRITE);
  MP_CONSTANT(PROT_EXEC);
  MP_CONSTANT(MAP_SHARED);
  MP_CONSTANT(MAP_PRIVATE);
  MP_CONSTANT(MAP_ANONYMOUS);
  MP_CONSTANT(MAP_NORESERVE);
#if defined(MAP_POPULATE)
  MP_CONSTANT(MAP_POPULATE);
#endif
#if defined(SEM_VALUE_MAX)
  MP_CONSTANT(SEM_VALUE_MAX);
#endif
#endif
#undef MP_CONSTANT
  return constants;
}

template <Napi::Value (*callback)(const Napi::CallbackInfo&)>
void Export(Napi::Object& exports, const char* name, void* data = nullptr) {
  exports.Set(name, Napi::Function::New<callback>(exports.Env(), name, data));
}

}  // namespace

void InitSharedMemory(Napi::Env env, Napi::Object exports) {
  // The functions have a pointer to it; the mappings that outlive them hold the table itself.
  auto* table = new Table(std::make_shared<MappedBuffers>());
  env.AddCleanupHook(
      [](Table* held) {
        (*held)->Forget();
        delete held;
      },
      table);

  Export<ShmOpen>(exports, "shmOpen");
  Export<ShmUnlink>(exports, "shmUnlink");
  Export<Ftruncate>(exports, "ftruncate");
  Export<PosixFallocate>(exports, "posixFallocate");
  Export<Mmap>(exports, "mmap", table);
  Export<Munmap>(exports, "munmap", table);
  Export<PreferDirectBuffers>(exports, "preferDirectBuffers", table);

  Export<SharedCreate>(exports, "sharedCreate", table);
  Export<SharedAttach>(exports, "sharedAttach", table);
  Export<SharedUnlink>(exports, "sharedUnlink");
  Export<SharedIs>(exports, "sharedIs");

  Export<SemOpen>(exports, "semOpen");
  Export<SemUnlink>(exports, "semUnlink");
  Export<SemWait>(exports, "semWait");
  Export<SemPost>(exports, "semPost");
  Export<SemGetValue>(exports, "semGetValue");
  Export<SemClose>(exports, "semClose");

  exports.Set("memoryConstants", Constants(env));
}

}  // namespace mp
