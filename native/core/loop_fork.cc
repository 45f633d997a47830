#include "loop_fork.h"

#if !defined(_WIN32)

#include "main_stack.h"

namespace mp::core {
namespace {

CodeRange g_run_timers;  // node's callback of its one loop timer
uv_timer_cb g_node_timer_callback;
uv_timer_t* g_node_timer = nullptr;
bool g_wake_ups_lost = false;

// Check handles that were active, to be started again with the child.
struct Paused {
  uv_check_t* handle;
  uv_check_cb callback;
};
constexpr int kMaxPaused = 32;
Paused g_paused[kMaxPaused];
int g_paused_count = 0;

// uv__queue: a circular list. Its two pointers have been `void* queue[2]` and `struct uv__queue` over
// the 1.x series, with the same layout.
struct QueueLink {
  QueueLink* next;
  QueueLink* prev;
};

template <typename Q>
QueueLink* Link(Q* queue) {
  static_assert(sizeof(Q) == sizeof(QueueLink), "uv__queue is two pointers");
  return reinterpret_cast<QueueLink*>(queue);
}

void Reset(QueueLink* link) { link->next = link->prev = link; }

void Unlink(QueueLink* link) {
  link->next->prev = link->prev;
  link->prev->next = link->next;
  Reset(link);
}

unsigned Length(const QueueLink* head) {
  unsigned length = 0;
  for (const QueueLink* link = head->next; link != head; link = link->next) length++;
  return length;
}

// Takes a watcher off the loop. Safe on a loop that uv_loop_fork has just given a new epoll set: nothing
// is registered there yet. The table entry must go, or a new handle on the same descriptor gets no events.
void Unwatch(uv_loop_t* loop, uv__io_t* watcher) {
  watcher->pevents = 0;
  watcher->events = 0;
  Unlink(Link(&watcher->pending_queue));
  Unlink(Link(&watcher->watcher_queue));
  if (watcher->fd < 0 || static_cast<unsigned>(watcher->fd) >= loop->nwatchers) return;
  if (loop->watchers[watcher->fd] == watcher) {
    loop->watchers[watcher->fd] = nullptr;
    loop->nfds--;
  }
}

void RetireStream(uv_loop_t* loop, uv_stream_t* stream) {
  uv_read_stop(stream);
  Unwatch(loop, &stream->io_watcher);
  Reset(Link(&stream->write_queue));
  Reset(Link(&stream->write_completed_queue));
  stream->write_queue_size = 0;
  stream->connect_req = nullptr;
  stream->shutdown_req = nullptr;
}

void RetireUdp(uv_loop_t* loop, uv_udp_t* socket) {
  uv_udp_recv_stop(socket);
  Unwatch(loop, &socket->io_watcher);
  Reset(Link(&socket->write_queue));
  Reset(Link(&socket->write_completed_queue));
  socket->send_queue_size = 0;
  socket->send_queue_count = 0;
}

// A terminal's handle works on a descriptor of its own, whichever standard stream it stands for.
unsigned StandardStreams(const uv_handle_t* handle) {
  if (handle->type == UV_TTY) return 7;
  if (handle->type != UV_TCP && handle->type != UV_NAMED_PIPE) return 0;
  uv_os_fd_t fd;
  if (uv_fileno(handle, &fd) != 0 || fd > 2) return 0;
  return 1U << fd;
}

void RetireHandle(uv_handle_t* handle, void* data) {
  uv_loop_t* loop = handle->loop;
  if (uv_is_closing(handle)) return;
  *static_cast<unsigned*>(data) |= StandardStreams(handle);
  switch (handle->type) {
    case UV_TCP:
    case UV_NAMED_PIPE:
    case UV_TTY:
      RetireStream(loop, reinterpret_cast<uv_stream_t*>(handle));
      break;
    case UV_UDP:
      RetireUdp(loop, reinterpret_cast<uv_udp_t*>(handle));
      break;
    case UV_POLL:
      uv_poll_stop(reinterpret_cast<uv_poll_t*>(handle));
      break;
    case UV_SIGNAL:
      // node counts its handlers when they are closed, by the number that uv_signal_stop would erase:
      // they go with their listeners, in JavaScript. What the parent caught and had not yet dispatched
      // lies in the parent's pipe; libuv would wait for it before it lets the handle go.
      reinterpret_cast<uv_signal_t*>(handle)->dispatched_signals =
          reinterpret_cast<uv_signal_t*>(handle)->caught_signals;
      break;
    case UV_FS_EVENT:
      uv_fs_event_stop(reinterpret_cast<uv_fs_event_t*>(handle));
      break;
    case UV_FS_POLL:
      uv_fs_poll_stop(reinterpret_cast<uv_fs_poll_t*>(handle));
      break;
    case UV_ASYNC:
      // uv_loop_fork does this for those it sees; in the middle of a batch it sees only some.
      if (reinterpret_cast<uv_async_t*>(handle)->pending != 0) {
        reinterpret_cast<uv_async_t*>(handle)->pending = 0;
        g_wake_ups_lost = true;
      }
      break;
    case UV_CHECK:
      // node's native immediates, of the parent's Workers for instance, call JavaScript, which is refused
      // until the child starts.
      if (uv_is_active(handle) && g_paused_count < kMaxPaused) {
        auto* check = reinterpret_cast<uv_check_t*>(handle);
        g_paused[g_paused_count++] = {check, check->check_cb};
        uv_check_stop(check);
      }
      break;
    case UV_TIMER:
      if (reinterpret_cast<uv_timer_t*>(handle)->timer_cb == g_node_timer_callback) {
        g_node_timer = reinterpret_cast<uv_timer_t*>(handle);
        uv_timer_stop(g_node_timer);
      }
      break;
    default:
      // Timers other than node's belong to V8's delayed tasks; async, check, idle and prepare handles
      // are node's own machinery, which the child needs. They only must not keep it alive.
      break;
  }
}

unsigned StreamRequests(uv_stream_t* stream) {
  return Length(Link(&stream->write_queue)) + Length(Link(&stream->write_completed_queue)) +
         (stream->connect_req != nullptr ? 1 : 0) + (stream->shutdown_req != nullptr ? 1 : 0);
}

void CountRequests(uv_handle_t* handle, void* data) {
  auto* total = static_cast<unsigned*>(data);
  if (handle->type == UV_TCP || handle->type == UV_NAMED_PIPE || handle->type == UV_TTY) {
    *total += StreamRequests(reinterpret_cast<uv_stream_t*>(handle));
  } else if (handle->type == UV_UDP) {
    *total += static_cast<unsigned>(reinterpret_cast<uv_udp_t*>(handle)->send_queue_count);
  }
}

// Work that pool threads had finished, but whose callbacks had not run. The lock may have been held by a
// pool thread at the fork.
void DropFinishedWork(uv_loop_t* loop) {
  uv_mutex_init(&loop->wq_mutex);
  Reset(Link(&loop->wq));
}

}  // namespace

bool ResolveLoopCalls() {
  g_run_timers = FindFunction("_ZN4node11Environment9RunTimersEP10uv_timer_s");
  g_node_timer_callback = reinterpret_cast<uv_timer_cb>(g_run_timers.start);
  return g_run_timers.known();
}

// Unwinding costs a child dozens of pages: only where the answer is not clear.
bool CalledByNodeTimer() { return IsInside(g_run_timers) && IsCalledFrom(g_run_timers); }

bool WakeUpsWereLost() { return g_wake_ups_lost; }

int ReviveLoop(uv_loop_t* loop) {
  DropFinishedWork(loop);
  g_wake_ups_lost = false;
  uv_walk(
      loop,
      [](uv_handle_t* handle, void*) {
        if (handle->type == UV_ASYNC && reinterpret_cast<uv_async_t*>(handle)->pending != 0) {
          g_wake_ups_lost = true;
        }
      },
      nullptr);
  return uv_loop_fork(loop);
}

void ForgetPoolRequests(uv_loop_t* loop) {
  unsigned count = 0;
  uv_walk(loop, &CountRequests, &count);
  loop->active_reqs.count = count;
}

unsigned RetireHandles(uv_loop_t* loop) {
  unsigned standard_streams = 0;
  g_paused_count = 0;
  uv_walk(loop, &RetireHandle, &standard_streams);
  // Close callbacks the parent had coming. The handles are gone in all but memory.
  loop->closing_handles = nullptr;
  return standard_streams;
}

void ReleaseLoop(uv_loop_t* loop) {
  uv_walk(
      loop,
      [](uv_handle_t* handle, void*) {
        if (uv_is_active(handle) && !uv_is_closing(handle)) uv_unref(handle);
      },
      nullptr);
}

void ResumeLoop(uv_loop_t* loop) {
  loop->active_reqs.count = 0;
  for (int i = 0; i < g_paused_count; i++) uv_check_start(g_paused[i].handle, g_paused[i].callback);
  // node's JS side believes that its timer is armed for the parent's next expiry.
  if (g_node_timer != nullptr) uv_timer_start(g_node_timer, g_node_timer_callback, 1, 0);
}

}  // namespace mp::core

#endif
