// Two calls on threads that a forked child cannot leave to the C library.
//
// A child's copies of thread handles stand for threads that do not exist in it, and pthread_join would wait
// for them for ever: node joins its Workers, the watchdog of a vm script, and more. So from the first fork on,
// joining a thread that is not there succeeds at once, in children.
//
// And where the system has no thread left to give, the constructor of the platform's task runner waits for ever
// for those it could not start. A child that cannot have its threads ends instead, and says why.
#ifndef MP_CORE_THREAD_HOOKS_H_
#define MP_CORE_THREAD_HOOKS_H_

#include <string>

namespace mp::core {

// Puts the wrappers into every loaded object. Idempotent. Empty: done.
std::string HookThreads();

// In the child. The descriptor takes a report of a failure ("11 pthread_create") as long as the child has not
// started; afterwards, -1, it goes to stderr.
void ForgetThreads(int report_fd);
void SetReportFd(int report_fd);

// While alive, a thread that cannot be created ends the process.
class ThreadsRequired {
 public:
  ThreadsRequired();
  ~ThreadsRequired();
};

}  // namespace mp::core

#endif  // MP_CORE_THREAD_HOOKS_H_
