// Segments, locks and waits, for src/heap.ts and src/synchronize.ts.
//
// A word is named by the Int32Array over its whole segment, or what stands for it (distant.h), and its index there:
// the array's memory is the segment's, so the native side needs no table of its own to find it.

#include <napi.h>
#include <uv.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#if !defined(_WIN32)
#include <pthread.h>
#endif

#include "callback.h"
#include "core/listener.h"
#include "core/lock.h"
#include "core/process.h"
#include "core/stay_loaded.h"
#include "distant.h"
#include "errors.h"
#include "sync.h"
#include "values.h"

namespace mp {

namespace {

using core::Segment;
using core::Word;
using SegmentPtr = std::shared_ptr<Segment>;

// The name of a thread in the locks of a segment.
struct Name {
  std::weak_ptr<Segment> segment;
  uint32_t token;
  napi_env env;  // the thread's
};

// What this process has mapped, and the names its threads hold locks under: what its end needs to know.
struct Registry {
  std::mutex mutex;
  std::vector<std::weak_ptr<Segment>> segments;
  std::vector<Name> names;
  // The environments whose end is heard of.
  std::vector<napi_env> watched;
  int pid = 0;  // whose names they are
};

Registry& TheRegistry() {
  static auto* registry = new Registry;
  return *registry;
}

// A thread that the child will not have may be inside: a fork waits until it is out.
void KeepRegistryForkable() {
#if !defined(_WIN32)
  pthread_atfork([] { TheRegistry().mutex.lock(); }, [] { TheRegistry().mutex.unlock(); },
                 [] { TheRegistry().mutex.unlock(); });
#endif
}

void Orphan(const Name& name) {
  const SegmentPtr segment = name.segment.lock();
  if (segment != nullptr) core::OrphanLocks(segment->header(), name.token);
}

template <typename T, typename Predicate>
void EraseIf(std::vector<T>* all, Predicate predicate) {
  all->erase(std::remove_if(all->begin(), all->end(), predicate), all->end());
}

}  // namespace

core::SegmentIdentity IdentityOf(const Napi::Value& words) {
  core::SegmentIdentity identity;
  const auto array = words.As<Napi::Uint32Array>();
  std::memcpy(&identity, array.Data(), sizeof(identity));
  return identity;
}

void RegisterSegment(const SegmentPtr& segment) {
  Registry& registry = TheRegistry();
  std::lock_guard<std::mutex> lock(registry.mutex);
  EraseIf(&registry.segments, [](const auto& held) { return held.expired(); });
  registry.segments.push_back(segment);
}

namespace {

Word* SegmentOf(const Napi::CallbackInfo& info) { return WordsOf(info.Env(), info[0]); }

core::SegmentHeader* HeaderOf(const Napi::CallbackInfo& info) {
  return reinterpret_cast<core::SegmentHeader*>(SegmentOf(info));
}

Word* WordOf(const Napi::CallbackInfo& info) { return SegmentOf(info) + Unsigned(info, 1); }

Napi::Value DescribeSlots(Napi::Env env, const core::Result<SegmentPtr>& segment) {
  if (!segment.ok()) return Throw(env, segment.error());
  const Napi::Value words = MakeWords(env, segment.value(), core::kSegmentBytes);
  if (words.IsEmpty()) return env.Undefined();
  RegisterSegment(segment.value());
  Napi::Object result = Napi::Object::New(env);
  result["words"] = words;
  result["fd"] = Napi::Number::New(env, segment.value()->fd());
  return result;
}

Napi::Value DescribePlain(Napi::Env env, const core::Result<SegmentPtr>& segment) {
  if (!segment.ok()) return Throw(env, segment.error());
  const size_t bytes = segment.value()->bytes() - core::kPlainOffset;
  const Napi::Value words = MakeWords(env, segment.value(), core::kPlainOffset);
  if (words.IsEmpty()) return env.Undefined();
  const Napi::Value memory = MakePlain(env, segment.value(), bytes);
  if (memory.IsEmpty()) return env.Undefined();
  Napi::Object result = Napi::Object::New(env);
  result["words"] = words;
  result["memory"] = memory;
  result["offset"] = Napi::Number::New(env, memory.IsExternal() ? core::kPlainOffset : 0);
  result["bytes"] = Napi::Number::New(env, static_cast<double>(bytes));
  result["fd"] = Napi::Number::New(env, segment.value()->fd());
  return result;
}

// createSegment() → { words, fd }: memory that every fork from now on shares.
Napi::Value CreateSegment(const Napi::CallbackInfo& info) {
  return DescribeSlots(info.Env(), Segment::Create());
}

// createSharedBuffer(bytes) → { words, memory, offset, bytes, fd }: zeroed bytes, in a mapping of their own.
Napi::Value CreateSharedBuffer(const Napi::CallbackInfo& info) {
  const auto bytes = static_cast<size_t>(info[0].As<Napi::Number>().Int64Value());
  return DescribePlain(info.Env(), Segment::CreatePlain(bytes));
}

// openOf(pid, fd) → a descriptor of the segment or pipe that is open as `fd` in that process
Napi::Value OpenOf(const Napi::CallbackInfo& info) {
  auto fd = core::OpenOf(info[0].As<Napi::Number>(), info[1].As<Napi::Number>());
  if (!fd.ok()) return Throw(info.Env(), fd.error());
  return Napi::Number::New(info.Env(), fd.value().Release());
}

core::Result<SegmentPtr> Attached(const Napi::CallbackInfo& info, core::SegmentKind kind) {
  core::UniqueFd fd(info[0].As<Napi::Number>().Int32Value());
  return Segment::Attach(std::move(fd), IdentityOf(info[1]), kind);
}

// attachSegment(fd, identity) → as createSegment. The descriptor is the segment's, or closed.
Napi::Value AttachSegment(const Napi::CallbackInfo& info) {
  return DescribeSlots(info.Env(), Attached(info, core::SegmentKind::kSlots));
}

// attachSharedBuffer(fd, identity) → as createSharedBuffer
Napi::Value AttachSharedBuffer(const Napi::CallbackInfo& info) {
  return DescribePlain(info.Env(), Attached(info, core::SegmentKind::kPlain));
}

SegmentPtr FindSegment(const Word* words) {
  std::lock_guard<std::mutex> lock(TheRegistry().mutex);
  for (auto& held : TheRegistry().segments) {
    SegmentPtr segment = held.lock();
    if (segment != nullptr && segment->words() == words) return segment;
  }
  return nullptr;
}

struct ThreadsEnd {
  napi_env env;
  int pid;
};

// The normal end of a thread. A child of a fork has the hooks of its parent, too.
void OrphanLocksOf(void* argument) {
  const std::unique_ptr<ThreadsEnd> end(static_cast<ThreadsEnd*>(argument));
  if (end->pid != core::CurrentPid()) return;
  Registry& registry = TheRegistry();
  std::lock_guard<std::mutex> lock(registry.mutex);
  EraseIf(&registry.watched, [&](napi_env env) { return env == end->env; });
  EraseIf(&registry.names, [&](const Name& name) {
    if (name.env == end->env) Orphan(name);
    return name.env == end->env;
  });
}

void RememberName(Napi::Env env, const SegmentPtr& segment, uint32_t token) {
  Registry& registry = TheRegistry();
  std::lock_guard<std::mutex> lock(registry.mutex);
  if (registry.pid != core::CurrentPid()) {
    registry.names.clear();
    registry.watched.clear();
    registry.pid = core::CurrentPid();
  }
  EraseIf(&registry.names, [](const Name& name) { return name.segment.expired(); });
  registry.names.push_back({segment, token, env});
  auto& watched = registry.watched;
  if (std::find(watched.begin(), watched.end(), env) != watched.end()) return;
  watched.push_back(env);
  napi_add_env_cleanup_hook(env, OrphanLocksOf, new ThreadsEnd{env, core::CurrentPid()});
}

// enrol(words) → the calling thread's token in this segment. From now on its end orphans what it holds there.
Napi::Value Enrol(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  const SegmentPtr segment = FindSegment(SegmentOf(info));
  const auto token = core::Enrol(segment->header());
  if (!token.ok()) {
    ThrowErrno(env, token.error().errnum, token.error().syscall,
               "as a user of these locks: " + std::to_string(core::kOwners) +
                   " living processes and threads are users of the same piece of shared memory. "
                   "End some, or make locks of their own for a part of them");
    return env.Undefined();
  }
  RememberName(env, segment, token.value());
  return Napi::Number::New(env, token.value());
}

// isDead(words, token) → whether the thread with this name has died.
Napi::Value IsDead(const Napi::CallbackInfo& info) {
  const uint32_t token = Unsigned(info, 1);
  return Napi::Boolean::New(info.Env(), core::IsDead(HeaderOf(info), token));
}

// acquireLock(words, index, token, milliseconds) → 0 no, 1 yes, 2 yes and its owner had died
Napi::Value AcquireLock(const Napi::CallbackInfo& info) {
  const uint32_t me = Unsigned(info, 2);
  const auto outcome = core::AcquireLock(HeaderOf(info), WordOf(info), me, DeadlineOf(info, 3));
  return Napi::Number::New(info.Env(), static_cast<int32_t>(outcome));
}

Napi::Value ReleaseLock(const Napi::CallbackInfo& info) {
  return Napi::Boolean::New(info.Env(), core::ReleaseLock(WordOf(info), HeaderOf(info)));
}

// acquireSemaphore(words, index, milliseconds) → whether
Napi::Value AcquireSemaphore(const Napi::CallbackInfo& info) {
  return Napi::Boolean::New(info.Env(), core::AcquireSemaphore(WordOf(info), DeadlineOf(info, 2)));
}

// releaseSemaphore(words, index, max) → false: it is at max
Napi::Value ReleaseSemaphore(const Napi::CallbackInfo& info) {
  const uint32_t max = Unsigned(info, 2);
  return Napi::Boolean::New(info.Env(), core::ReleaseSemaphore(WordOf(info), HeaderOf(info), max));
}

// park(words, index, expected, milliseconds) → sleeps while the word is `expected`, for a slice at most.
void Park(const Napi::CallbackInfo& info) {
  core::SpinAndPark(WordOf(info), Unsigned(info, 2), DeadlineOf(info, 3));
}

// unpark(words, index, count): wakes blocked waiters, and rings for the asynchronous ones.
void Unpark(const Napi::CallbackInfo& info) {
  core::Unpark(WordOf(info), info[2].As<Napi::Number>().Int32Value());
  core::RingBell(HeaderOf(info));
}

// SegmentListener(words, onReady(ids)): keeps the event loop alive while something is watched.
class SegmentListener : public Napi::ObjectWrap<SegmentListener> {
 public:
  static Napi::Function Define(Napi::Env env) {
    return DefineClass(env, "SegmentListener",
                       {InstanceMethod<&SegmentListener::Watch>("watch"),
                        InstanceMethod<&SegmentListener::Forget>("forget"),
                        InstanceMethod<&SegmentListener::Ref>("ref"),
                        InstanceMethod<&SegmentListener::Unref>("unref")});
  }

