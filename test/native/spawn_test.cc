#if !defined(_WIN32)

#include "core/spawn.h"

#include <doctest.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <initializer_list>
#include <string>
#include <utility>

#include "core/fd.h"
#include "core/process.h"

using namespace mp::core;

namespace {

SpawnRequest Shell(const std::string& script) {
  SpawnRequest request;
  request.path = "/bin/sh";
  request.argv = {"sh", "-c", script};
  return request;
}

int StatusOf(const Result<int>& pid) {
  REQUIRE(pid.ok());
  const auto waited = WaitPid(pid.value(), 0);
  REQUIRE(waited.ok());
  return waited.value().status;
}

int ExitCodeOf(const Result<int>& pid) {
  const int status = StatusOf(pid);
  REQUIRE(WIFEXITED(status));
  return WEXITSTATUS(status);
}

// What the script prints, through a pipe that file actions make its stdout.
std::string OutputOf(SpawnRequest request) {
  auto pipe = MakePipe(true);
  REQUIRE(pipe.ok());
  FileAction to_stdout;
  to_stdout.kind = FileAction::Kind::kDup2;
  to_stdout.fd = pipe.value().second.get();
  to_stdout.target = 1;
  request.file_actions.push_back(to_stdout);
  const auto pid = Spawn(request);
  pipe.value().second.Reset();
  std::string output;
  char text[256];
  for (;;) {
    const auto got = ReadSome(pipe.value().first.get(), text, sizeof(text));
    REQUIRE(got.ok());
    if (got.value() == 0) break;
    output.append(text, got.value());
  }
  CHECK(ExitCodeOf(pid) == 0);
  return output;
}

}  // namespace

TEST_CASE("spawn: runs the program with these arguments and this environment only") {
  SpawnRequest request = Shell("echo \"$0 $1 $COLOUR ${HOME-none}\"");
  request.argv.insert(request.argv.end(), {"zero", "one"});
  request.env = {"COLOUR=red"};
  CHECK(OutputOf(request) == "zero one red none\n");
}

TEST_CASE("spawn: the exec's failure is the call's") {
  SpawnRequest request;
  request.path = "/no/such/program";
  request.argv = {"program"};
  const auto missing = Spawn(request);
  CHECK(missing.error().errnum == ENOENT);
  CHECK(std::string(missing.error().syscall) == "posix_spawn");
  request.path = "/";
  CHECK(Spawn(request).error().errnum == EACCES);
  request.path = "no-such-program-on-any-path";
  request.search_path = true;
  CHECK(Spawn(request).error().errnum == ENOENT);
  // The child of a failed call was reaped by the C library.
  CHECK(WaitPid(-1, WNOHANG).error().errnum == ECHILD);
}

TEST_CASE("spawn: looks along PATH when asked to") {
  SpawnRequest request = Shell("exit 7");
  request.path = "sh";
  CHECK(Spawn(request).error().errnum == ENOENT);
  request.search_path = true;
  CHECK(ExitCodeOf(Spawn(request)) == 7);
}

TEST_CASE("spawn: file actions open, close and copy") {
  SpawnRequest request = Shell("cat <&7; echo closed >&2 || true");
  FileAction open;
  open.kind = FileAction::Kind::kOpen;
  open.fd = 7;
  open.path = "/dev/null";
  open.flags = O_RDONLY;
  FileAction close;
  close.kind = FileAction::Kind::kClose;
  close.fd = 2;
  request.file_actions = {open, close};
  CHECK(OutputOf(request).empty());

  FileAction bad;
  bad.kind = FileAction::Kind::kDup2;
  bad.fd = 9999;
  bad.target = 1;
  request.file_actions = {bad};
  CHECK(Spawn(request).error().errnum == EBADF);
  bad.kind = FileAction::Kind::kClose;
  bad.fd = -1;
  request.file_actions = {bad};
  CHECK(Spawn(request).error().errnum == EBADF);
}

TEST_CASE("spawn: descriptors made here are not inherited") {
  auto pipe = MakePipe(true);
  REQUIRE(pipe.ok());
  const int fd = pipe.value().first.get();
  CHECK(ExitCodeOf(Spawn(Shell("[ -e /dev/fd/" + std::to_string(fd) + " ]"))) == 1);
  REQUIRE(SetInheritable(fd, true).ok());
  CHECK(ExitCodeOf(Spawn(Shell("[ -e /dev/fd/" + std::to_string(fd) + " ]"))) == 0);
}

TEST_CASE("spawn: signals can be set back, and blocked") {
  struct sigaction ignore{};
  struct sigaction old{};
  ignore.sa_handler = SIG_IGN;
  sigaction(SIGUSR1, &ignore, &old);
  SpawnRequest request = Shell("kill -USR1 $$; exit 3");
  CHECK(ExitCodeOf(Spawn(request)) == 3);
  request.default_signals = std::vector<int>{SIGUSR1};
  CHECK(WTERMSIG(StatusOf(Spawn(request))) == SIGUSR1);
  request.signal_mask = std::vector<int>{SIGUSR1, 32};  // 32 is glibc's own: left out
  CHECK(ExitCodeOf(Spawn(request)) == 3);
  sigaction(SIGUSR1, &old, nullptr);
}

TEST_CASE("spawn: a group or a session of its own") {
  SpawnRequest request = Shell("sleep 30");
  request.process_group = 0;
  request.reset_ids = true;
  const auto in_group = Spawn(request);
  REQUIRE(in_group.ok());
  CHECK(GetPgid(in_group.value()).value() == in_group.value());
  CHECK(GetSid(in_group.value()).value() == GetSid(0).value());
  request.process_group.reset();
  request.new_session = true;
  const auto in_session = Spawn(request);
  REQUIRE(in_session.ok());
  CHECK(GetSid(in_session.value()).value() == in_session.value());
  for (const auto& pid : {in_group, in_session}) {
    CHECK(KillProcess(-pid.value(), SIGKILL).ok());
    CHECK(WTERMSIG(StatusOf(pid)) == SIGKILL);
  }
}

#endif
