// What the main thread is in the middle of.
//
// JavaScript frames carry no unwinding information. Through them, the stack can only be searched for a return
// address into a function. Stale words look like one: the large arrays of libuv's poll, which nobody clears, keep
// many. So a yes of IsInside may be wrong, and must do no more harm than a little caution does.
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

// Whether the calling main thread may return into the function. False is certain.
bool IsInside(const CodeRange& function);

// Whether the function has called this one, itself or through other native functions, with no JavaScript in
// between. Unwinds, and is right both ways.
bool IsCalledFrom(const CodeRange& function);

}  // namespace mp::core

#endif
#endif  // MP_CORE_MAIN_STACK_H_