  explicit SegmentListener(const Napi::CallbackInfo& info)
      : Napi::ObjectWrap<SegmentListener>(info),
        context_(info.Env(), "SegmentListener"),
        pid_(core::CurrentPid()) {
    uv_loop_t* loop = nullptr;
    napi_get_uv_event_loop(info.Env(), &loop);
    async_ = new uv_async_t;
    async_->data = this;
    uv_async_init(loop, async_,
                  [](uv_async_t* async) { static_cast<SegmentListener*>(async->data)->Fire(); });
    uv_unref(reinterpret_cast<uv_handle_t*>(async_));
    // The function leads back to this object: what it is for keeps both, or, while it waits, the event loop does.
    callback_ = Napi::Weak(info[1].As<Napi::Function>());
    listener_ = new core::Listener(FindSegment(SegmentOf(info)),
                                   [async = async_] { uv_async_send(async); });
  }

  ~SegmentListener() override {
    // In a child of a fork, thread and handle are the parent's.
    if (core::CurrentPid() != pid_) return;
    delete listener_;
    uv_close(reinterpret_cast<uv_handle_t*>(async_),
             [](uv_handle_t* handle) { delete reinterpret_cast<uv_async_t*>(handle); });
  }

 private:
  void Watch(const Napi::CallbackInfo& info) {
    listener_->Watch(info[0].As<Napi::Number>(), info[1].As<Napi::Number>(),
                     static_cast<core::WatchFor>(Unsigned(info, 2)), info[3].As<Napi::Number>());
  }
  // In a child of a fork a wait of the parent's may still be given up.
  void Forget(const Napi::CallbackInfo& info) {
    if (core::CurrentPid() == pid_) listener_->Forget(info[0].As<Napi::Number>());
  }
  void Ref(const Napi::CallbackInfo&) {
    callback_.Ref();
    uv_ref(reinterpret_cast<uv_handle_t*>(async_));
  }
  void Unref(const Napi::CallbackInfo&) {
    callback_.Unref();
    if (core::CurrentPid() == pid_) uv_unref(reinterpret_cast<uv_handle_t*>(async_));
  }

