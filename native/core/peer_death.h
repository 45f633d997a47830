// The end of this process when the other end of a socket is closed, whatever this process is doing.
//
// For a child whose parent, as the system sees it, is not the process that wanted it: the parent's death signal
// (SetParentDeathSignal) would tell of the wrong one.
#ifndef MP_CORE_PEER_DEATH_H_
#define MP_CORE_PEER_DEATH_H_

#if !defined(_WIN32)

#include "core/result.h"

namespace mp::core {

// SIGKILL to the calling process as soon as the peer of `socket`, a stream on which nothing else will arrive, is
// closed; also when it is already. No descriptor but this process's own may be of this end while that is to hold.
Result<void> DieWithPeer(int socket);
// And no longer. Not where a thread looks (DieWithPeerByThread).
Result<void> OutlivePeer(int socket);

// What DieWithPeer does where the system has no signal of the program's choice for a descriptor.
Result<void> DieWithPeerByThread(int socket);

}  // namespace mp::core

#endif
#endif  // MP_CORE_PEER_DEATH_H_
