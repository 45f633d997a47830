#include "platform_workers.h"

#if defined(__linux__)

#include <dlfcn.h>
#include <fcntl.h>
#include <link.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <climits>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <vector>

#include "clock.h"
#include "futex.h"
#include "main_stack.h"
#include "other_threads.h"
#include "thread_hooks.h"

namespace mp::core {
namespace {

constexpr int kMaxWorkers = 256;
constexpr size_t kPlatformWords = 64;       // NodePlatform is smaller than this many pointers
constexpr size_t kRunnerWords = 128;        // and WorkerThreadsTaskRunner than this many
constexpr size_t kFreshRunnerBytes = 4096;  // room for a new one, several times its size
constexpr int kBestEffort = 0;              // v8::TaskPriority::kBestEffort
constexpr int kNoDebugLog = 0;              // node::PlatformDebugLogLevel::kNone

// The virtual table of v8::Task: a virtual destructor, then Run. The same since 2013.
class V8Task {
 public:
  virtual ~V8Task() = default;
  virtual void Run() = 0;
};

// A std::unique_ptr<v8::Task> is passed by the address of its one pointer (Itanium C++ ABI).
using PostPlain = void (*)(void* platform, V8Task** task);
using PostWithPriority = void (*)(void* platform, int priority, V8Task** task, const void* where);
using CountWorkers = int (*)(void* platform);
using ConstructRunner = void (*)(void* self, int threads, int debug_log_level);
using FlushForeground = bool (*)(void* platform, void* isolate);

struct Symbols {
  PostPlain post_plain = nullptr;                 // node 20
  PostWithPriority post_with_priority = nullptr;  // node 22 and later
  CountWorkers count_workers = nullptr;
  ConstructRunner construct_runner = nullptr;  // node 20's takes no level and ignores ours
  FlushForeground flush_foreground = nullptr;
  CodeRange drain_tasks;
  void* (*current_isolate)() = nullptr;
  void* (*current_context)(void* isolate) = nullptr;
  void* (*current_environment)(void* context) = nullptr;
  void* (*platform_of)(void* environment) = nullptr;
};

Symbols g_symbols;

template <typename F>
bool Load(F* out, const char* name) {
  *out = reinterpret_cast<F>(dlsym(RTLD_DEFAULT, name));
  return *out != nullptr;
}

// The system reads from a bad address for us, and says so, when it is told to write from there. For at most PIPE_BUF bytes.
bool ReadThroughPipe(const void* from, void* to, size_t bytes) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return false;
  const bool done = write(ends[1], from, bytes) == static_cast<ssize_t>(bytes) &&
                    read(ends[0], to, bytes) == static_cast<ssize_t>(bytes);
  close(ends[0]);
  close(ends[1]);
  return done;
}

// Reads this process's own memory without the risk of a fault.
bool SafeRead(const void* from, void* to, size_t bytes) {
  iovec local{to, bytes};
  iovec remote{const_cast<void*>(from), bytes};
  if (process_vm_readv(getpid(), &local, 1, &remote, 1, 0) == static_cast<ssize_t>(bytes)) {
    return true;
  }
  // Emulators do not have the call, and some sandboxes forbid it.
  return (errno == ENOSYS || errno == EPERM) && ReadThroughPipe(from, to, bytes);
}

size_t SafeReadWords(const void* from, uintptr_t* to, size_t words) {
  // The object may end close to the end of a mapping: take as much as there is.
  for (; words >= 8; words /= 2) {
    if (SafeRead(from, to, words * sizeof(uintptr_t))) return words;
  }
  return 0;
}

}  // namespace

// Shared by the gatherer and its tasks. A task may outlive the gathering (a time-out leaves tasks in
// V8's queue), so the last one to let go frees it.
struct Gathering {
  std::atomic<uint32_t> arrived{0};  // futex word: the gatherer waits for it to reach `expected`
  std::atomic<uint32_t> places{0};   // taken in who[] and thread_ids[]
  std::atomic<uint32_t> open{0};     // futex word: the parked workers wait for it to become 1
  std::atomic<int> references;
  pthread_t who[kMaxWorkers];
  pid_t thread_ids[kMaxWorkers];

