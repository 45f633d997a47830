// The child's event loop.
//
// fork(2) copies the loop's memory, and shares its kernel objects with the parent: the epoll set, the
// signal pipe, every socket. ReviveLoop gives the loop kernel objects of its own. RetireHandles then
// silences every handle that belongs to the parent without running a callback and without touching the
// parent's side: the descriptors stay open, and a handle that the child starts anew (reads from, writes
// to) works on the child's own loop.
#ifndef MP_CORE_LOOP_FORK_H_
#define MP_CORE_LOOP_FORK_H_

#if !defined(_WIN32)

#include <uv.h>

namespace mp::core {

// Parent: false when this build of node hides its timer callback.
bool ResolveLoopCalls();

// Child, first thing: 0, or a libuv error (EMFILE when there is no descriptor left for an epoll set).
int ReviveLoop(uv_loop_t* loop);

// Whether ReviveLoop discarded a wake-up that another thread or V8 had sent the loop.
bool WakeUpsWereLost();

// os.fork semantics: handles go on. Only requests in the thread pool are forgotten, since the threads
// that would complete them do not exist.
void ForgetPoolRequests(uv_loop_t* loop);

// multiprocessing semantics: no timer, socket, listener, watcher, request or pending output of the
// parent acts in the child. Answers the descriptors among 0 to 2 that had a handle, as a bit set.
unsigned RetireHandles(uv_loop_t* loop);

// When JavaScript has stopped what it can: what is still active (a listener, a child process, an addon's
// handle) does not keep the child alive.
void ReleaseLoop(uv_loop_t* loop);

// On the child's empty stack. No request of the parent is waited for any more (not earlier, because libuv
// counts down those of a batch of finished ones that it may be in the middle of); node's immediates run
// again; and its one loop timer is armed for one turn, because its JS side believes that it is armed.
void ResumeLoop(uv_loop_t* loop);

// Whether node's timer callback has called us, with no JavaScript in between.
bool CalledByNodeTimer();

}  // namespace mp::core

#endif
#endif  // MP_CORE_LOOP_FORK_H_
