// Memory that has a descriptor and no name: what segments are made of.
//
// Linux has memory files, and seals them, so that nobody can cut one off under a mapping. Elsewhere it is a shared
// memory object whose name is gone before anybody could look: macOS lets its size be set once, ever, which is as good.
#ifndef MP_CORE_MEMORY_FILE_H_
#define MP_CORE_MEMORY_FILE_H_

#include <cstddef>

#include "core/fd.h"
#include "core/result.h"

namespace mp::core {

// Of `bytes` zeroed bytes, or a little more where the system counts in pages. From here on its size is for ever: whoever
// maps it need not fear SIGBUS. ENOMEM, EMFILE, ENFILE.
Result<UniqueFd> CreateMemoryFile(size_t bytes);

// How large the memory file of this descriptor is. EPROTO: it is none, or one that can be cut off.
Result<size_t> MemoryFileSize(int fd);

}  // namespace mp::core

#endif  // MP_CORE_MEMORY_FILE_H_
