// Makes V8's heap survive fork(2).
//
// V8 marks its heap MADV_DONTFORK so that spawning a program stays cheap; a child that goes on running
// JavaScript would find nothing there. From the first fork on, and not before (a program that never
// forks keeps the cheap spawn), the mark is undone and no longer made.
#ifndef MP_CORE_FORKABLE_HEAP_H_
#define MP_CORE_FORKABLE_HEAP_H_

#include <string>

namespace mp::core {

// Puts our wrapper in front of madvise(2) in every loaded object that calls it. It changes nothing
// until KeepHeapForkable(). Idempotent; call again after new objects were loaded. Empty: done.
// Otherwise why a fork cannot work here (for instance a static build, which calls through no GOT).
std::string HookMadvise();

// While no other thread maps heap pages (every V8 worker is at rest): stop marking, and unmark what is
// marked. Empty on success.
std::string KeepHeapForkable();

}  // namespace mp::core

#endif  // MP_CORE_FORKABLE_HEAP_H_
