// The two ends of a Pipe: messages go through memory, and a pair of sockets tells of everything else.
//
//     end 0                       memory file                        end 1
//   ┌────────┐   tx  ┌───────────────────────────────┐   rx        ┌────────┐
//   │        │──────▶│ channel 1 ▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒ │────────────▶│        │
//   │        │   rx  ├───────────────────────────────┤   tx        │        │
//   │        │◀──────│ channel 0 ▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒ │◀────────────│        │
//   │        │       └───────────────────────────────┘             │        │
//   │ socket │◀════ rings, descriptors, end of file ══════════════▶│ socket │
//   └────────┘                                                     └────────┘
//
// A pipe of one direction has channel 0 alone. The channels (channel.h) hold at most some 1.25 MiB each: a larger
// message goes through in pieces while it is received, as through a socket, so that what is under way never needs
// more memory than that.
//
// The socket
//   - hangs up when every process has closed the other end, however it ended;
//   - is what poll(2) and event loops watch. A receiver that finds its channel empty says that it wants the bell (a word
//     of the channel), looks again, and sleeps on the socket; whoever sends then rings: one byte. Rings lie there until
//     somebody finds the channel empty, so that of several receivers none sleeps while there is something to do;
//   - carries descriptors: see below.
// A sender that was killed after its commit has not rung: who waits looks every quarter of a second.
//
// A message is one record, or, beyond kPieceBytes or with descriptors, several, which have in common an id: the
// sender's token and a number.
//   whole   the message
//   begin   id, length, how many descriptors
//   piece   id, offset; bytes
// Descriptors are on the socket, behind their begin: a byte kFdsMark and the id.
//
// What a death costs: in the channel at most the message that was about to be sent or received (channel.h). A sender
// killed between two pieces leaves a message without an end: it is dropped when the next one begins, or reported
// (kPipeTruncated) when there will be none. Killed between a begin and its descriptors: who waits for them
// finds that the token's owner has died, and drops this one. (A sender that could not send them sends the packet
// without.) A receiver that dies with a begin leaves pieces and descriptors that nobody knows: they are dropped by the
// next one, descriptors when the next ones are taken.
//
// Processes may share an end. Whole messages need no lock; senders of larger ones, or receivers of such, do.
#ifndef MP_CORE_PIPE_H_
#define MP_CORE_PIPE_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "core/channel.h"
#include "core/fd.h"
#include "core/patience.h"

namespace mp::core {

// What is longer goes in pieces of this length.
constexpr size_t kPieceBytes = size_t{256} << 10;
// Nothing is sent while so much is queued and not received.
constexpr uint32_t kPipeBytes = uint32_t{1} << 20;

enum PipeOutcome : int64_t {
  // From 0 on: a message of so many bytes is in the scratch memory.
  kPipeNotYet = -1,  // the time is up
  kPipeEnd = -2,     // everything was received, and nobody can send any more
  kPipeBegun = -3,   // a message of pieces has begun: go on with memory for incoming_length() bytes
  kPipeTruncated = -4,  // the end in the middle of a message
  kPipeLarge =
      -5,  // the next one has large_length() bytes and stays: come again with memory for it
  kPipeLargeDone = -6,  // it is there
  kPipeDone = -7,       // the message of pieces is complete
};

// One end, as one thread uses it. It owns the socket.
class PipeEnd {
 public:
  struct Pair {
    std::unique_ptr<PipeEnd> first;
    std::unique_ptr<PipeEnd> second;
  };
  // In one direction, the first one receives. EMFILE, ENFILE, ENOMEM.
  static Result<Pair> Create(bool duplex);
  // One that came from another process. EINVAL: the memory is none of a pipe.
  static Result<std::unique_ptr<PipeEnd>> Open(UniqueFd socket, UniqueFd memory, uint32_t side);

  int fd() const { return socket_.get(); }
  int memory_fd() const { return segment_->fd(); }
  uint32_t side() const { return side_; }
  const std::shared_ptr<Segment>& segment() const { return segment_; }