  explicit Gathering(int tasks) : references(tasks + 1) {}
  void Unref() {
    if (references.fetch_sub(1, std::memory_order_acq_rel) == 1) delete this;
  }
};

namespace {

class RestTask final : public V8Task {
 public:
  explicit RestTask(Gathering* gathering) : gathering_(gathering) {}
  ~RestTask() override { gathering_->Unref(); }
  void Run() override {
    // Acquire pairs with Open()'s release: a late task of a finished gathering must not park.
    if (gathering_->open.load(std::memory_order_acquire) != 0) return;
    // Each worker parks in the one task it took, so it has a place of its own.
    const uint32_t mine = gathering_->places.fetch_add(1, std::memory_order_relaxed);
    gathering_->who[mine] = pthread_self();
    gathering_->thread_ids[mine] = static_cast<pid_t>(syscall(SYS_gettid));
    // Release pairs with the gatherer's acquire load of `arrived`: it reads who[] and thread_ids[].
    gathering_->arrived.fetch_add(1, std::memory_order_release);
    FutexWake(&gathering_->arrived, 1);
    while (gathering_->open.load(std::memory_order_acquire) == 0) {
      FutexWait(&gathering_->open, 0, -1);
    }
  }

 private:
  Gathering* gathering_;
};

void Open(Gathering* gathering) {
  gathering->open.store(1, std::memory_order_release);
  FutexWake(&gathering->open, INT_MAX);
}

void Post(void* platform, V8Task* task) {
  static const uintptr_t nowhere[8] = {};  // an empty v8::SourceLocation
  V8Task* owned = task;
  if (g_symbols.post_with_priority != nullptr) {
    g_symbols.post_with_priority(platform, kBestEffort, &owned, nowhere);
  } else {
    g_symbols.post_plain(platform, &owned);
  }
  delete owned;  // null once moved from, as it is on every known version
}

}  // namespace

std::string PlatformWorkers::Resolve() {
  Symbols& s = g_symbols;
  const bool post =
      Load(&s.post_with_priority,
           "_ZN4node12NodePlatform26PostTaskOnWorkerThreadImplEN2v812TaskPriorityESt10unique_"
           "ptrINS1_4TaskESt14default_deleteIS4_EERKNS1_14SourceLocationE") ||
      Load(&s.post_plain,
           "_ZN4node12NodePlatform18CallOnWorkerThreadESt10unique_ptrIN2v84TaskESt14default_"
           "deleteIS3_EE");
  const bool runner = Load(&s.construct_runner,
                           "_ZN4node23WorkerThreadsTaskRunnerC1EiNS_21PlatformDebugLogLevelE") ||
                      Load(&s.construct_runner, "_ZN4node23WorkerThreadsTaskRunnerC1Ei");
  const bool rest =
      Load(&s.count_workers, "_ZN4node12NodePlatform21NumberOfWorkerThreadsEv") &&
      Load(&s.flush_foreground, "_ZN4node12NodePlatform20FlushForegroundTasksEPN2v87IsolateE") &&
      Load(&s.current_isolate, "_ZN2v87Isolate10GetCurrentEv") &&
      Load(&s.current_context, "_ZN2v87Isolate17GetCurrentContextEv") &&
      Load(&s.current_environment, "_ZN4node21GetCurrentEnvironmentEN2v85LocalINS0_7ContextEEE") &&
      Load(&s.platform_of, "_ZN4node23GetMultiIsolatePlatformEPNS_11EnvironmentE");
  s.drain_tasks = FindFunction("_ZN4node12NodePlatform10DrainTasksEPN2v87IsolateE");
  if (!post || !runner || !rest || !s.drain_tasks.known()) {
    return "this build of node does not export its V8 platform's worker pool";
  }
  return "";
}

