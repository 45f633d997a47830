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
// native code of node may still be in the middle of a batch of the parent's events. `excepted` is asked at each
// entry, and lets it pass.
void RefuseJavaScript(bool (*excepted)());
void AdmitJavaScript();

// The same for microtasks, whose JavaScript is entered another way: none runs until ResumeMicrotasks().
void SuspendMicrotasks();
void ResumeMicrotasks();

// Once, in the parent: finds where V8 counts the microtasks, by watching the queue while `enqueue` adds one at a
// time. False: not recognised.
bool FindMicrotaskCount(void (*enqueue)(void* data), void* data);

// Empties the microtask queue and runs nothing of it. (Running it under a termination is not enough: an async
// function that resumes meets no check before its next call of a JavaScript function.)
void DiscardMicrotasks();

}  // namespace mp::core

#endif  // MP_CORE_ISOLATE_H_
