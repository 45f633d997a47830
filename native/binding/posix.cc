// The raw primitives behind `node-multiprocessing/posix`, one JavaScript function per call of the
// core.
//
// Arguments arrive checked by src/posix.ts: numbers are integers in range, bytes are Uint8Arrays,
// lists are arrays of checked items. So a function here takes them out, makes one call of
// native/core, and turns the answer into a value or a pending exception. All of them may block;
// none needs an event-loop turn. They keep no state, so they serve the main thread, Workers and
// forked children alike.

#include <napi.h>

#if !defined(_WIN32)
#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#endif

#include <algorithm>
#include <cerrno>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "binding/errors.h"
#include "core/affinity.h"
#include "core/clock.h"
#include "core/fd.h"
#include "core/fd_passing.h"
#include "core/parent_watch.h"
#include "core/plain_posix.h"
#include "core/process.h"
#include "core/spawn.h"

namespace mp {

namespace {

// --- from JavaScript -----------------------------------------------------------------------------

int Int(const Napi::CallbackInfo& info, size_t index) {
  return info[index].As<Napi::Number>().Int32Value();
}

bool Bool(const Napi::CallbackInfo& info, size_t index) {
  return info[index].As<Napi::Boolean>().Value();
}

core::Deadline DeadlineIn(const Napi::CallbackInfo& info, size_t index) {
  return core::Deadline::AfterMs(info[index].As<Napi::Number>().DoubleValue());
}

struct Elements {
  void* data = nullptr;
  size_t count = 0;
};

// Straight to Node-API: Napi::TypedArray makes a handle for the ArrayBuffer, which read and write
// would pay for.
Elements ElementsOf(const Napi::CallbackInfo& info, size_t index) {
  Elements elements;
  napi_get_typedarray_info(info.Env(), info[index], nullptr, &elements.count, &elements.data,
                           nullptr, nullptr);
  return elements;
}

std::vector<int> Ints(const Napi::Value& value) {
  const auto array = value.As<Napi::Array>();
  std::vector<int> ints;
  ints.reserve(array.Length());
  for (uint32_t i = 0; i < array.Length(); ++i) {
    ints.push_back(array.Get(i).As<Napi::Number>().Int32Value());
  }
  return ints;
}

std::vector<std::string> Strings(const Napi::Value& value) {
  const auto array = value.As<Napi::Array>();
  std::vector<std::string> strings;
  strings.reserve(array.Length());
  for (uint32_t i = 0; i < array.Length(); ++i) {
    strings.push_back(array.Get(i).As<Napi::String>().Utf8Value());
  }
  return strings;
}

// --- to JavaScript -------------------------------------------------------------------------------

Napi::Value Throw(Napi::Env env, const core::OsError& error, const std::string& detail = "") {
  if (error.errnum == ENOSYS) {
    ThrowUnsupported(env, error.syscall);
  } else {
    ThrowErrno(env, error.errnum, error.syscall, detail);
  }
  return env.Undefined();
}

Napi::Value Answer(Napi::Env env, const core::Result<void>& result) {
  if (!result.ok()) return Throw(env, result.error());
  return env.Undefined();
}

Napi::Value Answer(Napi::Env env, const core::Result<bool>& result) {
  if (!result.ok()) return Throw(env, result.error());
  return Napi::Boolean::New(env, result.value());
}

template <typename Number>
Napi::Value Answer(Napi::Env env, const core::Result<Number>& result) {
  if (!result.ok()) return Throw(env, result.error());
  return Napi::Number::New(env, static_cast<double>(result.value()));
}

Napi::Array PairOf(Napi::Env env, int first, int second) {
  auto pair = Napi::Array::New(env, 2);
  pair.Set(0U, Napi::Number::New(env, first));
  pair.Set(1U, Napi::Number::New(env, second));
  return pair;
}

Napi::Value Answer(Napi::Env env, core::Result<core::FdPair> result) {
  if (!result.ok()) return Throw(env, result.error());
  return PairOf(env, result.value().first.Release(), result.value().second.Release());
}

// --- descriptors ---------------------------------------------------------------------------------

// pipe(cloexec) → [read end, write end]
Napi::Value Pipe(const Napi::CallbackInfo& info) {
  return Answer(info.Env(), core::MakePipe(Bool(info, 0)));
}

// socketpair(type, cloexec) → [fd, fd]
Napi::Value SocketPair(const Napi::CallbackInfo& info) {
  return Answer(info.Env(), core::MakeSocketPair(Int(info, 0), Bool(info, 1)));
}

// memoryFile(name) → fd
Napi::Value MemoryFile(const Napi::CallbackInfo& info) {
  auto file = core::MakeMemoryFile(info[0].As<Napi::String>().Utf8Value().c_str());
  if (!file.ok()) return Throw(info.Env(), file.error());
  return Napi::Number::New(info.Env(), file.value().Release());
}

Napi::Value FreezeMemoryFile(const Napi::CallbackInfo& info) {
  return Answer(info.Env(), core::FreezeMemoryFile(Int(info, 0)));
}

// read(fd, bytes, length): reads at most `length` into the beginning of `bytes` → how many
Napi::Value Read(const Napi::CallbackInfo& info) {
  const Elements bytes = ElementsOf(info, 1);
  const auto length = static_cast<size_t>(info[2].As<Napi::Number>().Int64Value());
  return Answer(info.Env(),
                core::ReadSome(Int(info, 0), bytes.data, std::min(length, bytes.count)));
}

Napi::Value Write(const Napi::CallbackInfo& info) {
  const Elements bytes = ElementsOf(info, 1);
  return Answer(info.Env(), core::WriteSome(Int(info, 0), bytes.data, bytes.count));
}

Napi::Value WriteAllSync(const Napi::CallbackInfo& info) {
  const Elements bytes = ElementsOf(info, 1);
  return Answer(info.Env(), core::WriteAll(Int(info, 0), bytes.data, bytes.count));
}

Napi::Value Close(const Napi::CallbackInfo& info) {
  return Answer(info.Env(), core::CloseFd(Int(info, 0)));
}

Napi::Value Dup(const Napi::CallbackInfo& info) {
  auto copy = core::Duplicate(Int(info, 0));
  if (!copy.ok()) return Throw(info.Env(), copy.error());
  return Napi::Number::New(info.Env(), copy.value().Release());
}

// dup2(fd, target, inheritable)
Napi::Value Dup2(const Napi::CallbackInfo& info) {
  return Answer(info.Env(), core::DuplicateOnto(Int(info, 0), Int(info, 1), Bool(info, 2)));
}

Napi::Value SetInheritable(const Napi::CallbackInfo& info) {
  return Answer(info.Env(), core::SetInheritable(Int(info, 0), Bool(info, 1)));
}

Napi::Value GetInheritable(const Napi::CallbackInfo& info) {
  return Answer(info.Env(), core::GetInheritable(Int(info, 0)));
}

Napi::Value SetBlocking(const Napi::CallbackInfo& info) {
  return Answer(info.Env(), core::SetBlocking(Int(info, 0), Bool(info, 1)));
}

Napi::Value GetBlocking(const Napi::CallbackInfo& info) {
  return Answer(info.Env(), core::GetBlocking(Int(info, 0)));
}

Napi::Value IsTty(const Napi::CallbackInfo& info) {
  return Napi::Boolean::New(info.Env(), core::IsTty(Int(info, 0)));
}

// poll(slots, timeoutMs): `slots` is an Int32Array of (fd, events, revents), filled in place → how
// many are ready
Napi::Value Poll(const Napi::CallbackInfo& info) {
  static_assert(sizeof(core::PollSlot) == 3 * sizeof(int32_t), "three int32 per slot");
  const Elements ints = ElementsOf(info, 0);
  auto* slots = static_cast<core::PollSlot*>(ints.data);
  return Answer(info.Env(), core::PollFds(slots, ints.count / 3, DeadlineIn(info, 1)));
}

// waitReady(fd, writing, timeoutMs) → false when the time was up
Napi::Value WaitReady(const Napi::CallbackInfo& info) {
  return Answer(info.Env(), core::WaitUntilReady(Int(info, 0), Bool(info, 1), DeadlineIn(info, 2)));
}

// sendFds(socket, bytes, fds, flags) → bytes sent
Napi::Value SendFds(const Napi::CallbackInfo& info) {
  const Elements bytes = ElementsOf(info, 1);
  return Answer(info.Env(),
                core::SendFds(Int(info, 0), bytes.data, bytes.count, Ints(info[2]), Int(info, 3)));
}

// recvFds(socket, bytes, length, maxfds, flags, withSender) → [bytes received, fds, message flags, sender]
Napi::Value RecvFds(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const Elements bytes = ElementsOf(info, 1);
  const auto length = static_cast<size_t>(info[2].As<Napi::Number>().Int64Value());
  const bool with_sender = info[5].IsBoolean() && info[5].As<Napi::Boolean>();
  auto* const receive = with_sender ? &core::ReceiveFromSender : &core::ReceiveFds;
  auto received = receive(Int(info, 0), bytes.data, std::min(length, bytes.count),
                          static_cast<size_t>(Int(info, 3)), Int(info, 4));
  if (!received.ok()) return Throw(env, received.error());
  core::ReceivedMessage& message = received.value();

  auto fds = Napi::Array::New(env, message.fds.size());
  for (uint32_t i = 0; i < message.fds.size(); ++i) {
    fds.Set(i, Napi::Number::New(env, message.fds[i].Release()));
  }
  auto answer = Napi::Array::New(env, message.sender ? 4 : 3);
  if (message.sender) answer.Set(3U, Napi::Number::New(env, *message.sender));
  answer.Set(0U, Napi::Number::New(env, static_cast<double>(message.bytes)));
  answer.Set(1U, fds);
  answer.Set(2U, Napi::Number::New(env, message.flags));
  return answer;
}

// admitSenders(socket)
Napi::Value AdmitSenders(const Napi::CallbackInfo& info) {
  return Answer(info.Env(), core::AdmitSenders(Int(info, 0)));
}

// --- processes -----------------------------------------------------------------------------------

// waitpid(pid, options, timeoutMs) → [pid, status]; [0, 0] when the time was up
Napi::Value WaitPid(const Napi::CallbackInfo& info) {
  const auto waited = core::WaitPid(Int(info, 0), Int(info, 1), DeadlineIn(info, 2));
  if (!waited.ok()) return Throw(info.Env(), waited.error());
  return PairOf(info.Env(), waited.value().pid, waited.value().status);
}

// waitPidTimeout(pid, timeoutMs) → status, null when still running, -1 when somebody else has
// reaped it
Napi::Value WaitPidTimeout(const Napi::CallbackInfo& info) {
  const auto waited = core::WaitForChild(Int(info, 0), DeadlineIn(info, 1));
  if (!waited.ok()) return Throw(info.Env(), waited.error());
  switch (waited.value().outcome) {
    case core::ChildWait::kTimedOut:
      return info.Env().Null();
    case core::ChildWait::kNotOurs:
      return Napi::Number::New(info.Env(), -1);
    case core::ChildWait::kEnded:
      break;
  }
#if defined(_WIN32)
  return Napi::Number::New(info.Env(), static_cast<uint32_t>(waited.value().status));
#else
  return Napi::Number::New(info.Env(), waited.value().status);
#endif
}

Napi::Value Kill(const Napi::CallbackInfo& info) {
  return Answer(info.Env(), core::KillProcess(Int(info, 0), Int(info, 1)));
}

Napi::Value IsMainThread(const Napi::CallbackInfo& info) {
  return Napi::Boolean::New(info.Env(), core::OnMainThread());
}

Napi::Value GetPid(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), core::CurrentPid());
}