std::string PlatformWorkers::FindPlatform() {
  void* isolate = g_symbols.current_isolate();
  void* context = isolate == nullptr ? nullptr : g_symbols.current_context(isolate);
  void* environment = context == nullptr ? nullptr : g_symbols.current_environment(context);
  platform_ = environment == nullptr ? nullptr : g_symbols.platform_of(environment);
  if (platform_ == nullptr) return "node's V8 platform was not found";
  // node counts the thread that schedules delayed tasks as one of its workers; it runs none.
  workers_ = g_symbols.count_workers(platform_) - 1;
  if (workers_ < 1 || workers_ > kMaxWorkers)
    return "the V8 platform's worker count is not plausible";
  return "";
}

std::string PlatformWorkers::Gather(int timeout_ms, bool* restless) {
  if (platform_ == nullptr) {
    std::string problem = FindPlatform();
    if (!problem.empty()) {
      platform_ = nullptr;
      return problem;
    }
  }
  // In a child whose runner has not been needed yet there is nobody to bring to rest.
  if (unused() || StillAsleep()) return "";
  if (AllAsleep()) {
    NoneDelayed();
    return "";
  }

  auto* gathering = new Gathering(workers_);
  for (int i = 0; i < workers_; i++) Post(platform_, new RestTask(gathering));

  const int64_t deadline = MonotonicNs() + int64_t{timeout_ms} * 1000000;
  uint32_t seen;
  while ((seen = gathering->arrived.load(std::memory_order_acquire)) <
         static_cast<uint32_t>(workers_)) {
    const int64_t left = deadline - MonotonicNs();
    if (left <= 0) {
      Open(gathering);
      gathering->Unref();
      *restless = true;
      MarkUsed();
      return "V8's background work did not come to rest";
    }
    FutexWait(&gathering->arrived, seen, left);
  }
  gathering_ = gathering;
  if (runner_slot_ == nullptr) {
    std::string problem = FindRunnerSlot();
    if (!problem.empty()) {
      Release();
      return problem;
    }
  }
  if (worker_threads_.empty()) {
    worker_threads_.assign(gathering->thread_ids, gathering->thread_ids + workers_);
  }
  return "";
}

namespace {

// Whether the address lies in the variables of the program or of a library.
bool InStaticData(uintptr_t address) {
  auto contains = [](dl_phdr_info* info, size_t, void* data) {
    const uintptr_t wanted = *static_cast<uintptr_t*>(data);
    for (int i = 0; i < info->dlpi_phnum; i++) {
      const ElfW(Phdr) & segment = info->dlpi_phdr[i];
      const uintptr_t start = info->dlpi_addr + segment.p_vaddr;
      if (segment.p_type == PT_LOAD && wanted >= start && wanted < start + segment.p_memsz)
        return 1;
    }
    return 0;
  };
  return dl_iterate_phdr(contains, &address) != 0;
}

bool IsEpollWithoutLimit(const Sleep& sleep) {
  return IsEpoll(sleep) && static_cast<int>(sleep.arguments[3]) == -1;
}

}  // namespace

bool PlatformWorkers::IsWorker(pid_t thread) const {
  for (pid_t worker : worker_threads_) {
    if (worker == thread) return true;
  }
  return false;
}

// True when every other thread of the process sleeps where it can neither run V8's work nor give any:
// - each worker in a futex inside the runner object, which is its queue's condition variable;
// - one thread, the runner's scheduler of delayed tasks, in an epoll_wait without a time limit, so that
//   no delayed task is pending;
// - others in a futex in a program's static data: libuv's idle pool, node's signal watcher.
// A task posted by somebody else a moment ago shows as a running worker. Since the calling thread is the
// only one that could post now, what was seen stays true until the fork.
bool PlatformWorkers::AllAsleep() const {
  if (worker_threads_.empty()) return false;
  const auto runner = reinterpret_cast<uintptr_t>(*runner_slot_);
  size_t workers = 0;
  int schedulers = 0;
  bool asleep = true;
  const bool looked = ForEachThread([&](pid_t thread, const Sleep* sleep) {
    if (sleep == nullptr) {
      asleep = false;
    } else if (sleep->number == SYS_futex) {
      const uintptr_t word = sleep->arguments[0];
      if (IsWorker(thread)) {
        asleep = word >= runner && word < runner + kRunnerWords * sizeof(void*);
        workers++;
      } else {
        asleep = InStaticData(word);
      }
    } else {
      asleep = IsEpollWithoutLimit(*sleep) && ++schedulers == 1;
    }
    return asleep;
  });
  return looked && asleep && workers == worker_threads_.size() && schedulers == 1;
}

