#include "main_stack.h"

#if !defined(_WIN32)

#include <dlfcn.h>
#include <pthread.h>
#include <unwind.h>

#include <cstddef>

#if defined(__linux__)
#include <link.h>
#endif

#if defined(__GLIBC__)
extern "C" void* __libc_stack_end;  // where the main thread's stack begins
#endif

namespace mp::core {
namespace {

constexpr size_t kUsualLength = 4096;  // of a function, where the symbol table does not tell

uintptr_t g_stack_base = 0;

}  // namespace

CodeRange FindFunction(const char* name) {
  CodeRange range;
  void* address = dlsym(RTLD_DEFAULT, name);
  if (address == nullptr) return range;
  range.start = reinterpret_cast<uintptr_t>(address);
  range.end = range.start + kUsualLength;
#if defined(__GLIBC__)
  Dl_info info;
  ElfW(Sym)* symbol = nullptr;
  if (dladdr1(address, &info, reinterpret_cast<void**>(&symbol), RTLD_DL_SYMENT) != 0 &&
      symbol != nullptr && symbol->st_size > 0) {
    range.end = range.start + symbol->st_size;
  }
#endif
  return range;
}

bool FindMainStack() {
#if defined(__GLIBC__)
  g_stack_base = reinterpret_cast<uintptr_t>(__libc_stack_end);
#elif defined(__linux__)
  pthread_attr_t attributes;
  if (pthread_getattr_np(pthread_self(), &attributes) != 0) return false;
  void* lowest;
  size_t size;
  pthread_attr_getstack(&attributes, &lowest, &size);
  pthread_attr_destroy(&attributes);
  g_stack_base = reinterpret_cast<uintptr_t>(lowest) + size;
#else
  g_stack_base = reinterpret_cast<uintptr_t>(pthread_get_stackaddr_np(pthread_self()));
#endif
  return true;
}

__attribute__((no_sanitize("address"))) bool IsInside(const CodeRange& function) {
  const auto* word = static_cast<const uintptr_t*>(__builtin_frame_address(0));
  for (; reinterpret_cast<uintptr_t>(word + 1) <= g_stack_base; word++) {
    if (*word > function.start && *word <= function.end) return true;
  }
  return false;
}

bool IsCalledFrom(const CodeRange& function) {
  struct Search {
    const CodeRange& function;
    bool found;
  } search{function, false};
  auto look = [](_Unwind_Context* frame, void* data) {
    auto* search = static_cast<Search*>(data);
    const uintptr_t address = _Unwind_GetIP(frame);
    search->found = address > search->function.start && address <= search->function.end;
    return search->found ? _URC_END_OF_STACK : _URC_NO_REASON;
  };
  _Unwind_Backtrace(look, &search);
  return search.found;
}

}  // namespace mp::core

#endif