Napi::Value SetSid(const Napi::CallbackInfo& info) { return Answer(info.Env(), core::SetSid()); }

Napi::Value GetSid(const Napi::CallbackInfo& info) {
  return Answer(info.Env(), core::GetSid(Int(info, 0)));
}

Napi::Value GetPgid(const Napi::CallbackInfo& info) {
  return Answer(info.Env(), core::GetPgid(Int(info, 0)));
}

Napi::Value SetPgid(const Napi::CallbackInfo& info) {
  return Answer(info.Env(), core::SetPgid(Int(info, 0), Int(info, 1)));
}

Napi::Value Exit(const Napi::CallbackInfo& info) { core::ExitNow(Int(info, 0)); }

Napi::Value ProcessStartTime(const Napi::CallbackInfo& info) {
  const auto start = core::ProcessStartTime(Int(info, 0));
  if (!start.ok()) return Throw(info.Env(), start.error());
  if (!start.value().has_value()) return info.Env().Null();
  return Napi::Number::New(info.Env(), static_cast<double>(*start.value()));
}

Napi::Value SetPdeathsig(const Napi::CallbackInfo& info) {
  return Answer(info.Env(), core::SetParentDeathSignal(Int(info, 0)));
}

// endWithParent(parent)
Napi::Value EndWithParent(const Napi::CallbackInfo& info) {
#if defined(_WIN32)
  return Throw(info.Env(), core::OsError{ENOSYS, "endWithParent"});
#else
  return Answer(info.Env(), core::EndWithParent(Int(info, 0)));
#endif
}

