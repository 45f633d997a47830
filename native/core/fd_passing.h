// Sending file descriptors through an AF_UNIX socket (SCM_RIGHTS).
//
// The receiver gets descriptors of its own for the same open files, close-on-exec from birth. What
// does not fit into `max_fds` is closed, by the kernel where it can, and reported by MSG_CTRUNC in
// the flags, so nothing can leak into the receiver.
#pragma once

#if !defined(_WIN32)
#include <sys/socket.h>
#endif

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "core/fd.h"
#include "core/plain_posix.h"
#include "core/result.h"

namespace mp::core {

// That can travel with one message: SCM_MAX_FD of Linux.
constexpr size_t kMostFds = 253;

#if defined(_WIN32)
// Of ReceivedMessage::flags: MSG_CTRUNC.
constexpr int kControlCut = 8;
#else
// Flags for sending, where the system has them: a peer that is gone is EPIPE, and no SIGPIPE.
#if defined(MSG_NOSIGNAL)
constexpr int kNoSignal = MSG_NOSIGNAL;
#else
constexpr int kNoSignal = 0;
#endif
// And for receiving descriptors: close-on-exec from birth.
#if defined(MP_LINUX)
constexpr int kReceiveCloexec = MSG_CMSG_CLOEXEC;
#else
constexpr int kReceiveCloexec = 0;
#endif

// Whether a send with MSG_DONTWAIT of at most kMostAtOnce bytes, and of descriptors, does not sleep. macOS minds the flag
// when it receives only, so that one has to ask before: what poll(2) calls writable there has room for 2,048 bytes, and
// descriptors take at most half of them.
#if defined(MP_LINUX)
inline bool MaySendNow(int) { return true; }
constexpr size_t kMostAtOnce = SIZE_MAX;
#else
bool MaySendNow(int socket);
constexpr size_t kMostAtOnce = 1024;
#endif

// Takes what a message has brought out of its control data.
void CollectFds(msghdr* message, std::vector<UniqueFd>* fds);
#endif

struct ReceivedMessage {
  size_t bytes;
  std::vector<UniqueFd> fds;
  int flags;  // msg_flags: MSG_CTRUNC, MSG_TRUNC, MSG_EOR
  // The effective user of who has sent it, if that was asked for and can be told.
  std::optional<unsigned> sender;
};

// The number of bytes taken. A stream socket carries descriptors only together with at least one
// byte.
Result<size_t> SendFds(int socket, const void* data, size_t size, const std::vector<int>& fds,
                       int flags);
Result<ReceivedMessage> ReceiveFds(int socket, void* data, size_t capacity, size_t max_fds,
                                   int flags);

// What is sent from now on arrives with its sender's identity, for ReceiveFromSender.
Result<void> AdmitSenders(int socket);
// The same, and who has sent it. Linux: as the kernel saw it when it was sent. Elsewhere: who made the first of the
// descriptors, a socket.
Result<ReceivedMessage> ReceiveFromSender(int socket, void* data, size_t capacity, size_t max_fds,
                                          int flags);

}  // namespace mp::core
