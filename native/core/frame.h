// Messages on a byte stream, framed as CPython's Connection frames them: a length of 4 bytes, big-endian and
// signed, then the payload; beyond 0x7fffffff bytes the length is -1, and 8 bytes with the real one follow.
//
// A frame leaves in one system call when there is room for it, header and payload together. It arrives in two,
// header and payload, because reading ahead would take bytes of the next message away from another process that
// reads the same descriptor, and from poll(2).
//
// Nothing here changes a flag of the descriptor: O_NONBLOCK belongs to the open file, which other processes share.
// A call that must not block says so itself (MSG_DONTWAIT), and one that shall block does so also where somebody
// else has made the file non-blocking.
//
// Descriptors that are no sockets (a pipe that another program made) work as well, more slowly.
//
// When the peer dies in the middle of a frame, the rest of it never comes: kFrameTruncated, never a short message.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "core/clock.h"
#include "core/fd.h"
#include "core/patience.h"
#include "core/result.h"

namespace mp::core {

// How far the receiving of a frame has come, and what was learnt about the descriptor. It lies in memory of
// JavaScript's, a Float64Array, so that a message received in part survives the call: hence the doubles.
struct FrameState {
  double length;      // of the payload, once the header is complete; else -1
  double filled;      // of the payload, so far
  double header_got;  // bytes of the header, so far
  unsigned char header[16];
  Patience patience;  // of its receiver
  double not_socket;  // 1: recv(2) does not know it, read(2) does
};
static_assert(sizeof(FrameState) == 9 * sizeof(double), "nine doubles in src/transport.ts");
static_assert(offsetof(FrameState, patience) == 5 * sizeof(double), "as src/transport.ts has it");

enum FrameOutcome : int64_t {
  // From 0 on: the length of the payload, which is complete.
  kFrameNotYet = -1,     // the time is up
  kFrameEnd = -2,        // end of file before a frame
  kFrameTooLong = -3,    // the header is complete; the payload needs more room than there is
  kFramePartial = -4,    // the time is up, and a part of the payload is there
  kFrameTruncated = -5,  // end of file within a frame
  kFrameMalformed = -6,  // a length that cannot be
};

// Receives one frame into `room`. After kFrameTooLong and kFramePartial go on with ContinueFrame; what is in `room`
// by then, `state->filled` bytes, has to be copied. `fds`, when given, takes the descriptors that came along.
Result<int64_t> ReceiveFrame(int fd, FrameState* state, void* room, size_t room_size,
                             const Deadline& deadline, bool wait, std::vector<UniqueFd>* fds);

// Receives what is missing of a payload; `payload` has `state->length` bytes.
Result<int64_t> ContinueFrame(int fd, FrameState* state, void* payload, const Deadline& deadline,
                              bool wait);

struct FramePart {
  const void* data;
  size_t size;
};

// Sends a frame whose payload are the parts, from byte `from` of the frame (header included) on, and answers up to
// where it has come. `fds` travel with the first byte.
Result<size_t> SendFrame(int fd, const FramePart* parts, size_t count, const std::vector<int>& fds,
                         size_t from, const Deadline& deadline, bool wait);

#if defined(_WIN32)
// The same to a child, which has the handles from then on, whether it receives the frame or not.
Result<size_t> SendFrameTo(int pid, int fd, const FramePart* parts, size_t count,
                           const std::vector<int>& fds, size_t from, const Deadline& deadline,
                           bool wait);
#endif

}  // namespace mp::core
