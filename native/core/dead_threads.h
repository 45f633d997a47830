// Joining threads that a fork left behind.
//
// A child's copies of thread handles stand for threads that do not exist in it, and pthread_join would wait
// for them for ever: node joins its Workers, the watchdog of a vm script, and more. So from the first fork on,
// joining a thread that is not there succeeds at once, in children.
#ifndef MP_CORE_DEAD_THREADS_H_
#define MP_CORE_DEAD_THREADS_H_

#include <string>

namespace mp::core {

// Puts the wrapper in front of pthread_join in every loaded object. Idempotent. Empty: done.
std::string HookThreadJoin();

// In the child.
void ForgetThreads();

}  // namespace mp::core

#endif  // MP_CORE_DEAD_THREADS_H_
