// The resource tracker: a process that removes what the processes of a program leave behind, however they end.
//
//   multiprocessing-tracker <pid>     started by src/resource_tracker.ts alone, for the process <pid>
//
// Standard input is a pipe whose writing end each process of the program has: messages come from it (resources.h), and
// its end when the last of them has gone, by itself or by SIGKILL. Then what is still registered is removed, with
// CPython's warning on stderr, and the tracker ends. Its pid is said on standard output.
//
// No signal but SIGKILL and SIGSTOP reaches it: it is started with all of them blocked, in a session of its own, so that
// neither Ctrl-C nor `killall` ends it before the others. It is nobody's child: who waits for any child of his does not
// wait for this one.
//
// A program of the C library alone, for it is to be small: no C++ runtime, and linked statically where that can be done.

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#if defined(__linux__)
#include <sys/syscall.h>
#endif

#include "tracker/resources.h"

namespace mp::tracker {
namespace {

constexpr int kInput = 0;
constexpr int kOutput = 1;
constexpr int kErrors = 2;
constexpr int kFirstOther = 3;

// --- stderr --------------------------------------------------------------------------------------

constexpr int kPatienceMs = 2000;

// Nobody may be reading: a full pipe must not keep this process for ever.
void WriteErrors(const char* text, size_t length) {
  while (length > 0) {
    pollfd slot = {kErrors, POLLOUT, 0};
    if (poll(&slot, 1, kPatienceMs) != 1) return;
    // As much as a pipe that can be written to has room for.
    const size_t piece = length < kLongestMessage ? length : kLongestMessage;
    const ssize_t written = write(kErrors, text, piece);
    if (written < 0 && errno != EINTR && errno != EAGAIN) return;
    if (written > 0) {
      text += written;
      length -= static_cast<size_t>(written);
    }
  }
}

// Text that grows; without memory the rest of it is missing.
class Text {
 public:
  Text() = default;
  ~Text() { free(data_); }
  Text(const Text&) = delete;
  Text& operator=(const Text&) = delete;

  const char* data() const { return data_; }
  size_t length() const { return length_; }

  void Add(const char* text) { Add(text, strlen(text)); }

  // A name in quotes, which must not take a terminal's control characters along.
  void AddQuoted(const char* name) {
    Add("'");
    for (; *name != '\0'; ++name) {
      const auto c = static_cast<unsigned char>(*name);
      char escaped[8];
      if (c < 0x20 || c == 0x7f) {
        snprintf(escaped, sizeof(escaped), "\\x%02x", c);
        Add(escaped);
      } else {
        Add(name, 1);
      }
    }
    Add("'");
  }

 private:
  void Add(const char* text, size_t length) {
    if (length_ + length > capacity_) {
      const size_t capacity = 2 * (length_ + length);
      auto* data = static_cast<char*>(realloc(data_, capacity));
      if (data == nullptr) return;
      data_ = data;
      capacity_ = capacity;
    }
    memcpy(data_ + length_, text, length);
    length_ += length;
  }

