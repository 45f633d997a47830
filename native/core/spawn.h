// posix_spawn(3): a new program in a new process, without a copy of this one in between.
//
// The request is plain data, so that it can be checked and built without the system and every
// resource of the call lives and dies inside Spawn. The failure of the exec itself (ENOENT, EACCES,
// …) comes back as the error of the call.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "core/result.h"

namespace mp::core {

struct FileAction {
  enum class Kind { kOpen = 0, kClose = 1, kDup2 = 2 };
  Kind kind;
  int fd;
  int target = -1;   // kDup2: the number that becomes a copy of fd
  std::string path;  // kOpen, with the two below
  int flags = 0;
  unsigned mode = 0;
};

struct SpawnRequest {
  std::string path;
  std::vector<std::string> argv;
  std::vector<std::string> env;          // NAME=value
  bool search_path = false;              // posix_spawnp: look along this process's PATH
  std::vector<FileAction> file_actions;  // done in the child, in this order
  std::optional<int> process_group;      // 0: a group of its own
  bool new_session = false;
  bool reset_ids = false;
  std::optional<std::vector<int>> signal_mask;      // blocked in the child, and no others
  std::optional<std::vector<int>> default_signals;  // set back to their default action
};

// The pid of the new process.
Result<int> Spawn(const SpawnRequest& request);

}  // namespace mp::core
