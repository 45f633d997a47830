// Ending with one's parent, where the kernel does not see to it (prctl, Linux).
//
// A thread looks at the parent four times a second, by its number and the time of its start, as locks look at their
// owners (owner.h): so a parent that a debugger takes the place of still is the parent, and another process with its
// number is not. When it has gone, reaped or not, this process is killed, wherever it is.
#ifndef MP_CORE_PARENT_WATCH_H_
#define MP_CORE_PARENT_WATCH_H_

#if !defined(_WIN32)

#include "core/result.h"

namespace mp::core {

// From now on, and for good; a forked child does not inherit it. `parent` is a process that lives, or has died a moment
// ago. EAGAIN: no thread is to be had. An error of looking (LookAtProcess) where nothing can be seen.
Result<void> EndWithParent(int parent);

}  // namespace mp::core

#endif
#endif  // MP_CORE_PARENT_WATCH_H_
