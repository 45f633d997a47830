// Hands descriptors to processes that come for them: what CPython's resource_sharer is for, where a message goes through
// memory, which can carry none.
//
// The sharer keeps a copy of each shared descriptor under a ticket, and one thread per process, started with the first
// of them, listens on a socket of its own and gives a copy to whoever shows the ticket, once or as often as one comes. The socket has
// no name in the file system on Linux, elsewhere it is in a directory of its own (0700); both sides look whether the
// other one is of the same user.
//
// Who may die where:
//   the sharer                 its copies go with it, and whoever comes is refused by the system
//   who has a ticket           what nobody comes for stays open until it is revoked, or the sharer ends
//   who asks, in the middle    the copy was taken, and is closed: a ticket that serves once has served
// The child of a fork shares nothing of its parent's: its copies, and the listening socket, are closed in the fork.
#ifndef MP_CORE_RESOURCE_SHARER_H_
#define MP_CORE_RESOURCE_SHARER_H_

#include <array>
#include <cstdint>
#include <string>

#include "core/clock.h"
#include "core/fd.h"
#include "core/result.h"

namespace mp::core {

// 128 random bits.
using Ticket = std::array<uint8_t, 16>;

// Keeps a copy of the descriptor, for the first who comes or, `standing`, for all until it is revoked. Where it is to be
// had: "@name" is an abstract address, anything else a path. EMFILE, ENFILE, ENOMEM; EAGAIN: no thread.
Result<std::string> ShareFd(int fd, const Ticket& ticket, bool standing);

// Closes the copy, if it is still there.
void RevokeFd(const Ticket& ticket);

// ECONNREFUSED, ENOENT: the sharer has ended; ENXIO: the ticket is not valid (any more); EACCES: the sharer is of
// another user; EBUSY: it has been stopped by a signal for a second; ETIMEDOUT; EMFILE.
// When it answers, the copy that served once is closed.
Result<UniqueFd> FetchFd(const std::string& address, const Ticket& ticket,
                         const Deadline& deadline);

}  // namespace mp::core

#endif  // MP_CORE_RESOURCE_SHARER_H_
