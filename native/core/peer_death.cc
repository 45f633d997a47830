#include "peer_death.h"

#if !defined(_WIN32)

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>

namespace mp::core {
namespace {

// Whether there is something, which can only be the end.
bool Ended(int socket, int timeout_ms) {
  pollfd one{socket, POLLIN, 0};
  return poll(&one, 1, timeout_ms) > 0 && one.revents != 0;
}

void* Look(void* socket) {
  while (!Ended(static_cast<int>(reinterpret_cast<intptr_t>(socket)), -1)) {
  }
  kill(getpid(), SIGKILL);
  return nullptr;
}

}  // namespace

#if defined(F_SETSIG)

Result<void> DieWithPeer(int socket) {
  const int flags = fcntl(socket, F_GETFL);
  if (flags < 0 || fcntl(socket, F_SETOWN, getpid()) != 0 ||
      fcntl(socket, F_SETSIG, SIGKILL) != 0 || fcntl(socket, F_SETFL, flags | O_ASYNC) != 0) {
    return LastError("fcntl");
  }
  // What came before it was asked for sends no signal.
  if (Ended(socket, 0)) kill(getpid(), SIGKILL);
  return {};
}

Result<void> OutlivePeer(int socket) {
  const int flags = fcntl(socket, F_GETFL);
  if (flags < 0 || fcntl(socket, F_SETFL, flags & ~O_ASYNC) != 0) return LastError("fcntl");
  return {};
}

#else

Result<void> DieWithPeer(int socket) { return DieWithPeerByThread(socket); }

Result<void> OutlivePeer(int) { return OsError{ENOSYS, "fcntl"}; }

#endif

Result<void> DieWithPeerByThread(int socket) {
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
  // The signals of the process are its main thread's.
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  pthread_t thread;
  const int problem = pthread_create(&thread, &attributes, &Look,
                                     reinterpret_cast<void*>(static_cast<intptr_t>(socket)));
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  pthread_attr_destroy(&attributes);
  if (problem != 0) return OsError{problem, "pthread_create"};
  return {};
}

}  // namespace mp::core

#endif
