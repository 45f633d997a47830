// Windows' answers to the calls of fd.h, fd_passing.h, process.h, spawn.h, affinity.h, shared_memory.h and
// named_semaphore.h.
//
// What Windows does not have says so by name (ENOSYS). The few things it does have, and that the
// rest of the package needs there, are real: the current pid, the immediate exit and the start time
// of a process.
#if defined(_WIN32)

#include <io.h>
#include <process.h>
#include <windows.h>

#include "core/affinity.h"
#include "core/fd.h"
#include "core/fd_passing.h"
#include "core/named_semaphore.h"
#include "core/process.h"
#include "core/shared_memory.h"
#include "core/spawn.h"

namespace mp::core {

namespace {

OsError Missing(const char* call) { return OsError{ENOSYS, call}; }

}  // namespace

void UniqueFd::Reset(int fd) {
  const int old = std::exchange(fd_, fd);
  if (old >= 0) _close(old);
}

Result<FdPair> MakePipe(bool) { return Missing("pipe"); }
Result<FdPair> MakeSocketPair(int, bool) { return Missing("socketpair"); }
Result<size_t> ReadSome(int, void*, size_t) { return Missing("read"); }
Result<size_t> WriteSome(int, const void*, size_t) { return Missing("write"); }
Result<void> WriteAll(int, const void*, size_t) { return Missing("write"); }
Result<void> CloseFd(int) { return Missing("close"); }
Result<UniqueFd> Duplicate(int) { return Missing("dup"); }
Result<void> DuplicateOnto(int, int, bool) { return Missing("dup2"); }
Result<void> SetInheritable(int, bool) { return Missing("setInheritable"); }
Result<bool> GetInheritable(int) { return Missing("getInheritable"); }
Result<void> SetBlocking(int, bool) { return Missing("setBlocking"); }
Result<bool> GetBlocking(int) { return Missing("getBlocking"); }
bool IsTty(int) { return false; }
Result<int> PollFds(PollSlot*, size_t, const Deadline&) { return Missing("poll"); }
// The call that it is for says what is missing.
Result<bool> WaitUntilReady(int, bool, const Deadline&) { return true; }

Result<size_t> SendFds(int, const void*, size_t, const std::vector<int>&, int) {
  return Missing("sendFds");
}
Result<ReceivedMessage> ReceiveFds(int, void*, size_t, size_t, int) { return Missing("recvFds"); }
Result<ReceivedMessage> ReceiveFromSender(int, void*, size_t, size_t, int) {
  return Missing("recvFds");
}
Result<void> AdmitSenders(int) { return Missing("admitSenders"); }

Result<WaitResult> WaitPid(int, int) { return Missing("waitpid"); }
Result<WaitResult> WaitPid(int, int, const Deadline&) { return Missing("waitpid"); }
Result<TimedWait> WaitForChild(int, const Deadline&) { return Missing("waitpid"); }
Result<void> KillProcess(int, int) { return Missing("kill"); }
// Only forks ask, and threads that must not block for long.
bool OnMainThread() { return true; }
int CurrentPid() { return static_cast<int>(GetCurrentProcessId()); }
Result<void> SetSid() { return Missing("setsid"); }
Result<int> GetSid(int) { return Missing("getsid"); }
Result<int> GetPgid(int) { return Missing("getpgid"); }
Result<void> SetPgid(int, int) { return Missing("setpgid"); }

void ExitNow(int code) {
  TerminateProcess(GetCurrentProcess(), static_cast<UINT>(code));
  _exit(code);
}

Result<std::optional<uint64_t>> ProcessStartTime(int pid) {
  const HANDLE process =
      OpenProcess(PROCESS_QUERY_LIMITED_INFORMATION, FALSE, static_cast<DWORD>(pid));
  if (process == nullptr) {
    if (GetLastError() == ERROR_INVALID_PARAMETER) return std::optional<uint64_t>();
    return OsError{EPERM, "OpenProcess"};
  }
  FILETIME start;
  FILETIME unused;
  const BOOL known = GetProcessTimes(process, &start, &unused, &unused, &unused);
  CloseHandle(process);
  if (!known) return OsError{EINVAL, "GetProcessTimes"};
  return std::optional<uint64_t>(static_cast<uint64_t>(start.dwHighDateTime) << 32 |
                                 start.dwLowDateTime);
}

Result<void> SetParentDeathSignal(int) { return Missing("prctl"); }

Result<int> Spawn(const SpawnRequest&) { return Missing("posix_spawn"); }

Result<void> SetAffinity(int, const std::vector<int>&) { return Missing("sched_setaffinity"); }
Result<std::vector<int>> GetAffinity(int) { return Missing("sched_getaffinity"); }

void Mapping::Unmap() {}
Result<UniqueFd> OpenShared(const std::string&, int, unsigned) { return Missing("shm_open"); }
Result<void> UnlinkShared(const std::string&) { return Missing("shm_unlink"); }
Result<void> Truncate(int, uint64_t) { return Missing("ftruncate"); }
Result<void> Allocate(int, uint64_t, uint64_t) { return Missing("posix_fallocate"); }
Result<Mapping> Map(int, uint64_t, int, int, uint64_t) { return Missing("mmap"); }
Result<SharedBlock> CreateBlock(const std::string&, uint64_t) { return Missing("shm_open"); }
Result<SharedBlock> AttachBlock(const std::string&) { return Missing("shm_open"); }
Result<bool> IsBlock(const std::string&, const FileIdentity&) { return Missing("shm_open"); }
Result<bool> UnlinkBlock(const std::string&, const FileIdentity&) { return Missing("shm_unlink"); }

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