  // Goes on with a message from where it was (0 at first), and answers up to where it has come. It is complete when
  // that is SentWhole(). `wait` false: without blocking. EPIPE: nobody can receive any more.
  Result<uint64_t> Send(const Part* parts, size_t count, const std::vector<int>& fds, uint64_t from,
                        uint32_t token, const Deadline& deadline, bool wait);
  static uint64_t SentWhole(uint64_t length) { return kHeadSent + length + 1; }

  // `scratch` has kMostSmall bytes; `payload` incoming_length() of them, or is null; `large` large_length(), or null.
  Result<int64_t> Receive(void* scratch, void* payload, void* large, size_t large_size,
                          uint32_t token, const Deadline& deadline, bool wait);
  uint64_t incoming_length() const { return incoming_.length; }
  uint64_t large_length() const { return large_length_; }
  // Whether a message has been received in part.
  bool amidst() const { return incoming_.active; }
  // Those of the message that was complete last.
  std::vector<UniqueFd> TakeFds() { return std::exchange(fds_, {}); }
  // What has been received in part is another process's business.
  void Forget();

  // Whether there is something to receive, or the end.
  bool Ready() const;
  Result<bool> WaitUntilReady(uint32_t token, const Deadline& deadline);
  // From now on the socket becomes readable when there is something to receive, or room to send.
  enum class Armed : int32_t {
    kYes = 0,
    kNow = 1,   // there is something, or room, already
    kSoon = 2,  // descriptors of another receiver's keep it readable: look again in a moment
  };
  Armed Arm(bool receive, bool send, uint32_t token);

 private:
  PipeEnd(UniqueFd socket, std::shared_ptr<Segment> segment, uint32_t side)
      : socket_(std::move(socket)), segment_(std::move(segment)), side_(side) {}

  struct Begin {
    uint64_t id;
    uint64_t length;
    uint64_t fds;
  };
  struct PieceHead {
    uint64_t id;
    uint64_t offset;
  };
  struct FdsPacket;
  // How far a message is, before its first byte: the begin has left, and then the descriptors.
  static constexpr uint64_t kBeginSent = 1;
  static constexpr uint64_t kHeadSent = 2;

  Result<void> OpenChannels();
  bool HungUp() const;
  Result<bool> Put(const Part* parts, size_t count, uint8_t tag, uint32_t token,
                   const Deadline& deadline, bool wait);
  Result<bool> PutWhole(const Part* parts, size_t count, size_t length, uint32_t token,
                        const Deadline& deadline, bool wait);
  Result<bool> SendFdsOf(uint64_t id, const std::vector<int>& fds, const Deadline& deadline,
                         bool wait);

  enum class Came { kMessage, kNotYet, kEnd };
  Result<Came> Await(uint32_t token, const Deadline& deadline, bool wait, bool for_fds);
  bool Spin(const Deadline& deadline);
  // Rings are eaten, as is what strangers write there, and descriptors left. False: there are such, or who was stopped
  // has the lock.
  bool EatRings(uint32_t token);
  enum class Fds { kThere, kNone, kCancelled, kEnd, kUnknown };
  Result<Fds> LookForFds(uint32_t token);
  Result<Fds> TakeFdsOfMessage(uint32_t token);

  UniqueFd socket_;
  std::shared_ptr<Segment> segment_;
  uint32_t side_;
  std::shared_ptr<Channel> tx_;
  std::shared_ptr<Channel> rx_;
  Word* socket_lock_ = nullptr;
  Patience patience_{kMostPatience, 0, 0};

  uint64_t sending_ = 0;
  uint32_t sent_messages_ = 0;

  struct Incoming {
    bool active = false;
    uint64_t id = 0;
    uint64_t length = 0;
    uint64_t filled = 0;
    uint64_t missing_fds = 0;
  };
  Incoming incoming_;
  std::vector<UniqueFd> fds_;
  uint64_t large_length_ = 0;
  LargeMessage large_;
  PieceHead piece_head_{};
  std::vector<char> stray_;
};

}  // namespace mp::core

#endif  // MP_CORE_PIPE_H_