void PlatformWorkers::Release() {
  if (gathering_ == nullptr) return;
  Open(gathering_);
  gathering_->Unref();
  gathering_ = nullptr;
}

// NodePlatform holds one pointer to its WorkerThreadsTaskRunner, which holds a vector of pointers to
// the pthread_t of its threads: the delayed-task scheduler's, then the workers'. We know who the
// workers are, since each of them is parked in a task of ours, so the pair is recognised by content
// rather than by offset: exactly one such vector must name every parked worker and one thread more.
std::string PlatformWorkers::FindRunnerSlot() {
  const size_t threads = static_cast<size_t>(workers_) + 1;
  std::vector<uintptr_t> runner(kRunnerWords);
  std::vector<uintptr_t> handles(threads);
  uintptr_t platform[kPlatformWords];
  const size_t platform_words = SafeReadWords(platform_, platform, kPlatformWords);

  auto names_all_workers = [&](uintptr_t begin) {
    if (!SafeRead(reinterpret_cast<void*>(begin), handles.data(), threads * sizeof(uintptr_t))) {
      return false;
    }
    size_t parked = 0;
    for (uintptr_t handle : handles) {
      pthread_t thread;
      if (!SafeRead(reinterpret_cast<void*>(handle), &thread, sizeof(thread))) return false;
      for (int i = 0; i < workers_; i++) {
        if (pthread_equal(gathering_->who[i], thread)) parked++;
      }
    }
    return parked == threads - 1;
  };

  // What follows an object in the heap is read along with it, and may point to anything near a runner. So the
  // pointer must be the first half of a std::shared_ptr made by make_shared: the second half is its control
  // block, two words in front of the object.
  void** found = nullptr;
  for (size_t i = 0; i + 1 < platform_words; i++) {
    const uintptr_t candidate = platform[i];
    if (candidate < 4096 || candidate % sizeof(void*) != 0) continue;
    if (platform[i + 1] + 2 * sizeof(void*) != candidate) continue;
    const size_t words =
        SafeReadWords(reinterpret_cast<void*>(candidate), runner.data(), kRunnerWords);
    for (size_t j = 0; j + 2 < words; j++) {
      if (runner[j + 1] - runner[j] != threads * sizeof(void*)) continue;
      if (runner[j + 2] < runner[j + 1] || !names_all_workers(runner[j])) continue;
      // A later word with the same value lies behind the platform object, in somebody's copy.
      if (found != nullptr && *found != *(static_cast<void**>(platform_) + i)) {
        return "the V8 platform's task runner is ambiguous in this build of node";
      }
      if (found == nullptr) found = static_cast<void**>(platform_) + i;
    }
  }
  if (found == nullptr) return "the V8 platform's task runner was not found in this build of node";
  runner_slot_ = found;
  PrepareVtables();
  return "";
}

// ---- Two copies of the platform's virtual table -----------------------------------------------------
//
// In the parent, the entries that use the runner note that they did: as long as nobody has posted anything
// since the workers were last seen asleep, they still are, and a fork need not look.
//
// In a child, they first put a new runner in place. Starting five threads costs a fifth of a child's whole
// life when that is short, and a short one needs none of them.

struct Thunks {
  static constexpr int kMaxEntries = 5;
  // Integer and pointer arguments, then one double: whatever an entry takes travels through unchanged.
  using Entry = uintptr_t (*)(uintptr_t, uintptr_t, uintptr_t, uintptr_t, uintptr_t, double);