Napi::Value SleepMs(const Napi::CallbackInfo& info) {
  core::SleepUntil(DeadlineIn(info, 0));
  return info.Env().Undefined();
}

Napi::Value SchedSetAffinity(const Napi::CallbackInfo& info) {
  return Answer(info.Env(), core::SetAffinity(Int(info, 0), Ints(info[1])));
}

// schedGetaffinity(pid) → CPU numbers, ascending
Napi::Value SchedGetAffinity(const Napi::CallbackInfo& info) {
  const auto cpus = core::GetAffinity(Int(info, 0));
  if (!cpus.ok()) return Throw(info.Env(), cpus.error());
  auto array = Napi::Array::New(info.Env(), cpus.value().size());
  for (uint32_t i = 0; i < cpus.value().size(); ++i) {
    array.Set(i, Napi::Number::New(info.Env(), cpus.value()[i]));
  }
  return array;
}

// --- wait statuses -------------------------------------------------------------------------------

// The C library's macros, since their bits differ between systems.
#if defined(_WIN32)
#define MP_STATUS_MACRO(macro)                                                \
  Napi::Value Status_##macro(const Napi::CallbackInfo& info) {                \
    const uint32_t status = info[0].As<Napi::Number>().Uint32Value();         \
    return Napi::Number::New(info.Env(), static_cast<double>(macro(status))); \
  }

