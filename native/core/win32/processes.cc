// process.h, spawn.h, pidfd.h, at_death.h and affinity.h.
//
// A pid may mean another process as soon as nobody has a handle of its process: we keep one of each child, from its start
// until it was waited for. Daemons are in a job that ends with the last handle of it, which is this process's: however
// this process ends, its daemons end, and by the system.
#if defined(_WIN32)

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "core/affinity.h"
#include "core/at_death.h"
#include "core/named_semaphore.h"
#include "core/pidfd.h"
#include "core/process.h"
#include "core/spawn.h"
#include "core/stay_loaded.h"
#include "core/win32/handles.h"

// After windows.h.
#include <tlhelp32.h>

namespace mp::core {

namespace {

OsError Missing(const char* call) { return OsError{ENOSYS, call}; }

struct Children {
  std::mutex mutex;
  std::unordered_map<int, UniqueHandle> handles;
};

Children& TheChildren() {
  static auto* children = new Children;
  return *children;
}

// A handle of one's own. Invalid: it is no child, or was waited for.
UniqueHandle ChildOf(int pid) {
  Children& children = TheChildren();
  std::lock_guard<std::mutex> lock(children.mutex);
  const auto found = children.handles.find(pid);
  if (found == children.handles.end()) return UniqueHandle();
  HANDLE copy = nullptr;
  const HANDLE self = GetCurrentProcess();
  DuplicateHandle(self, found->second.get(), self, &copy, 0, FALSE, DUPLICATE_SAME_ACCESS);
  return UniqueHandle(copy);
}

uint64_t NumberOf(const FILETIME& time) {
  return static_cast<uint64_t>(time.dwHighDateTime) << 32 | time.dwLowDateTime;
}

bool HasEnded(HANDLE waitable) { return WaitForSingleObject(waitable, 0) == WAIT_OBJECT_0; }

}  // namespace

// ---- waiting, ending ----

Result<TimedWait> WaitForChild(int pid, const Deadline& deadline) {
  const UniqueHandle child = ChildOf(pid);
  if (!child.valid()) return TimedWait{ChildWait::kNotOurs, 0};
  for (;;) {
    const DWORD waited = WaitForSingleObject(child.get(), WaitMs(deadline));
    if (waited == WAIT_FAILED) return WindowsError("waitpid");
    if (waited == WAIT_OBJECT_0) break;
    if (deadline.passed()) return TimedWait{ChildWait::kTimedOut, 0};
  }
  DWORD code = 0;
  if (!GetExitCodeProcess(child.get(), &code)) return WindowsError("waitpid");
  Children& children = TheChildren();
  std::lock_guard<std::mutex> lock(children.mutex);
  // Of two threads that waited one has the status.
  if (children.handles.erase(pid) == 0) return TimedWait{ChildWait::kNotOurs, 0};
  return TimedWait{ChildWait::kEnded, static_cast<int>(code)};
}

Result<WaitResult> WaitPid(int, int) { return Missing("waitpid"); }
Result<WaitResult> WaitPid(int, int, const Deadline&) { return Missing("waitpid"); }

// There are no signals: each but 0, which asks, ends the process, and its exit code tells by which.
Result<void> KillProcess(int pid, int signal) {
  UniqueHandle process = ChildOf(pid);
  if (!process.valid()) {
    process =
        UniqueHandle(OpenProcess(PROCESS_TERMINATE | SYNCHRONIZE, FALSE, static_cast<DWORD>(pid)));
  }
  if (!process.valid()) {
    if (GetLastError() == ERROR_INVALID_PARAMETER) return OsError{ESRCH, "kill"};
    return OsError{EPERM, "kill"};
  }
  if (HasEnded(process.get())) return OsError{ESRCH, "kill"};
  if (signal == 0) return {};
  if (!TerminateProcess(process.get(), kKilledBy | static_cast<UINT>(signal))) {
    return OsError{HasEnded(process.get()) ? ESRCH : EPERM, "kill"};
  }
  return {};
}

namespace {

// The oldest of our threads; 0 where they are not to be seen.
DWORD FindMainThread() {
  const UniqueHandle all(CreateToolhelp32Snapshot(TH32CS_SNAPTHREAD, 0));
  DWORD oldest = 0;
  uint64_t its_start = UINT64_MAX;
  THREADENTRY32 entry{};
  entry.dwSize = sizeof(entry);
  if (!all.valid() || !Thread32First(all.get(), &entry)) return oldest;
  do {
    if (entry.th32OwnerProcessID != GetCurrentProcessId()) continue;
    const auto facts = LookAtProcess(static_cast<int>(entry.th32ThreadID));
    if (!facts.ok() || !facts.value() || facts.value()->start_time >= its_start) continue;
    its_start = facts.value()->start_time;
    oldest = entry.th32ThreadID;
  } while (Thread32Next(all.get(), &entry));
  return oldest;
}

}  // namespace

bool OnMainThread() {
  static const DWORD main_thread = FindMainThread();
  return main_thread == 0 || GetCurrentThreadId() == main_thread;
}

int CurrentPid() { return static_cast<int>(GetCurrentProcessId()); }
Result<void> SetSid() { return Missing("setsid"); }
Result<int> GetSid(int) { return Missing("getsid"); }
Result<int> GetPgid(int) { return Missing("getpgid"); }
Result<void> SetPgid(int, int) { return Missing("setpgid"); }
Result<void> SetParentDeathSignal(int) { return Missing("prctl"); }

void ExitNow(int code) {
  TerminateProcess(GetCurrentProcess(), static_cast<UINT>(code));
  _exit(code);
}

Result<std::optional<uint64_t>> ProcessStartTime(int pid) {
  const UniqueHandle process(
      OpenProcess(PROCESS_QUERY_LIMITED_INFORMATION | SYNCHRONIZE, FALSE, static_cast<DWORD>(pid)));
  if (!process.valid()) {
    if (GetLastError() == ERROR_INVALID_PARAMETER) return std::optional<uint64_t>();
    return OsError{EPERM, "OpenProcess"};
  }
  FILETIME start;
  FILETIME unused;
  if (!GetProcessTimes(process.get(), &start, &unused, &unused, &unused)) {
    return OsError{EINVAL, "GetProcessTimes"};
  }
  return std::optional<uint64_t>(NumberOf(start));
}

Result<std::optional<ProcessFacts>> LookAtProcess(int thread) {
  const UniqueHandle handle(OpenThread(THREAD_QUERY_LIMITED_INFORMATION | SYNCHRONIZE, FALSE,
                                       static_cast<DWORD>(thread)));
  if (!handle.valid()) {
    if (GetLastError() == ERROR_INVALID_PARAMETER) return std::optional<ProcessFacts>();
    return OsError{EPERM, "OpenThread"};
  }
  FILETIME start;
  FILETIME unused;
  if (!GetThreadTimes(handle.get(), &start, &unused, &unused, &unused)) {
    return OsError{EINVAL, "GetThreadTimes"};
  }
  return std::optional<ProcessFacts>({NumberOf(start), HasEnded(handle.get())});
}

int OpenPidfd(int pid) {
  UniqueHandle process = ChildOf(pid);
  if (!process.valid()) {
    process = UniqueHandle(OpenProcess(SYNCHRONIZE, FALSE, static_cast<DWORD>(pid)));
  }
  return process.valid() ? FdOf(process.Release()) : -ESRCH;
}

Result<void> SignalPidfd(int fd, int signal) {
  const int pid = static_cast<int>(GetProcessId(HandleOf(fd)));
  return pid == 0 ? Result<void>(OsError{ESRCH, "kill"}) : KillProcess(pid, signal);
}

// ---- daemons ----

namespace {

HANDLE NewJob() {
  const HANDLE job = CreateJobObjectW(nullptr, nullptr);
  JOBOBJECT_EXTENDED_LIMIT_INFORMATION limits{};
  // What a daemon starts is not in the job.
  limits.BasicLimitInformation.LimitFlags =
      JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE | JOB_OBJECT_LIMIT_SILENT_BREAKAWAY_OK;
  SetInformationJobObject(job, JobObjectExtendedLimitInformation, &limits, sizeof(limits));
  return job;
}

}  // namespace

void TrackChild(int pid, bool daemon, int) {
  if (!daemon) return;
  // Never closed: by the end of the process alone.
  static const HANDLE job = NewJob();
  const UniqueHandle child = ChildOf(pid);
  if (child.valid()) AssignProcessToJobObject(job, child.get());
}

void UntrackChild(int) {}
// Ctrl-C reaches every process of the console by itself.
void HandleDeathBy(int) {}

// ---- the addon itself ----

// As on other systems; and threads of the system's may be in it.
bool StayLoaded() {
  HMODULE self = nullptr;
  return GetModuleHandleExW(GET_MODULE_HANDLE_EX_FLAG_PIN | GET_MODULE_HANDLE_EX_FLAG_FROM_ADDRESS,
                            reinterpret_cast<LPCWSTR>(&StayLoaded), &self) != 0;
}

// ---- starting ----

namespace {

// As CommandLineToArgvW and the C library take it apart.
void AppendQuoted(std::wstring* line, const std::wstring& argument) {
  if (!line->empty()) *line += L' ';
  if (!argument.empty() && argument.find_first_of(L" \t\n\v\"") == std::wstring::npos) {
    *line += argument;
    return;
  }
  *line += L'"';
  size_t backslashes = 0;
  for (const wchar_t character : argument) {
    if (character == L'\\') {
      backslashes++;
      continue;
    }
    line->append(character == L'"' ? 2 * backslashes + 1 : backslashes, L'\\');
    backslashes = 0;
    *line += character;
  }
  line->append(2 * backslashes, L'\\');
  *line += L'"';
}

UniqueHandle InheritableCopy(HANDLE handle) {
  HANDLE copy = nullptr;
  const HANDLE self = GetCurrentProcess();
  if (handle == nullptr || handle == INVALID_HANDLE_VALUE ||
      !DuplicateHandle(self, handle, self, &copy, 0, TRUE, DUPLICATE_SAME_ACCESS)) {
    return UniqueHandle();
  }
  return UniqueHandle(copy);
}

UniqueHandle OpenNull() {
  SECURITY_ATTRIBUTES inheritable{sizeof(SECURITY_ATTRIBUTES), nullptr, TRUE};
  return UniqueHandle(CreateFileW(L"NUL", GENERIC_READ | GENERIC_WRITE,
                                  FILE_SHARE_READ | FILE_SHARE_WRITE, &inheritable, OPEN_EXISTING,
                                  0, nullptr));
}

// Which handles a process inherits: those that are named, and no others.
class Inheritance {
 public:
  explicit Inheritance(std::vector<HANDLE> handles) : handles_(std::move(handles)) {
    SIZE_T size = 0;
    InitializeProcThreadAttributeList(nullptr, 1, 0, &size);
    memory_.resize(size);
    list_ = reinterpret_cast<LPPROC_THREAD_ATTRIBUTE_LIST>(memory_.data());
    if (!InitializeProcThreadAttributeList(list_, 1, 0, &size)) {
      list_ = nullptr;
      return;
    }
    complete_ =
        UpdateProcThreadAttribute(list_, 0, PROC_THREAD_ATTRIBUTE_HANDLE_LIST, handles_.data(),
                                  handles_.size() * sizeof(HANDLE), nullptr, nullptr) != 0;
  }
  ~Inheritance() {
    if (list_ != nullptr) DeleteProcThreadAttributeList(list_);
  }
  Inheritance(const Inheritance&) = delete;
  Inheritance& operator=(const Inheritance&) = delete;
  bool complete() const { return complete_; }
  LPPROC_THREAD_ATTRIBUTE_LIST list() const { return list_; }

