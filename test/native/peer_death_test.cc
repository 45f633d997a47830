#if !defined(_WIN32)

#include "core/peer_death.h"

#include <doctest.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/fd.h"
#include "core/fd_passing.h"
#include "core/pidfd.h"
#include "core/process.h"

using namespace mp::core;

namespace {

// A process that calls `ask` with its end of a socket, says that it has, and waits.
struct Child {
  int pid;
  UniqueFd socket;
};

Child Start(Result<void> (*ask)(int), bool closed_before = false) {
  auto sockets = MakeSocketPair(SOCK_STREAM, true);
  auto told = MakePipe(true);
  REQUIRE(sockets.ok());
  REQUIRE(told.ok());
  UniqueFd ours = std::move(sockets.value().first);
  if (closed_before) ours = UniqueFd();
  const int pid = fork();
  REQUIRE(pid >= 0);
  if (pid == 0) {
    ours = UniqueFd();
    if (!ask(sockets.value().second.get()).ok()) _exit(1);
    if (write(told.value().second.get(), "1", 1) != 1) _exit(2);
    for (;;) pause();
  }
  told.value().second = UniqueFd();
  char byte;
  CHECK(read(told.value().first.get(), &byte, 1) >= 0);
  return {pid, std::move(ours)};
}

int EndOf(int pid) {
  const auto waited = WaitPid(pid, 0, Deadline::AfterMs(20'000));
  REQUIRE(waited.ok());
  REQUIRE(waited.value().pid == pid);
  const int status = waited.value().status;
  return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

bool Runs(int pid) { return WaitPid(pid, 0, Deadline::AfterMs(30)).value().pid == 0; }

}  // namespace

TEST_CASE("peer death: the process ends with the other end of its socket, and not before") {
  for (auto* ask : {&DieWithPeer, &DieWithPeerByThread}) {
    Child child = Start(ask);
    CHECK(Runs(child.pid));
    child.socket = UniqueFd();
    CHECK(EndOf(child.pid) == -SIGKILL);
    CHECK(EndOf(Start(ask, true).pid) == -SIGKILL);
  }
}

#if defined(F_SETSIG) || defined(__linux__)
TEST_CASE("peer death: not any more") {
  Child child = Start([](int socket) -> Result<void> {
    const auto asked = DieWithPeer(socket);
    return asked.ok() ? OutlivePeer(socket) : asked;
  });
  child.socket = UniqueFd();
  CHECK(Runs(child.pid));
  CHECK(KillProcess(child.pid, SIGKILL).ok());
  CHECK(EndOf(child.pid) == -SIGKILL);
}

TEST_CASE("pidfd: a signal, and none to one that has ended") {
  Child child = Start([](int) { return Result<void>(); });
  const UniqueFd pidfd(OpenPidfd(child.pid));
  // Nothing stands in for it where there is none (docs/platforms.md).
  const bool available = pidfd.get() != -ENOSYS;
  CHECK(pidfd.valid() == available);
  // None for which the framework has a handler.
  if (available) CHECK(SignalPidfd(pidfd.get(), SIGUSR1).ok());
  if (!available) CHECK(KillProcess(child.pid, SIGUSR1).ok());
  CHECK(EndOf(child.pid) == -SIGUSR1);
  if (available) CHECK(SignalPidfd(pidfd.get(), SIGUSR1).error().errnum == ESRCH);
}
#endif

TEST_CASE("fd passing: who has sent it") {
  auto made = MakeSocketPair(SOCK_STREAM, true);
  auto other = MakeSocketPair(SOCK_STREAM, true);
  REQUIRE(made.ok());
  REQUIRE(other.ok());
  const int from = made.value().first.get();
  const int to = made.value().second.get();
  REQUIRE(AdmitSenders(to).ok());
  const std::vector<int> fds = {other.value().first.get(), other.value().second.get(), from};
  REQUIRE(SendFds(from, "1", 1, fds, 0).ok());
  char byte;
  auto received = ReceiveFromSender(to, &byte, 1, 2, 0);
  REQUIRE(received.ok());
  REQUIRE(received.value().sender.has_value());
  CHECK(*received.value().sender == geteuid());
  // Not one more than was asked for.
  CHECK(received.value().fds.size() == 2);
}

#endif
