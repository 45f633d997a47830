#if !defined(_WIN32)

#include "core/spawn.h"

#include <signal.h>
#include <spawn.h>
#include <sys/types.h>

#include <cerrno>
#include <vector>

#include "core/fd.h"

namespace mp::core {

namespace {

// posix_spawn and its helpers return the error instead of setting errno.
Result<void> Checked(int errnum, const char* syscall) {
  if (errnum != 0) return OsError{errnum, syscall};
  return {};
}

class FileActions {
 public:
  FileActions() { posix_spawn_file_actions_init(&actions_); }
  ~FileActions() {
    posix_spawn_file_actions_destroy(&actions_);
    for (const int fd : hidden_) (void)SetInheritable(fd, true);
  }
  FileActions(const FileActions&) = delete;
  FileActions& operator=(const FileActions&) = delete;

  Result<void> Add(const FileAction& action) {
    switch (action.kind) {
      case FileAction::Kind::kOpen:
        return Checked(
            posix_spawn_file_actions_addopen(&actions_, action.fd, action.path.c_str(),
                                             action.flags, static_cast<mode_t>(action.mode)),
            "posix_spawn_file_actions_addopen");
      case FileAction::Kind::kClose:
        return AddClose(action.fd);
      case FileAction::Kind::kDup2:
        return Checked(posix_spawn_file_actions_adddup2(&actions_, action.fd, action.target),
                       "posix_spawn_file_actions_adddup2");
    }
    return OsError{EINVAL, "posix_spawn"};
  }

  const posix_spawn_file_actions_t* get() const { return &actions_; }

 private:
  Result<void> AddClose(int fd) {
    const int errnum = posix_spawn_file_actions_addclose(&actions_, fd);
    // Opened while the limit was higher: the C library takes no number beyond it. What is close-on-exec for the moment of
    // the spawn is closed as well.
    const auto inheritable = errnum == EBADF ? GetInheritable(fd) : Result<bool>(false);
    if (!inheritable.ok() || !inheritable.value()) {
      return Checked(errnum, "posix_spawn_file_actions_addclose");
    }
    hidden_.push_back(fd);
    return SetInheritable(fd, false);
  }

  posix_spawn_file_actions_t actions_;
  std::vector<int> hidden_;
};

sigset_t ToSet(const std::vector<int>& signals) {
  sigset_t set;
  sigemptyset(&set);
  // The C library keeps a few numbers for itself (32 and 33 in glibc) and refuses them here; like
  // Python, leave them out.
  for (const int signal : signals) (void)sigaddset(&set, signal);
  return set;
}

class Attributes {
 public:
  Attributes() { posix_spawnattr_init(&attributes_); }
  ~Attributes() { posix_spawnattr_destroy(&attributes_); }
  Attributes(const Attributes&) = delete;
  Attributes& operator=(const Attributes&) = delete;

  Result<void> Set(const SpawnRequest& request) {
    int flags = 0;
    if (request.process_group) {
      flags |= POSIX_SPAWN_SETPGROUP;
      posix_spawnattr_setpgroup(&attributes_, *request.process_group);
    }
    if (request.signal_mask) {
      flags |= POSIX_SPAWN_SETSIGMASK;
      const sigset_t set = ToSet(*request.signal_mask);
      posix_spawnattr_setsigmask(&attributes_, &set);
    }
    if (request.default_signals) {
      flags |= POSIX_SPAWN_SETSIGDEF;
      const sigset_t set = ToSet(*request.default_signals);
      posix_spawnattr_setsigdefault(&attributes_, &set);
    }
    if (request.reset_ids) flags |= POSIX_SPAWN_RESETIDS;
    if (request.new_session) {
#if defined(POSIX_SPAWN_SETSID)
      flags |= POSIX_SPAWN_SETSID;
#else
      return OsError{ENOSYS, "posix_spawn"};
#endif
    }
    return Checked(posix_spawnattr_setflags(&attributes_, static_cast<short>(flags)),
                   "posix_spawnattr_setflags");
  }

  const posix_spawnattr_t* get() const { return &attributes_; }

 private:
  posix_spawnattr_t attributes_;
};

// The NULL-terminated array that exec takes; it points into `strings`, which must outlive it.
std::vector<char*> ToArgArray(const std::vector<std::string>& strings) {
  std::vector<char*> pointers;
  pointers.reserve(strings.size() + 1);
  for (const auto& text : strings) pointers.push_back(const_cast<char*>(text.c_str()));
  pointers.push_back(nullptr);
  return pointers;
}

}  // namespace

Result<int> Spawn(const SpawnRequest& request) {
  FileActions actions;
  for (const auto& action : request.file_actions) {
    const auto added = actions.Add(action);
    if (!added.ok()) return added.error();
  }
  Attributes attributes;
  const auto set = attributes.Set(request);
  if (!set.ok()) return set.error();

  const auto argv = ToArgArray(request.argv);
  const auto env = ToArgArray(request.env);
  const auto start = request.search_path ? posix_spawnp : posix_spawn;
  pid_t pid = -1;
  const int errnum =
      start(&pid, request.path.c_str(), actions.get(), attributes.get(), argv.data(), env.data());
  if (errnum != 0) return OsError{errnum, request.search_path ? "posix_spawnp" : "posix_spawn"};
  return static_cast<int>(pid);
}

}  // namespace mp::core

#endif
