#if !defined(_WIN32)

#include <doctest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/fd.h"
#include "core/parent_watch.h"

using mp::core::Deadline;
using mp::core::EndWithParent;
using mp::core::PollSlot;

namespace {

// Whether nobody has the other end any more, within a second.
bool HasEnded(int fd) {
  PollSlot slot{fd, 1 /* POLLIN */, 0};
  return mp::core::PollFds(&slot, 1, Deadline::AfterMs(1000)).value() == 1;
}

}  // namespace

TEST_CASE("parent watch: the process ends with its parent, reaped or not") {
  for (const bool reaped : {true, false}) {
    auto life = mp::core::MakePipe(true);
    auto begun = mp::core::MakePipe(true);
    const pid_t parent = fork();
    if (parent == 0) {
      const pid_t self = getpid();
      if (fork() == 0) {
        const bool watched = EndWithParent(self).ok();
        (void)!write(begun.value().second.get(), watched ? "y" : "n", 1);
        for (;;) pause();
      }
      life.value().second.Reset();
      for (;;) pause();
    }
    life.value().second.Reset();
    char watched = 0;
    REQUIRE(read(begun.value().first.get(), &watched, 1) == 1);
    CHECK(watched == 'y');
    kill(parent, SIGKILL);
    int status = 0;
    if (reaped) waitpid(parent, &status, 0);
    CHECK(HasEnded(life.value().first.get()));
    if (!reaped) waitpid(parent, &status, 0);
  }
}

TEST_CASE("parent watch: a parent that has ended before is no parent") {
  const pid_t gone = fork();
  if (gone == 0) _exit(0);
  int status = 0;
  REQUIRE(waitpid(gone, &status, 0) == gone);
  const pid_t child = fork();
  if (child == 0) {
    (void)EndWithParent(gone);
    _exit(0);
  }
  REQUIRE(waitpid(child, &status, 0) == child);
  CHECK(WIFSIGNALED(status));
  CHECK(WTERMSIG(status) == SIGKILL);
}

#endif
