// The addon's entry: called once per JavaScript environment (the main thread and each Worker), possibly
// at the same time from several threads. It only gathers what the concept files export, one Init function
// each; state that belongs to an environment lives in instance data of those files, never in a mutable
// global here.

#include <napi.h>

namespace mp {

// native/binding/posix.cc: the raw primitives behind `node-multiprocessing/posix`.
void InitPosix(Napi::Env env, Napi::Object exports);
// native/binding/fork.cc: forking the running process and starting the child on an empty stack.
void InitFork(Napi::Env env, Napi::Object exports);
// native/binding/fd_watch.cc: descriptors on the event loop.
void InitFdWatch(Napi::Env env, Napi::Object exports);
// native/binding/connection.cc: framed messages, and descriptors on the event loop.
void InitConnection(Napi::Env env, Napi::Object exports);
// native/binding/sync.cc: segments, locks and waits.
void InitSync(Napi::Env env, Napi::Object exports);
// native/binding/channel.cc: queues of messages in shared memory.
void InitChannel(Napi::Env env, Napi::Object exports);
// native/binding/weak_table.cc: which objects there are.
void InitWeakTable(Napi::Env env, Napi::Object exports);
// native/binding/pipe.cc: the ends of pipes in shared memory.
void InitPipe(Napi::Env env, Napi::Object exports);
// native/binding/shared_memory.cc: shared memory, mappings, named semaphores.
void InitSharedMemory(Napi::Env env, Napi::Object exports);
// native/binding/resource_tracker.cc: the pipe to the process that unlinks what was leaked.
void InitResourceTracker(Napi::Env env, Napi::Object exports);
// native/binding/resource_sharer.cc: descriptors that are fetched from their sender.
void InitResourceSharer(Napi::Env env, Napi::Object exports);

}  // namespace mp

namespace {

Napi::Object Init(Napi::Env env, Napi::Object exports) {
  mp::InitPosix(env, exports);
  mp::InitFork(env, exports);
  mp::InitFdWatch(env, exports);
  mp::InitConnection(env, exports);
  mp::InitSync(env, exports);
  mp::InitChannel(env, exports);
  mp::InitWeakTable(env, exports);
  mp::InitPipe(env, exports);
  mp::InitSharedMemory(env, exports);
  mp::InitResourceTracker(env, exports);
  mp::InitResourceSharer(env, exports);
  return exports;
}

}  // namespace

NODE_API_MODULE(multiprocessing, Init)
