// The few calls on the running V8 isolate that Node-API does not offer, taken from node's exported
// symbols: they are the same on Node 20 to 26.
#ifndef MP_CORE_ISOLATE_H_
#define MP_CORE_ISOLATE_H_

namespace mp::core {

// False when this build of node does not export them.
bool ResolveIsolateCalls();

// Makes V8 unwind the JavaScript stack of the calling thread: no catch, no finally runs.
void TerminateExecution();
void CancelTerminateExecution();

// From now on every entry into JavaScript is terminated before it does anything: after the unwinding,
// native code of node may still be in the middle of a batch of the parent's events.
void RefuseJavaScript();
void AdmitJavaScript();

// Empties the microtask queue without letting its JavaScript run. Call on an empty JavaScript stack.
void DiscardMicrotasks();

}  // namespace mp::core

#endif  // MP_CORE_ISOLATE_H_
