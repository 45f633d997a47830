// Sending file descriptors through an AF_UNIX socket (SCM_RIGHTS).
//
// The receiver gets descriptors of its own for the same open files, close-on-exec from birth. What
// does not fit into `max_fds` is closed by the kernel and reported by MSG_CTRUNC in the flags, so
// nothing can leak into the receiver.
#pragma once

#include <cstddef>
#include <vector>

#include "core/fd.h"
#include "core/result.h"

namespace mp::core {

struct ReceivedMessage {
  size_t bytes;
  std::vector<UniqueFd> fds;
  int flags;  // msg_flags: MSG_CTRUNC, MSG_TRUNC, MSG_EOR
};

// The number of bytes taken. A stream socket carries descriptors only together with at least one
// byte.
Result<size_t> SendFds(int socket, const void* data, size_t size, const std::vector<int>& fds,
                       int flags);
Result<ReceivedMessage> ReceiveFds(int socket, void* data, size_t capacity, size_t max_fds,
                                   int flags);

}  // namespace mp::core