  void Fire() {
    Napi::Env env = Env();
    Napi::HandleScope scope(env);
    const std::vector<uint32_t> ready = listener_->TakeReady();
    if (ready.empty() || callback_.IsEmpty() || callback_.Value().IsEmpty()) return;
    Napi::Array ids = Napi::Array::New(env, ready.size());
    for (uint32_t i = 0; i < ready.size(); i++) ids[i] = Napi::Number::New(env, ready[i]);
    CallBack(callback_.Value(), {ids}, context_);
  }

  Napi::AsyncContext context_;
  int pid_;
  uv_async_t* async_ = nullptr;
  core::Listener* listener_ = nullptr;
  Napi::FunctionReference callback_;
};

}  // namespace

void OrphanOwnLocks() {
  Registry& registry = TheRegistry();
  // Another thread may hold it, which at the end may have been ended itself.
  if (registry.pid != core::CurrentPid() || registry.names.empty() || !registry.mutex.try_lock())
    return;
  for (const Name& name : registry.names) Orphan(name);
  registry.names.clear();
  registry.mutex.unlock();
}

void InitSync(Napi::Env env, Napi::Object exports) {
  static const bool once = [] {
    std::atexit(OrphanOwnLocks);
    KeepRegistryForkable();
#if defined(_WIN32)
    core::StayLoaded();
#endif
    return true;
  }();
  (void)once;
  InitDistant(env, exports);
  exports["createSegment"] = Napi::Function::New(env, CreateSegment, "createSegment");
  exports["createSharedBuffer"] =
      Napi::Function::New(env, CreateSharedBuffer, "createSharedBuffer");
  exports["openOf"] = Napi::Function::New(env, OpenOf, "openOf");
  exports["attachSegment"] = Napi::Function::New(env, AttachSegment, "attachSegment");
  exports["attachSharedBuffer"] =
      Napi::Function::New(env, AttachSharedBuffer, "attachSharedBuffer");
  exports["enrol"] = Napi::Function::New(env, Enrol, "enrol");
  exports["isDead"] = Napi::Function::New(env, IsDead, "isDead");
  exports["acquireLock"] = Napi::Function::New(env, AcquireLock, "acquireLock");
  exports["releaseLock"] = Napi::Function::New(env, ReleaseLock, "releaseLock");
  exports["acquireSemaphore"] = Napi::Function::New(env, AcquireSemaphore, "acquireSemaphore");
  exports["releaseSemaphore"] = Napi::Function::New(env, ReleaseSemaphore, "releaseSemaphore");
  exports["park"] = Napi::Function::New(env, Park, "park");
  exports["unpark"] = Napi::Function::New(env, Unpark, "unpark");
  Napi::Function constructor = SegmentListener::Define(env);
  exports["SegmentListener"] = constructor;
}

}  // namespace mp
