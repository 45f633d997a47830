// What stands for a pair of sockets: the two ends of a named pipe, whose name nobody else can know.
//
// An end may be open in several processes; it hangs up when all of them have closed it, however they ended. All that is
// done with it is overlapped, so that nobody who waits there holds up others. Readability is waited for by a read of no
// bytes, which takes nothing, is answered when there is something or the other end is gone, and can be called off.
#ifndef MP_CORE_WIN32_STREAMS_H_
#define MP_CORE_WIN32_STREAMS_H_

#include <windows.h>

#include <memory>

#include "core/fd.h"
#include "core/win32/handles.h"

namespace mp::core {

Result<FdPair> MakeStream();

struct StreamState {
  size_t available;  // to read
  size_t room;       // to write
  bool hung_up;
};
StreamState LookAtStream(HANDLE stream);
// Whether this system says how much room there is.
bool StreamsTellRoom();

// What is there, up to `size`, without taking it.
size_t PeekStream(HANDLE stream, void* data, size_t size);
// 0 at the end. EAGAIN: nothing is there.
Result<size_t> ReadStream(HANDLE stream, void* data, size_t size);
// All of at most some KiB, or a part of more. EAGAIN: no room in time, nothing is written. EPIPE.
Result<size_t> WriteStream(HANDLE stream, const void* data, size_t size, const Deadline& deadline);

// From its beginning to its end the event tells whether the stream has become readable.
class StreamWatch {
 public:
  static Result<std::unique_ptr<StreamWatch>> Begin(HANDLE stream);
  ~StreamWatch();
  StreamWatch(const StreamWatch&) = delete;
  StreamWatch& operator=(const StreamWatch&) = delete;
  HANDLE event() const { return event_.get(); }

 private:
  StreamWatch(HANDLE stream, UniqueHandle event);
  HANDLE stream_;
  UniqueHandle event_;
  OVERLAPPED overlapped_{};
  bool pending_ = false;
};

}  // namespace mp::core

#endif  // MP_CORE_WIN32_STREAMS_H_
