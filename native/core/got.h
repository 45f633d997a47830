// Redirects calls that loaded objects make through their global offset table.
#ifndef MP_CORE_GOT_H_
#define MP_CORE_GOT_H_

#if defined(__linux__)

#include <string>

namespace mp::core {

struct GotPatch {
  int slots = 0;  // entries that now point to the replacement
  bool patched_main_program =
      false;            // the object that holds V8 (the program, or libnode) is among them
  std::string problem;  // set when an entry exists but could not be written
};

// Makes every loaded object but this one call `replacement` where it imports `symbol`. Pages that are
// read-only after relocation (RELRO) are made writable for the store and read-only again. Idempotent.
GotPatch PatchGot(const char* symbol, void* replacement);

}  // namespace mp::core

#endif
#endif  // MP_CORE_GOT_H_
