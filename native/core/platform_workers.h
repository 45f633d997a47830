// node's V8 platform: bringing its worker threads to rest, and giving a forked child new ones.
//
// Why: V8 hands garbage collection, JIT compilation and WebAssembly to a pool of worker threads that
// node's platform owns. fork(2) copies only the calling thread. A worker that is inside V8 at that
// instant leaves behind, in the child, a lock nobody will release, a LocalHeap that counts as running
// for ever, or a job whose "active workers" never reaches zero; and whatever the child posts later
// waits for threads that do not exist.
//
// What this file guarantees:
//   Gather()       returns true only when every worker thread of the platform is executing a task of
//                  ours, parked in a futex wait. A thread that runs our task runs nothing of V8's: it
//                  holds no V8 lock, owns no LocalHeap, takes part in no job, and is not inside a
//                  condition variable of the platform's queue. The tasks are posted with the lowest
//                  priority, so all work posted before has been taken by then.
//                  Where all of them are known to be asleep waiting for work, and nobody but the caller
//                  could give them any, they are left asleep: waking them would cost more than the fork.
//   Release()      lets them go on (parent).
//   ReplaceInChild sees to it that the platform's first use in the child finds a new task runner, with
//                  worker threads that exist, in place of the copied one, whose threads do not. A child
//                  that needs no background work starts no thread.
//
// Who may call it: the main thread, outside of any V8 lock (an N-API callback is). docs/fork.md holds
// the whole argument.
#ifndef MP_CORE_PLATFORM_WORKERS_H_
#define MP_CORE_PLATFORM_WORKERS_H_

#if defined(__linux__)

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace mp::core {

struct Gathering;

class PlatformWorkers {
 public:
  // Resolves what is needed from node's exported symbols. Empty: usable. Otherwise why it is not.
  static std::string Resolve();

  // Brings every worker to rest, for at most timeout_ms. Empty on success; `restless` is set when time ran out.
  // A worker that has found the heap full waits until the main thread collects garbage, which it does not do in
  // here. On the first success the platform's task-runner slot is located and verified against the threads that
  // answered.
  std::string Gather(int timeout_ms, bool* restless);
  void Release();

  // Child only, after Gather() succeeded in the parent.
  void ReplaceInChild();

  // The platform's foreground queue, whose wake-up uv_loop_fork discards.
  void FlushForegroundTasks();

  // Child: the platform has not been used since the fork.
  bool unused() const;

 private:
  std::string FindPlatform();
  bool StillAsleep();
  static void MarkUsed();
  static void NoneDelayed();
  bool AllAsleep() const;
  bool IsWorker(pid_t thread) const;
  std::string FindRunnerSlot();
  void PrepareVtables();
  void StartFreshRunner();
  static void EnsureRunner();

  friend struct Thunks;

  void* platform_ = nullptr;      // node::NodePlatform*
  void** runner_slot_ = nullptr;  // where the platform keeps its WorkerThreadsTaskRunner*
  int workers_ = 0;
  std::vector<pid_t>
      worker_threads_;           // their thread ids, known from the first gathering of this process
  void** own_vtable_ = nullptr;  // the platform's virtual table as node made it
  void** noted_vtable_ = nullptr;  // a copy whose entries note that the platform was used (parent)
  void** late_vtable_ = nullptr;   // a copy whose entries start the runner first (child)
  Gathering* gathering_ = nullptr;
};

}  // namespace mp::core

#endif  // __linux__
#endif  // MP_CORE_PLATFORM_WORKERS_H_
