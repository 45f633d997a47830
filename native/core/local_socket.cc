#if !defined(_WIN32)

#include "core/local_socket.h"

#include <fcntl.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstddef>
#include <cstdlib>
#include <cstring>

#include "core/plain_posix.h"

namespace mp::core {
namespace {

constexpr int kBacklog = 128;

Result<UniqueFd> NewSocket() {
#if defined(MP_PLAIN_POSIX)
  UniqueFd fd(socket(AF_UNIX, SOCK_STREAM, 0));
  if (!fd.valid()) return LastError("socket");
  fcntl(fd.get(), F_SETFD, FD_CLOEXEC);
  fcntl(fd.get(), F_SETFL, O_NONBLOCK);
#else
  UniqueFd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd.valid()) return LastError("socket");
#endif
#if defined(SO_NOSIGPIPE)
  const int on = 1;
  setsockopt(fd.get(), SOL_SOCKET, SO_NOSIGPIPE, &on, sizeof(on));
#endif
  return fd;
}

Result<socklen_t> ToSockaddr(const std::string& address, sockaddr_un* out) {
  *out = sockaddr_un{};
  out->sun_family = AF_UNIX;
  if (address.empty() || address.size() >= sizeof(out->sun_path)) {
    return OsError{ENAMETOOLONG, "connect"};
  }
  std::memcpy(out->sun_path, address.data(), address.size());
  if (address[0] == '@') out->sun_path[0] = '\0';
  return static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + address.size());
}

#if defined(MP_PLAIN_POSIX)

// The directory of the latest listener, and whose it is to remove.
char g_directory[sizeof(sockaddr_un::sun_path)];
pid_t g_directory_owner = 0;

void RemoveDirectory() {
  if (g_directory_owner != getpid()) return;
  unlink((std::string(g_directory) + "/s").c_str());
  rmdir(g_directory);
}

Result<std::string> NewAddress() {
  const char* base = getenv("TMPDIR");
  std::string path =
      std::string(base != nullptr && *base != '\0' ? base : "/tmp") + "/node-mp-XXXXXX";
  if (path.size() + 2 >= sizeof(g_directory)) path = "/tmp/node-mp-XXXXXX";
  if (mkdtemp(path.data()) == nullptr) return LastError("mkdtemp");
  static const int once = atexit(RemoveDirectory);
  (void)once;
  std::memcpy(g_directory, path.c_str(), path.size() + 1);
  g_directory_owner = getpid();
  return path + "/s";
}

#else

Result<std::string> NewAddress() {
  unsigned char random[16];
  if (getentropy(random, sizeof(random)) != 0) return LastError("getentropy");
  std::string address = "@node-mp-";
  for (const unsigned char byte : random) {
    address += "0123456789abcdef"[byte >> 4];
    address += "0123456789abcdef"[byte & 15];
  }
  return address;
}

#endif

}  // namespace

Result<LocalListener> ListenLocally() {
  auto address = NewAddress();
  if (!address.ok()) return address.error();
  sockaddr_un where;
  const auto length = ToSockaddr(address.value(), &where);
  if (!length.ok()) return length.error();
  auto fd = NewSocket();
  if (!fd.ok()) return fd.error();
  const int socket = fd.value().get();
  if (bind(socket, reinterpret_cast<sockaddr*>(&where), length.value()) != 0) {
    return LastError("bind");
  }
  if (listen(socket, kBacklog) != 0) return LastError("listen");
  return LocalListener{std::move(fd.value()), std::move(address.value())};
}

Result<UniqueFd> ConnectLocally(const std::string& address, const Deadline& deadline) {
  sockaddr_un where;
  const auto length = ToSockaddr(address, &where);
  if (!length.ok()) return length.error();
  auto fd = NewSocket();
  if (!fd.ok()) return fd.error();
  for (;;) {
    const int status = RetryOnSignal([&] {
      return connect(fd.value().get(), reinterpret_cast<const sockaddr*>(&where), length.value());
    });
    if (status == 0 || errno == EISCONN) return std::move(fd.value());
    // The line of those who wait to be accepted is full.
    if (errno != EAGAIN && errno != EINPROGRESS && errno != EALREADY) return LastError("connect");
    if (deadline.passed()) return OsError{ETIMEDOUT, "connect"};
    SleepUntil(Deadline::AfterMs(1));
  }
}

Result<UniqueFd> AcceptLocally(int listening) {
#if defined(MP_PLAIN_POSIX)
  UniqueFd fd(RetryOnSignal([&] { return accept(listening, nullptr, nullptr); }));
  if (!fd.valid()) return LastError("accept");
  fcntl(fd.get(), F_SETFD, FD_CLOEXEC);
  fcntl(fd.get(), F_SETFL, O_NONBLOCK);
#else
  UniqueFd fd(RetryOnSignal(
      [&] { return accept4(listening, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK); }));
  if (!fd.valid()) return LastError("accept");
#endif
  return fd;
}

int PeerOf(int socket) {
#if defined(__linux__)
  ucred peer{};
  socklen_t size = sizeof(peer);
  return getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 ? peer.pid : 0;
#else
  (void)socket;
  return 0;
#endif
}

bool IsOfSameUser(int socket) {
#if defined(__linux__)
  ucred peer{};
  socklen_t size = sizeof(peer);
  if (getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0) return false;
  return peer.uid == geteuid();
#else
  uid_t user = 0;
  gid_t group = 0;
  return getpeereid(socket, &user, &group) == 0 && user == geteuid();
#endif
}

}  // namespace mp::core

#endif