 private:
  std::vector<HANDLE> handles_;
  std::vector<char> memory_;
  LPPROC_THREAD_ATTRIBUTE_LIST list_ = nullptr;
  bool complete_ = false;
};

}  // namespace

// Standard input is empty, output goes where ours does. Of file actions there is one: a copy of a handle onto itself,
// which is inherited under its number.
Result<int> Spawn(const SpawnRequest& request) {
  const char* const call = "CreateProcess";
  std::wstring line;
  for (const std::string& argument : request.argv) AppendQuoted(&line, Wide(argument));
  std::wstring environment;
  for (const std::string& entry : request.env) environment += Wide(entry) + L'\0';
  environment += L'\0';

  std::vector<UniqueHandle> streams;
  streams.push_back(OpenNull());
  for (const DWORD name : {STD_OUTPUT_HANDLE, STD_ERROR_HANDLE}) {
    UniqueHandle copy = InheritableCopy(GetStdHandle(name));
    streams.push_back(copy.valid() ? std::move(copy) : OpenNull());
  }
  std::vector<HANDLE> inherited;
  for (const UniqueHandle& stream : streams) inherited.push_back(stream.get());
  for (const FileAction& action : request.file_actions) {
    if (action.kind != FileAction::Kind::kDup2 || action.fd != action.target) return Missing(call);
    const auto set = SetInheritable(action.fd, true);
    if (!set.ok()) return set.error();
    inherited.push_back(HandleOf(action.fd));
  }
  Inheritance inheritance(std::move(inherited));
  if (!inheritance.complete()) return WindowsError(call);

  STARTUPINFOEXW startup{};
  startup.StartupInfo.cb = sizeof(startup);
  startup.StartupInfo.dwFlags = STARTF_USESTDHANDLES;
  startup.StartupInfo.hStdInput = streams[0].get();
  startup.StartupInfo.hStdOutput = streams[1].get();
  startup.StartupInfo.hStdError = streams[2].get();
  startup.lpAttributeList = inheritance.list();
  PROCESS_INFORMATION started{};
  const std::wstring program = Wide(request.path);
  const BOOL made =
      CreateProcessW(request.search_path ? nullptr : program.c_str(), &line[0], nullptr, nullptr,
                     TRUE, CREATE_UNICODE_ENVIRONMENT | EXTENDED_STARTUPINFO_PRESENT,
                     &environment[0], nullptr, &startup.StartupInfo, &started);
  OsError failure = WindowsError(call);
  for (const FileAction& action : request.file_actions) (void)SetInheritable(action.fd, false);
  if (!made) {
    const DWORD attributes = GetFileAttributesW(program.c_str());
    const bool directory =
        attributes != INVALID_FILE_ATTRIBUTES && (attributes & FILE_ATTRIBUTE_DIRECTORY) != 0;
    if (directory) failure.errnum = EACCES;
    return failure;
  }
  CloseHandle(started.hThread);
  const int pid = static_cast<int>(started.dwProcessId);
  Children& children = TheChildren();
  std::lock_guard<std::mutex> lock(children.mutex);
  children.handles[pid] = UniqueHandle(started.hProcess);
  return pid;
}

// ---- what Windows does not have ----

Result<void> SetAffinity(int, const std::vector<int>&) { return Missing("sched_setaffinity"); }
Result<std::vector<int>> GetAffinity(int) { return Missing("sched_getaffinity"); }

Result<NamedSemaphore> NamedSemaphore::Open(const std::string&, int, unsigned, unsigned) {
  return Missing("sem_open");
}
Result<void> NamedSemaphore::Unlink(const std::string&) { return Missing("sem_unlink"); }
Result<bool> NamedSemaphore::Wait(const Deadline&) { return Missing("sem_wait"); }
Result<void> NamedSemaphore::Post() { return Missing("sem_post"); }
Result<int> NamedSemaphore::Value() { return Missing("sem_getvalue"); }
void NamedSemaphore::Close() {}

}  // namespace mp::core

#endif