  static Entry original[kMaxEntries];
  static bool posts_later[kMaxEntries];
  static PlatformWorkers* workers;
  static pthread_mutex_t mutex;  // of the child's start
  static pthread_t main_thread;
  static std::atomic<bool> used;  // since the flag was last cleared
  // The scheduler may hold a task for later, which will wake a worker without being posted again.
  static std::atomic<bool> delayed;
  static std::atomic<bool>
      used_elsewhere;  // ever, by a thread that is neither the main one nor a worker

  static void Note() {
    used.store(true, std::memory_order_relaxed);
    if (pthread_equal(pthread_self(), main_thread)) return;
    if (workers->IsWorker(static_cast<pid_t>(syscall(SYS_gettid)))) return;
    used_elsewhere.store(true, std::memory_order_relaxed);
  }

  template <int I>
  static uintptr_t Noting(uintptr_t a, uintptr_t b, uintptr_t c, uintptr_t d, uintptr_t e,
                          double x) {
    if (posts_later[I]) delayed.store(true, std::memory_order_relaxed);
    Note();
    return original[I](a, b, c, d, e, x);
  }

  template <int I>
  static uintptr_t Starting(uintptr_t a, uintptr_t b, uintptr_t c, uintptr_t d, uintptr_t e,
                            double x) {
    PlatformWorkers::EnsureRunner();
    return original[I](a, b, c, d, e, x);
  }

  static constexpr Entry kNoting[kMaxEntries] = {Noting<0>, Noting<1>, Noting<2>, Noting<3>,
                                                 Noting<4>};
  static constexpr Entry kStarting[kMaxEntries] = {Starting<0>, Starting<1>, Starting<2>,
                                                   Starting<3>, Starting<4>};
};

Thunks::Entry Thunks::original[];
bool Thunks::posts_later[];
std::atomic<bool> Thunks::delayed{true};
PlatformWorkers* Thunks::workers;
pthread_mutex_t Thunks::mutex = PTHREAD_MUTEX_INITIALIZER;
pthread_t Thunks::main_thread;
std::atomic<bool> Thunks::used{true};
std::atomic<bool> Thunks::used_elsewhere{false};

#if defined(__GLIBC__)
// The virtual functions of NodePlatform that use its runner, on node 20 and on later ones. None returns
// through memory, so the thunks' plain signature fits.
static const char* const kRunnerUsers[] = {
    "_ZN4node12NodePlatform18CallOnWorkerThreadESt10unique_ptrIN2v84TaskESt14default_deleteIS3_EE",
    "_ZN4node12NodePlatform25CallDelayedOnWorkerThreadESt10unique_ptrIN2v84TaskESt14default_"
    "deleteIS3_EEd",
    "_ZN4node12NodePlatform26PostTaskOnWorkerThreadImplEN2v812TaskPriorityESt10unique_ptrINS1_"
    "4TaskESt14default_deleteIS4_EERKNS1_14SourceLocationE",
    "_ZN4node12NodePlatform33PostDelayedTaskOnWorkerThreadImplEN2v812TaskPriorityESt10unique_"
    "ptrINS1_4TaskESt14default_deleteIS4_EEdRKNS1_14SourceLocationE",
    "_ZN4node12NodePlatform10DrainTasksEPN2v87IsolateE",
};
#endif

