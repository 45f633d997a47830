// Sockets by which processes of one user on one machine find each other.
//
// On Linux the address is an abstract one: it has no file, and is gone with the last process that has it open. Elsewhere
// it is a path in a directory of its own, 0700, which the process that made it removes when it exits.
#ifndef MP_CORE_LOCAL_SOCKET_H_
#define MP_CORE_LOCAL_SOCKET_H_

#include <string>

#include "core/clock.h"
#include "core/fd.h"
#include "core/result.h"

namespace mp::core {

struct LocalListener {
  UniqueFd socket;      // does not block
  std::string address;  // "@name" is abstract, anything else a path
};

// At an address that nobody can guess.
Result<LocalListener> ListenLocally();

// A stream that does not block. ECONNREFUSED, ENOENT: nobody listens there (any more); ETIMEDOUT.
Result<UniqueFd> ConnectLocally(const std::string& address, const Deadline& deadline);

// EAGAIN: nobody is there yet; and as accept(2) has it.
Result<UniqueFd> AcceptLocally(int listening);

// The process at the other end, as it was when the connection was made; 0: that cannot be told.
int PeerOf(int socket);

// Whether the process at the other end of the connection is of this one's effective user.
bool IsOfSameUser(int socket);

}  // namespace mp::core

#endif  // MP_CORE_LOCAL_SOCKET_H_