// An exit code, of which some say that the process was ended (core::KillProcess).
constexpr bool WIFSIGNALED(uint32_t status) {
  return (status & ~0x7fU) == core::kKilledBy && (status & 0x7f) != 0;
}
constexpr uint32_t WTERMSIG(uint32_t status) { return status & 0x7f; }
constexpr bool WIFEXITED(uint32_t status) { return !WIFSIGNALED(status); }
constexpr uint32_t WEXITSTATUS(uint32_t status) { return status; }
constexpr bool WIFSTOPPED(uint32_t) { return false; }
constexpr uint32_t WSTOPSIG(uint32_t) { return 0; }
constexpr bool WIFCONTINUED(uint32_t) { return false; }
constexpr bool WCOREDUMP(uint32_t) { return false; }
#else
#define MP_STATUS_MACRO(macro)                                             \
  Napi::Value Status_##macro(const Napi::CallbackInfo& info) {             \
    const int status = Int(info, 0);                                       \
    return Napi::Number::New(info.Env(), static_cast<int>(macro(status))); \
  }
#endif

MP_STATUS_MACRO(WIFEXITED)
MP_STATUS_MACRO(WEXITSTATUS)
MP_STATUS_MACRO(WIFSIGNALED)
MP_STATUS_MACRO(WTERMSIG)
MP_STATUS_MACRO(WIFSTOPPED)
MP_STATUS_MACRO(WSTOPSIG)
MP_STATUS_MACRO(WIFCONTINUED)
MP_STATUS_MACRO(WCOREDUMP)