// Leaves the copies null where the table cannot be read (a C library without dladdr1) or does not name the
// posting functions: then every fork looks at the workers, and every child starts its runner at once.
void PlatformWorkers::PrepareVtables() {
#if defined(__GLIBC__)
  void* table = dlsym(RTLD_DEFAULT, "_ZTVN4node12NodePlatformE");
  Dl_info info;
  ElfW(Sym)* symbol = nullptr;
  if (table == nullptr ||
      dladdr1(table, &info, reinterpret_cast<void**>(&symbol), RTLD_DL_SYMENT) == 0 ||
      symbol == nullptr) {
    return;
  }
  const size_t words = symbol->st_size / sizeof(void*);
  void** source = static_cast<void**>(table);
  // The object's table pointer is past the two words that describe the class.
  if (words < 8 || words > 128 || *static_cast<void***>(platform_) != source + 2) return;

  auto** noted = static_cast<void**>(malloc(words * sizeof(void*)));
  auto** late = static_cast<void**>(malloc(words * sizeof(void*)));
  memcpy(noted, source, words * sizeof(void*));
  memcpy(late, source, words * sizeof(void*));
  int entries = 0;
  for (const char* name : kRunnerUsers) {
    void* function = dlsym(RTLD_DEFAULT, name);
    if (function == nullptr) continue;
    for (size_t i = 2; i < words; i++) {
      if (source[i] != function) continue;
      Thunks::original[entries] = reinterpret_cast<Thunks::Entry>(function);
      Thunks::posts_later[entries] = strstr(name, "Delayed") != nullptr;
      noted[i] = reinterpret_cast<void*>(Thunks::kNoting[entries]);
      late[i] = reinterpret_cast<void*>(Thunks::kStarting[entries]);
      entries++;
      break;
    }
  }
  if (entries < 3) {  // posting now, posting later, draining
    free(noted);
    free(late);
    return;
  }
  Thunks::workers = this;
  own_vtable_ = source + 2;
  noted_vtable_ = noted + 2;
  late_vtable_ = late + 2;
#endif
}

void PlatformWorkers::ReplaceInChild() {
  gathering_ = nullptr;
  worker_threads_.clear();
  // Draining goes on, after the unwinding, with whatever runner it finds: that must be one that drains.
  if (late_vtable_ == nullptr || IsInside(g_symbols.drain_tasks)) {
    StartFreshRunner();
    if (own_vtable_ != nullptr) *static_cast<void***>(platform_) = own_vtable_;
    return;
  }
  // The lock may have been held by a Worker's thread of the parent.
  pthread_mutex_init(&Thunks::mutex, nullptr);
  *static_cast<void***>(platform_) = late_vtable_;
}

void PlatformWorkers::EnsureRunner() {
  PlatformWorkers* self = Thunks::workers;
  pthread_mutex_lock(&Thunks::mutex);
  if (self->unused()) {
    self->StartFreshRunner();
    *static_cast<void***>(self->platform_) = self->own_vtable_;
  }
  pthread_mutex_unlock(&Thunks::mutex);
}

void PlatformWorkers::StartFreshRunner() {
  // The copied runner is left as it is: its threads do not exist, so nothing may touch it again.
  void* fresh = calloc(1, kFreshRunnerBytes);
  if (fresh == nullptr) abort();
  {
    ThreadsRequired required;
    g_symbols.construct_runner(fresh, workers_, kNoDebugLog);
  }
  *runner_slot_ = fresh;
}

// The flag is cleared before anybody looks, so that what is posted while looking is not overlooked.
bool PlatformWorkers::StillAsleep() {
  if (noted_vtable_ == nullptr || worker_threads_.empty()) return false;
  void*** table = static_cast<void***>(platform_);
  if (*table != noted_vtable_) {
    // From now on, in this process.
    Thunks::main_thread = pthread_self();
    Thunks::used_elsewhere.store(false, std::memory_order_relaxed);
    Thunks::used.store(false, std::memory_order_relaxed);
    *table = noted_vtable_;
    return false;
  }
  const bool used = Thunks::used.exchange(false, std::memory_order_relaxed);
  return !used && !Thunks::delayed.load(std::memory_order_relaxed) &&
         !Thunks::used_elsewhere.load(std::memory_order_relaxed);
}

// After a look, or a gathering, that did not find all of them at rest: the next fork must look again.
void PlatformWorkers::MarkUsed() { Thunks::used.store(true, std::memory_order_relaxed); }

// All of them were seen asleep, the scheduler among them, without a time to wake up.
void PlatformWorkers::NoneDelayed() { Thunks::delayed.store(false, std::memory_order_relaxed); }

bool PlatformWorkers::unused() const {
  return late_vtable_ != nullptr && *static_cast<void***>(platform_) == late_vtable_;
}

void PlatformWorkers::FlushForegroundTasks() {
  g_symbols.flush_foreground(platform_, g_symbols.current_isolate());
}

}  // namespace mp::core

#endif  // __linux__
