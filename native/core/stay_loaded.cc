#if !defined(_WIN32)

#include "core/stay_loaded.h"

#include <dlfcn.h>

namespace mp::core {

bool StayLoaded() {
  Dl_info self;
  if (dladdr(reinterpret_cast<void*>(&StayLoaded), &self) == 0) return false;
  return dlopen(self.dli_fname, RTLD_LAZY | RTLD_NOLOAD | RTLD_NODELETE) != nullptr;
}

}  // namespace mp::core

#endif
