#include "isolate.h"

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
  void (*add_before_call)(void* isolate, void (*callback)(void* isolate)) = nullptr;
  void (*remove_before_call)(void* isolate, void (*callback)(void* isolate)) = nullptr;
};

Calls g_calls;

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
         load(&g_calls.add_before_call, "_ZN2v87Isolate28AddBeforeCallEnteredCallbackEPFvPS0_E") &&
         load(&g_calls.remove_before_call,
              "_ZN2v87Isolate31RemoveBeforeCallEnteredCallbackEPFvPS0_E");
#endif
}

void TerminateExecution() { g_calls.terminate(g_calls.current()); }

void CancelTerminateExecution() { g_calls.cancel(g_calls.current()); }

void RefuseJavaScript() { g_calls.add_before_call(g_calls.current(), g_calls.terminate); }

void AdmitJavaScript() { g_calls.remove_before_call(g_calls.current(), g_calls.terminate); }

void DiscardMicrotasks() {
  // The first microtask that enters JavaScript meets the termination; V8 then drops the whole queue.
  g_calls.terminate(g_calls.current());
  g_calls.checkpoint(g_calls.current());
  g_calls.cancel(g_calls.current());
}

}  // namespace mp::core
