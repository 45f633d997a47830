#include "isolate.h"

#include <cstdint>
#include <cstring>
#include <type_traits>

#if !defined(_WIN32)
#include <dlfcn.h>
#endif

namespace mp::core {
namespace {

struct Calls {
  void* (*current)() = nullptr;
  void (*terminate)(void* isolate) = nullptr;
  void (*cancel)(void* isolate) = nullptr;
  void (*checkpoint)(void* isolate) = nullptr;
  void* (*current_context)(void* isolate) = nullptr;
  void* (*queue_of)(void* context) = nullptr;
  void (*open_scope)(void* scope, void* isolate, void* queue, int type) = nullptr;
  void (*close_scope)(void* scope) = nullptr;
  void (*add_before_call)(void* isolate, void (*callback)(void* isolate)) = nullptr;
  void (*remove_before_call)(void* isolate, void (*callback)(void* isolate)) = nullptr;
};

Calls g_calls;
bool (*g_excepted)() = nullptr;

void RefuseEntry(void* isolate) {
  if (!g_excepted()) g_calls.terminate(isolate);
}

// A v8::MicrotasksScope, which is a few pointers; on any version less than this.
alignas(16) char g_no_microtasks[128];
bool g_no_microtasks_open = false;
// Where V8's queue of microtasks keeps their number, and how far into the queue to look for it: its links, size,
// capacity, start and buffer are its first words.
intptr_t* g_microtask_count = nullptr;
constexpr int kQueueWords = 10;
constexpr int kRunMicrotasks = 0;  // v8::MicrotasksScope::kRunMicrotasks

}  // namespace

bool ResolveIsolateCalls() {
#if defined(_WIN32)
  return false;
#else
  auto load = [](auto* out, const char* name) {
    *out = reinterpret_cast<std::remove_pointer_t<decltype(out)>>(dlsym(RTLD_DEFAULT, name));
    return *out != nullptr;
  };
  return load(&g_calls.current, "_ZN2v87Isolate10GetCurrentEv") &&
         load(&g_calls.terminate, "_ZN2v87Isolate18TerminateExecutionEv") &&
         load(&g_calls.cancel, "_ZN2v87Isolate24CancelTerminateExecutionEv") &&
         load(&g_calls.checkpoint, "_ZN2v815MicrotasksScope17PerformCheckpointEPNS_7IsolateE") &&
         load(&g_calls.current_context, "_ZN2v87Isolate17GetCurrentContextEv") &&
         load(&g_calls.queue_of, "_ZN2v87Context17GetMicrotaskQueueEv") &&
         load(&g_calls.open_scope,
              "_ZN2v815MicrotasksScopeC1EPNS_7IsolateEPNS_14MicrotaskQueueENS0_4TypeE") &&
         load(&g_calls.close_scope, "_ZN2v815MicrotasksScopeD1Ev") &&
         load(&g_calls.add_before_call, "_ZN2v87Isolate28AddBeforeCallEnteredCallbackEPFvPS0_E") &&
         load(&g_calls.remove_before_call,
              "_ZN2v87Isolate31RemoveBeforeCallEnteredCallbackEPFvPS0_E");
#endif
}

void TerminateExecution() { g_calls.terminate(g_calls.current()); }

void CancelTerminateExecution() { g_calls.cancel(g_calls.current()); }

void RefuseJavaScript(bool (*excepted)()) {
  g_excepted = excepted;
  g_calls.add_before_call(g_calls.current(), &RefuseEntry);
}

void AdmitJavaScript() { g_calls.remove_before_call(g_calls.current(), &RefuseEntry); }

// Inside a scope no checkpoint runs anything. (With node's explicit policy, leaving it does not either.)
void SuspendMicrotasks() {
  g_calls.open_scope(g_no_microtasks, g_calls.current(), nullptr, kRunMicrotasks);
  g_no_microtasks_open = true;
}

void ResumeMicrotasks() {
  if (g_no_microtasks_open) g_calls.close_scope(g_no_microtasks);
  g_no_microtasks_open = false;
}

bool FindMicrotaskCount(void (*enqueue)(void* data), void* data) {
  auto* queue =
      static_cast<intptr_t*>(g_calls.queue_of(g_calls.current_context(g_calls.current())));
  if (queue == nullptr) return false;
  intptr_t before[kQueueWords];
  intptr_t between[kQueueWords];
  memcpy(before, queue, sizeof(before));
  enqueue(data);
  memcpy(between, queue, sizeof(between));
  enqueue(data);
  g_microtask_count = nullptr;
  for (int i = 0; i < kQueueWords; i++) {
    if (between[i] != before[i] + 1 || queue[i] != before[i] + 2) continue;
    if (g_microtask_count != nullptr) return false;  // ambiguous
    g_microtask_count = queue + i;
  }
  return g_microtask_count != nullptr;
}

// What is not counted is not there: the entries are left behind in the ring buffer.
void DiscardMicrotasks() { *g_microtask_count = 0; }

}  // namespace mp::core