  char* data_ = nullptr;
  size_t length_ = 0;
  size_t capacity_ = 0;
};

const char* program = "0";

// As node prints a warning.
void Begin(Text* line) {
  line->Add("(node:");
  line->Add(program);
  line->Add(") UserWarning: resource_tracker: ");
}

void Warn(const char* message) {
  Text line;
  Begin(&line);
  line.Add(message);
  line.Add("\n");
  WriteErrors(line.data(), line.length());
}

// --- removing ------------------------------------------------------------------------------------

// kDone: it was there.
enum class Outcome { kDone, kGone, kFailed };

Outcome OutcomeOf(int result) {
  if (result == 0) return Outcome::kDone;
  return errno == ENOENT ? Outcome::kGone : Outcome::kFailed;
}

bool IsAnother(const struct stat& status, const Resource& resource) {
  if (resource.device == 0 && resource.inode == 0) return false;
  return static_cast<uint64_t>(status.st_dev) != resource.device ||
         static_cast<uint64_t>(status.st_ino) != resource.inode;
}

// The name may mean something else by now: then what it meant is gone.
Outcome LookAtSharedMemory(const Resource& resource) {
  const int fd = shm_open(resource.name, O_RDONLY, 0);
  if (fd < 0) return OutcomeOf(fd);
  struct stat status;
  const bool is_another = fstat(fd, &status) == 0 && IsAnother(status, resource);
  close(fd);
  return is_another ? Outcome::kGone : Outcome::kDone;
}

Outcome RemoveSharedMemory(const Resource& resource) {
  const Outcome seen = LookAtSharedMemory(resource);
  return seen == Outcome::kDone ? OutcomeOf(shm_unlink(resource.name)) : seen;
}

// A program that opens the blocks of another one, which unlinks them, does not learn of it. What is only announced is
// not there yet. Looked for whenever there are twice as many as the last time.
constexpr size_t kLeastCrowded = 1000;
void Prune(Resources* resources) {
  static size_t crowded = kLeastCrowded;
  if (resources->size() <= crowded) return;
  resources->Prune([](const Resource& resource) {
    const bool is_announced = resource.device == 0 && resource.inode == 0;
    return resource.type == Type::kSharedMemory && !is_announced &&
           LookAtSharedMemory(resource) == Outcome::kGone;
  });
  crowded = 2 * resources->size() + kLeastCrowded;
}

Outcome RemovePath(const Resource& resource) {
  struct stat status;
  if (lstat(resource.name, &status) != 0) return OutcomeOf(-1);
  if (IsAnother(status, resource)) return Outcome::kGone;
  return OutcomeOf(resource.type == Type::kFile ? unlink(resource.name) : rmdir(resource.name));
}

// Files and directories are the package's own: a program that was killed did not forget them.
void RemoveAll(const Resources& resources, Type type) {
  Text removed;
  Text failed;
  size_t count = 0;
  resources.ForEach(type, [&](const Resource& resource) {
    const auto outcome =
        type == Type::kSharedMemory ? RemoveSharedMemory(resource) : RemovePath(resource);
    if (outcome == Outcome::kDone) {
      if (count++ > 0) removed.Add(", ");
      removed.AddQuoted(resource.name);
    } else if (outcome == Outcome::kFailed) {
      const int problem = errno;
      Begin(&failed);
      failed.AddQuoted(resource.name);
      failed.Add(": ");
      failed.Add(strerror(problem));
      failed.Add("\n");
    }
  });
  if (count > 0 && type == Type::kSharedMemory) {
    Text line;
    char number[32];
    snprintf(number, sizeof(number), "%zu", count);
    Begin(&line);
    line.Add("There appear to be ");
    line.Add(number);
    line.Add(" leaked shared_memory objects to clean up at shutdown: {");
    WriteErrors(line.data(), line.length());
    removed.Add("}\n");
    WriteErrors(removed.data(), removed.length());
  }
  WriteErrors(failed.data(), failed.length());
}

// --- the process ---------------------------------------------------------------------------------

void CloseOthers() {
#if defined(SYS_close_range)
  if (syscall(SYS_close_range, kFirstOther, ~0u, 0) == 0) return;
#endif
  constexpr int kMost = 65'536;
  const long limit = sysconf(_SC_OPEN_MAX);
  for (int fd = kFirstOther; fd < (limit < 0 || limit > kMost ? kMost : limit); ++fd) close(fd);
}

// What has a number has to be open: otherwise the next descriptor that is opened gets it.
bool FillGaps() {
  for (int fd = kInput; fd <= kErrors; ++fd) {
    if (fcntl(fd, F_GETFD) >= 0) continue;
    if (fd == kInput || open("/dev/null", O_RDWR) != fd) return false;
  }
  return true;
}

// What is known of the tracker to who has started it.
void SayPid(pid_t pid) {
  char line[32];
  const int length = snprintf(line, sizeof(line), "%d\n", static_cast<int>(pid));
  (void)!write(kOutput, line, static_cast<size_t>(length));
}

void LeaveOutput() {
  const int null = open("/dev/null", O_RDWR);
  dup2(null, kOutput);
  close(null);
}

// Who writes to a pipe in which somebody waits has to wake him. So for a while after a message nobody does: the next ones
// of a burst cost a third, and the pipe has room for a thousand of them.
constexpr timespec kRest = {0, 2'000'000};

// Until its last writer has gone.
void Listen(Resources* resources) {
  static Lines lines;
  bool has_complained = false;
  for (;;) {
    const ssize_t count = read(kInput, lines.space(), lines.room());
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return;
    size_t unknown = 0;
    const size_t too_long = lines.Filled(static_cast<size_t>(count), [&](char* line) {
      Message message;
      if (!ReadMessage(line, &message)) {
        ++unknown;
      } else if (!message.registers) {
        resources->Remove(message.resource);
      } else if (!resources->Add(message.resource)) {
        Warn("out of memory: a resource is not tracked");
      }
    });
    if (unknown + too_long > 0 && !has_complained) {
      has_complained = true;
      Warn("something was ignored that is no message to it");
    }
    Prune(resources);
    nanosleep(&kRest, nullptr);
  }
}

int Run() {
  if (!FillGaps()) return 1;
  CloseOthers();
  // The one that was started ends, and its parent has no child to wait for any more.
  const pid_t pid = fork();
  if (pid < 0) return 1;
  if (pid > 0) {
    SayPid(pid);
    return 0;
  }
  LeaveOutput();
  (void)setsid();
  (void)!chdir("/");

  static Resources resources;
  Listen(&resources);
  for (size_t type = 0; type < kTypes; ++type) RemoveAll(resources, static_cast<Type>(type));
  return 0;
}

}  // namespace
}  // namespace mp::tracker

int main(int argc, char** argv) {
  if (argc != 2) {
    static const char kText[] =
        "The resource tracker of node-multiprocessing, which starts it by itself.\n";
    (void)!write(2, kText, sizeof(kText) - 1);
    return 2;
  }
  mp::tracker::program = argv[1];
  // Not by return: destructors and atexit have nothing to do here.
  _exit(mp::tracker::Run());
}
