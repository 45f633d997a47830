// What the main thread is in the middle of.
//
// JavaScript frames carry no unwinding information, so the stack is searched for a return address into a
// function. A stale word that looks like one only makes the answer cautious.
#ifndef MP_CORE_MAIN_STACK_H_
#define MP_CORE_MAIN_STACK_H_

#if !defined(_WIN32)

#include <cstdint>

namespace mp::core {

struct CodeRange {
  uintptr_t start = 0;
  uintptr_t end = 0;
  bool known() const { return start != 0; }
};

// An exported function, by its mangled name. Looked up in the parent: a search in a child touches, and so
// copies in, dozens of pages.
CodeRange FindFunction(const char* name);

// Once, on the main thread, in the parent. False when it is not known where the stack begins.
bool FindMainStack();

// Whether the calling main thread will return into the function.
bool IsInside(const CodeRange& function);

}  // namespace mp::core

#endif
#endif  // MP_CORE_MAIN_STACK_H_