#undef MP_STATUS_MACRO

// --- spawning ------------------------------------------------------------------------------------

std::optional<int> OptionalInt(const Napi::Object& object, const char* key) {
  const Napi::Value value = object.Get(key);
  if (value.IsUndefined()) return std::nullopt;
  return value.As<Napi::Number>().Int32Value();
}

std::optional<std::vector<int>> OptionalInts(const Napi::Object& object, const char* key) {
  const Napi::Value value = object.Get(key);
  if (value.IsUndefined()) return std::nullopt;
  return Ints(value);
}

core::FileAction FileActionOf(const Napi::Object& object) {
  const auto number = [&object](const char* key) {
    return object.Get(key).As<Napi::Number>().Int32Value();
  };
  core::FileAction action;
  action.kind = static_cast<core::FileAction::Kind>(number("kind"));
  action.fd = number("fd");
  if (action.kind == core::FileAction::Kind::kDup2) action.target = number("target");
  if (action.kind == core::FileAction::Kind::kOpen) {
    action.path = object.Get("path").As<Napi::String>().Utf8Value();
    action.flags = number("flags");
    action.mode = static_cast<unsigned>(number("mode"));
  }
  return action;
}

std::vector<core::FileAction> FileActionsOf(const Napi::Value& value) {
  const auto array = value.As<Napi::Array>();
  std::vector<core::FileAction> actions;
  for (uint32_t i = 0; i < array.Length(); ++i) {
    actions.push_back(FileActionOf(array.Get(i).As<Napi::Object>()));
  }
  return actions;
}

// spawn(request) → pid; the request as SpawnRequest of src/native.d.ts has it
Napi::Value Spawn(const Napi::CallbackInfo& info) {
  const auto object = info[0].As<Napi::Object>();
  core::SpawnRequest request;
  request.path = object.Get("path").As<Napi::String>().Utf8Value();
  request.argv = Strings(object.Get("argv"));
  request.env = Strings(object.Get("env"));
  request.search_path = object.Get("searchPath").As<Napi::Boolean>().Value();
  request.file_actions = FileActionsOf(object.Get("fileActions"));
  request.process_group = OptionalInt(object, "processGroup");
  request.new_session = object.Get("newSession").As<Napi::Boolean>().Value();
  request.reset_ids = object.Get("resetIds").As<Napi::Boolean>().Value();
  request.signal_mask = OptionalInts(object, "signalMask");
  request.default_signals = OptionalInts(object, "defaultSignals");

  const auto pid = core::Spawn(request);
  if (!pid.ok()) return Throw(info.Env(), pid.error(), "'" + request.path + "'");
  return Napi::Number::New(info.Env(), pid.value());
}

// --- constants -----------------------------------------------------------------------------------

// Those that Node's own `os.constants` and `fs.constants` lack. What the system does not have is
// absent.
Napi::Object Constants(Napi::Env env) {
  auto constants = Napi::Object::New(env);
#define MP_CONSTANT(name) constants.Set(#name, Napi::Number::New(env, name))
#if !defined(_WIN32)
  MP_CONSTANT(WNOHANG);
  MP_CONSTANT(WUNTRACED);
  MP_CONSTANT(WCONTINUED);
  MP_CONSTANT(AF_UNIX);
  MP_CONSTANT(SOCK_STREAM);
  MP_CONSTANT(SOCK_DGRAM);
  MP_CONSTANT(SOCK_SEQPACKET);
  MP_CONSTANT(POLLIN);
  MP_CONSTANT(POLLPRI);
  MP_CONSTANT(POLLOUT);
  MP_CONSTANT(POLLERR);
  MP_CONSTANT(POLLHUP);
  MP_CONSTANT(POLLNVAL);
  MP_CONSTANT(MSG_DONTWAIT);
  MP_CONSTANT(MSG_PEEK);
  MP_CONSTANT(MSG_TRUNC);
  MP_CONSTANT(MSG_CTRUNC);
  MP_CONSTANT(O_CLOEXEC);
#if defined(SOCK_NONBLOCK)
  MP_CONSTANT(SOCK_NONBLOCK);
#endif
#if defined(POLLRDHUP)
  MP_CONSTANT(POLLRDHUP);
#endif
#endif
#undef MP_CONSTANT
  return constants;
}

