// What becomes of the children when a signal ends the parent.
//
// At a normal end JavaScript terminates the daemons and joins the other children. SIGINT and SIGTERM, where
// nobody listens for them, end node without a turn of JavaScript: so the same is done here, in the signal
// handler, before the handler that was there before (node's, which restores the terminal) ends the process.
// A second signal does not wait. SIGKILL leaves no such chance: daemons ask the kernel to be told.
#ifndef MP_CORE_AT_DEATH_H_
#define MP_CORE_AT_DEATH_H_

namespace mp::core {

// Main thread only. Remembers a child of the calling process; of another process's children, copied by a
// fork, nothing remains. Beyond the table's 4,096 places a child is not remembered. `sentinel`: becomes readable when
// the child ends, before anybody else can have its pid; -1: it is ours to be waited for.
void TrackChild(int pid, bool daemon, int sentinel = -1);
void UntrackChild(int pid);

// Sees to it that our handler is in front for `signal`, unless it is ignored.
void HandleDeathBy(int signal);

}  // namespace mp::core

#endif  // MP_CORE_AT_DEATH_H_
