#if !defined(_WIN32)

#include "core/fd_passing.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <utility>

namespace mp::core {

namespace {

// Without MSG_CMSG_CLOEXEC (macOS) the flag is set one call later.
UniqueFd Adopt(int fd) {
  if (kReceiveCloexec == 0) fcntl(fd, F_SETFD, FD_CLOEXEC);
  return UniqueFd(fd);
}

#if defined(MP_LINUX)
constexpr bool kKernelDropsSurplus = true;
#else
// What there is no room for in the control data remains open in the receiver, where nobody knows of it: there has to be
// room for all that can come, and the surplus is closed here.
constexpr bool kKernelDropsSurplus = false;
#endif
constexpr size_t kMostToCome = 512;  // UIPC_MAX_CMSG_FD of macOS

}  // namespace

#if !defined(MP_LINUX)
bool MaySendNow(int socket) {
  pollfd slot{socket, POLLOUT, 0};
  return RetryOnSignal([&] { return poll(&slot, 1, 0); }) > 0;
}
#endif

void CollectFds(msghdr* message, std::vector<UniqueFd>* fds) {
  for (cmsghdr* header = CMSG_FIRSTHDR(message); header != nullptr;
       header = CMSG_NXTHDR(message, header)) {
    if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
    const size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < count; ++i) {
      int fd = -1;
      std::memcpy(&fd, CMSG_DATA(header) + i * sizeof(int), sizeof(int));
      fds->push_back(Adopt(fd));
    }
  }
}

Result<size_t> SendFds(int socket, const void* data, size_t size, const std::vector<int>& fds,
                       int flags) {
  iovec part{const_cast<void*>(data), size};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;

  const size_t fd_bytes = fds.size() * sizeof(int);
  std::vector<char> control(fds.empty() ? 0 : CMSG_SPACE(fd_bytes));
  if (!fds.empty()) {
    message.msg_control = control.data();
    message.msg_controllen = static_cast<decltype(message.msg_controllen)>(control.size());
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = static_cast<decltype(header->cmsg_len)>(CMSG_LEN(fd_bytes));
    std::memcpy(CMSG_DATA(header), fds.data(), fd_bytes);
  }

  if ((flags & MSG_DONTWAIT) != 0 && !MaySendNow(socket)) return OsError{EAGAIN, "sendmsg"};
  const auto sent = RetryOnSignal([&] { return sendmsg(socket, &message, flags | kNoSignal); });
  if (sent < 0) return LastError("sendmsg");
  return static_cast<size_t>(sent);
}

namespace {

#if defined(__linux__)
constexpr size_t kSenderBytes = CMSG_SPACE(sizeof(ucred));
#else
constexpr size_t kSenderBytes = 0;
#endif

std::optional<unsigned> SenderOf(msghdr& message, const std::vector<UniqueFd>& fds) {
#if defined(__linux__)
  (void)fds;
  for (cmsghdr* header = CMSG_FIRSTHDR(&message); header != nullptr;
       header = CMSG_NXTHDR(&message, header)) {
    if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_CREDENTIALS) continue;
    ucred sender{};
    std::memcpy(&sender, CMSG_DATA(header), sizeof(sender));
    return sender.uid;
  }
#else
  (void)message;
  uid_t user = 0;
  gid_t group = 0;
  if (!fds.empty() && getpeereid(fds[0].get(), &user, &group) == 0) return user;
#endif
  return std::nullopt;
}

Result<ReceivedMessage> Receive(int socket, void* data, size_t capacity, size_t max_fds, int flags,
                                bool with_sender) {
  iovec part{data, capacity};
  const size_t sender_bytes = with_sender ? kSenderBytes : 0;
  // Padded for its header, but announced without the padding: in the padding the kernel would
  // deliver one more descriptor than was asked for.
  const size_t room = kKernelDropsSurplus ? max_fds : std::max(max_fds, kMostToCome);
  std::vector<char> control(sender_bytes + (room == 0 ? 0 : CMSG_SPACE(room * sizeof(int))));
  const size_t announced = sender_bytes + (room == 0 ? 0 : CMSG_LEN(room * sizeof(int)));

  msghdr message{};
  const auto got = RetryOnSignal([&] {
    message = msghdr{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = announced == 0 ? nullptr : control.data();
    message.msg_controllen = static_cast<decltype(message.msg_controllen)>(announced);
    return recvmsg(socket, &message, flags | kReceiveCloexec);
  });
  if (got < 0) return LastError("recvmsg");
  int message_flags = message.msg_flags;
#if defined(MSG_CMSG_CLOEXEC)
  message_flags &=
      ~MSG_CMSG_CLOEXEC;  // Linux echoes the request; it says nothing about the message
#endif
  std::vector<UniqueFd> fds;
  fds.reserve(room);
  CollectFds(&message, &fds);
  if (fds.size() > max_fds) {
    fds.resize(max_fds);
    message_flags |= MSG_CTRUNC;
  }
  const auto sender = with_sender ? SenderOf(message, fds) : std::nullopt;
  return ReceivedMessage{static_cast<size_t>(got), std::move(fds), message_flags, sender};
}

}  // namespace

Result<ReceivedMessage> ReceiveFds(int socket, void* data, size_t capacity, size_t max_fds,
                                   int flags) {
  return Receive(socket, data, capacity, max_fds, flags, false);
}

Result<void> AdmitSenders(int socket) {
#if defined(__linux__)
  const int on = 1;
  if (setsockopt(socket, SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)) != 0) {
    return LastError("setsockopt");
  }
#else
  (void)socket;
#endif
  return {};
}

Result<ReceivedMessage> ReceiveFromSender(int socket, void* data, size_t capacity, size_t max_fds,
                                          int flags) {
  return Receive(socket, data, capacity, max_fds, flags, true);
}

}  // namespace mp::core

#endif