template <Napi::Value (*callback)(const Napi::CallbackInfo&)>
void Export(Napi::Object& exports, const char* name) {
  exports.Set(name, Napi::Function::New<callback>(exports.Env(), name));
}

}  // namespace

void InitPosix(Napi::Env env, Napi::Object exports) {
  Export<Pipe>(exports, "pipe");
  Export<SocketPair>(exports, "socketpair");
  Export<MemoryFile>(exports, "memoryFile");
  Export<FreezeMemoryFile>(exports, "freezeMemoryFile");
  Export<Read>(exports, "read");
  Export<Write>(exports, "write");
  Export<WriteAllSync>(exports, "writeAllSync");
  Export<Close>(exports, "close");
  Export<Dup>(exports, "dup");
  Export<Dup2>(exports, "dup2");
  Export<SetInheritable>(exports, "setInheritable");
  Export<GetInheritable>(exports, "getInheritable");
  Export<SetBlocking>(exports, "setBlocking");
  Export<GetBlocking>(exports, "getBlocking");
  Export<IsTty>(exports, "isatty");
  Export<Poll>(exports, "poll");
  Export<WaitReady>(exports, "waitReady");
  Export<SendFds>(exports, "sendFds");
  Export<RecvFds>(exports, "recvFds");
  Export<AdmitSenders>(exports, "admitSenders");

  Export<WaitPid>(exports, "waitpid");
  Export<WaitPidTimeout>(exports, "waitPidTimeout");
  Export<Kill>(exports, "kill");
  Export<GetPid>(exports, "getpid");
  Export<IsMainThread>(exports, "isMainThread");
  Export<SetSid>(exports, "setsid");
  Export<GetSid>(exports, "getsid");
  Export<GetPgid>(exports, "getpgid");
  Export<SetPgid>(exports, "setpgid");
  Export<Exit>(exports, "_exit");
  Export<Spawn>(exports, "spawn");
  Export<ProcessStartTime>(exports, "processStartTime");
  Export<SetPdeathsig>(exports, "setPdeathsig");
  Export<EndWithParent>(exports, "endWithParent");
  Export<SleepMs>(exports, "sleepMs");
  Export<SchedSetAffinity>(exports, "schedSetaffinity");
  Export<SchedGetAffinity>(exports, "schedGetaffinity");

  Export<Status_WIFEXITED>(exports, "WIFEXITED");
  Export<Status_WEXITSTATUS>(exports, "WEXITSTATUS");
  Export<Status_WIFSIGNALED>(exports, "WIFSIGNALED");
  Export<Status_WTERMSIG>(exports, "WTERMSIG");
  Export<Status_WIFSTOPPED>(exports, "WIFSTOPPED");
  Export<Status_WSTOPSIG>(exports, "WSTOPSIG");
  Export<Status_WIFCONTINUED>(exports, "WIFCONTINUED");
  Export<Status_WCOREDUMP>(exports, "WCOREDUMP");

  exports.Set("posixConstants", Constants(env));
#if defined(MP_PLAIN_POSIX)
  exports.Set("plainPosix", Napi::Boolean::New(env, true));
#else
  exports.Set("plainPosix", Napi::Boolean::New(env, false));
#endif
}

}  // namespace mp
