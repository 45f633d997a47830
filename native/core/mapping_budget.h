// How many mappings a process can have, and how many are ours.
//
// Linux limits them (vm.max_map_count, 65,530 unless somebody has set it), and V8 needs some at any time: when it
// gets none it ends the process by SIGABRT. So our own mappings end earlier, with ENOMEM, and leave an eighth of
// the limit to V8, to threads and to libraries. A forked child has its parent's mappings, and their number.
//
// Any thread may call it. What others map is not counted: next to a library that maps tens of thousands of
// files this is too late.
#pragma once

#include <cstddef>

namespace mp::core {

bool MayMapMore();
// One more, or one less. Does not ask whether there may be one.
void CountMapping(int change);
// Those that are counted at this moment, and the system's limit for all; 0 where it has none.
size_t CountedMappings();
size_t MappingLimit();

}  // namespace mp::core
