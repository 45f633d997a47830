// Linux with the habits of macOS: loaded in front of the C library (LD_PRELOAD) when the portable build is tested
// (scripts/test-portable.mjs), so that what would fail on a Mac fails here.
//
// Each habit is from the source of its kernel (XNU 11417, bsd/kern), where it differs from Linux in what the addon uses:
//   fstat       a shared memory object is a file of no kind, without device and inode; the two ends of a pipe are two
//   ftruncate   sets the size of a shared memory object once, and in whole pages (of 16 KiB, on arm64)
//   names       of shared memory and semaphores have at most 31 characters
//   poll        tells nothing, not even of the end, who asks for nothing
//   send        heeds O_NONBLOCK, but not MSG_DONTWAIT
//   recvmsg     leaves descriptors open that the control data had no room for
//   kqueue      in place of epoll
//   waiting on addresses, by the calls of one version of macOS or another: -DWAIT_SYNC, -DWAIT_ULOCK, or none

#if !defined(_GNU_SOURCE)
#define _GNU_SOURCE
#endif
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/event.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define REAL(name)                                                  \
  ({                                                                \
    static __typeof__(&name) real;                                  \
    if (real == NULL) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name); \
    real;                                                           \
  })

enum { kLongestName = 31, kPage = 16384 };

// ---- files ----

static int is_shared_object(int fd) {
  char path[32], target[64];
  snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
  const ssize_t length = readlink(path, target, sizeof(target));
  return length > 9 && memcmp(target, "/dev/shm/", 9) == 0;
}

int fstat(int fd, struct stat* status) {
  const int saved = errno;
  if (syscall(SYS_newfstatat, fd, "", status, 0x1000 /* AT_EMPTY_PATH */) != 0) return -1;
  if (S_ISFIFO(status->st_mode) && (fcntl(fd, F_GETFL) & O_ACCMODE) == O_WRONLY) {
    status->st_ino = ~status->st_ino;
  } else if (S_ISREG(status->st_mode) && is_shared_object(fd)) {
    status->st_mode &= ~(mode_t)S_IFMT;
    status->st_dev = 0;
    status->st_ino = 0;
  }
  errno = saved;
  return 0;
}

int ftruncate(int fd, off_t length) {
  if (is_shared_object(fd)) {
    struct stat status;
    if (fstat(fd, &status) != 0) return -1;
    if (status.st_size != 0) {
      errno = EINVAL;
      return -1;
    }
    length = (length + kPage - 1) / kPage * kPage;
  }
  return REAL(ftruncate)(fd, length);
}

// As node-gyp's builds call them.
int fstat64(int fd, struct stat64* status) { return fstat(fd, (struct stat*)status); }
int ftruncate64(int fd, off64_t length) { return ftruncate(fd, length); }

int shm_open(const char* name, int flags, mode_t mode) {
  if (strlen(name) > kLongestName) {
    errno = ENAMETOOLONG;
    return -1;
  }
  return REAL(shm_open)(name, flags, mode);
}

sem_t* sem_open(const char* name, int flags, ...) {
  if (strlen(name) > kLongestName) {
    errno = ENAMETOOLONG;
    return SEM_FAILED;
  }
  va_list more;
  va_start(more, flags);
  const mode_t mode = va_arg(more, mode_t);
  const unsigned value = va_arg(more, unsigned);
  va_end(more);
  return REAL(sem_open)(name, flags, mode, value);
}

// ---- sockets ----

int poll(struct pollfd* slots, nfds_t count, int timeout) {
  const short heard = POLLIN | POLLRDNORM | POLLPRI | POLLRDBAND | POLLHUP | POLLOUT | POLLWRNORM | POLLWRBAND;
  struct pollfd few[16];
  struct pollfd* own = count <= 16 ? few : malloc(count * sizeof(*own));
  for (nfds_t i = 0; i < count; i++) {
    own[i] = slots[i];
    if ((slots[i].events & heard) == 0) own[i].fd = -1;
  }
  const int ready = REAL(poll)(own, count, timeout);
  const int saved = errno;
  for (nfds_t i = 0; i < count; i++) slots[i].revents = own[i].revents;
  if (own != few) free(own);
  errno = saved;
  return ready;
}

ssize_t send(int fd, const void* data, size_t size, int flags) {
  return REAL(send)(fd, data, size, flags & ~MSG_DONTWAIT);
}

ssize_t sendmsg(int fd, const struct msghdr* message, int flags) {
  return REAL(sendmsg)(fd, message, flags & ~MSG_DONTWAIT);
}

ssize_t recvmsg(int fd, struct msghdr* message, int flags) {
  _Alignas(struct cmsghdr) char control[CMSG_SPACE(512 * sizeof(int))];
  const size_t room = message->msg_controllen;
  void* const wanted = message->msg_control;
  if (wanted == NULL || room > sizeof(control)) return REAL(recvmsg)(fd, message, flags);
  message->msg_control = control;
  message->msg_controllen = sizeof(control);
  const ssize_t got = REAL(recvmsg)(fd, message, flags);
  message->msg_control = wanted;
  if (got < 0) {
    message->msg_controllen = room;
    return got;
  }
  if (message->msg_controllen > room) {
    message->msg_controllen = room;
    message->msg_flags |= MSG_CTRUNC;
  }
  memcpy(wanted, control, message->msg_controllen);
  return got;
}

// ---- kqueue ----

enum { kMostInterests = 4096 };

static pthread_mutex_t kqueue_lock = PTHREAD_MUTEX_INITIALIZER;
static struct {
  int queue, fd;
  uint32_t events;
} interests[kMostInterests];

static uint32_t* interest(int queue, int fd) {
  int place = -1;
  for (int i = 0; i < kMostInterests; i++) {
    if (interests[i].events == 0) {
      if (place < 0) place = i;
    } else if (interests[i].queue == queue && interests[i].fd == fd) {
      return &interests[i].events;
    }
  }
  interests[place].queue = queue;
  interests[place].fd = fd;
  return &interests[place].events;
}

static int watch(int queue, int fd, uint32_t events) {
  struct epoll_event event = {.events = events, .data = {.fd = fd}};
  if (events == 0) return epoll_ctl(queue, EPOLL_CTL_DEL, fd, NULL);
  if (epoll_ctl(queue, EPOLL_CTL_MOD, fd, &event) == 0) return 0;
  return errno == ENOENT ? epoll_ctl(queue, EPOLL_CTL_ADD, fd, &event) : -1;
}

static uint32_t bits_of(int filter) {
  return filter == EVFILT_READ ? EPOLLIN | EPOLLRDHUP : EPOLLOUT;
}

int kqueue(void) { return epoll_create1(0); }

static int apply(int queue, const struct kevent* change) {
  const int fd = (int)change->ident;
  if (fcntl(fd, F_GETFD) < 0) return -1;
  uint32_t* events = interest(queue, fd);
  const uint32_t bits = bits_of(change->filter);
  const uint32_t before = *events;
  if ((change->flags & EV_DELETE) != 0) {
    if ((before & bits) == 0) {
      errno = ENOENT;
      return -1;
    }
    *events = before & ~bits;
  } else {
    *events = before | bits;
  }
  if (watch(queue, fd, *events) == 0 || *events == 0) return 0;
  *events = 0;
  return -1;
}

// What fires does so once: EV_ONESHOT is all that is used.
static int fired(int queue, const struct epoll_event* told, struct kevent* events, int room) {
  const int fd = told->data.fd;
  uint32_t* left = interest(queue, fd);
  const uint32_t either = EPOLLHUP | EPOLLERR;
  int count = 0;
  for (int filter = EVFILT_READ; filter >= EVFILT_WRITE; filter--) {
    const uint32_t bits = bits_of(filter);
    if ((*left & bits) == 0 || (told->events & (bits | either)) == 0 || count == room) continue;
    EV_SET(&events[count++], (uintptr_t)fd, (int16_t)filter, 0, 0, 0, NULL);
    *left &= ~bits;
  }
  watch(queue, fd, *left);
  return count;
}

int kevent(int queue, const struct kevent* changes, int change_count, struct kevent* events,
           int event_count, const struct timespec* timeout) {
  pthread_mutex_lock(&kqueue_lock);
  int answer = 0;
  for (int i = 0; i < change_count && answer == 0; i++) answer = apply(queue, &changes[i]);
  if (answer == 0 && event_count > 0) {
    if (timeout == NULL || timeout->tv_sec != 0 || timeout->tv_nsec != 0) abort();
    struct epoll_event told[8];
    const int count = epoll_wait(queue, told, event_count / 2 < 8 ? event_count / 2 : 8, 0);
    for (int i = 0; i < count; i++) {
      answer += fired(queue, &told[i], events + answer, event_count - answer);
    }
  }
  const int saved = errno;
  pthread_mutex_unlock(&kqueue_lock);
  errno = saved;
  return answer;
}

// ---- waiting on addresses ----

#if defined(WAIT_SYNC) || defined(WAIT_ULOCK)

static int futex_wait(void* address, uint32_t value, uint64_t timeout_ns) {
  const struct timespec limit = {(time_t)(timeout_ns / 1000000000), (long)(timeout_ns % 1000000000)};
  if (syscall(SYS_futex, address, FUTEX_WAIT, value, &limit, NULL, 0) == 0) return 0;
  return errno == EAGAIN ? 0 : -1;
}

static int futex_wake(void* address, int count) {
  if (syscall(SYS_futex, address, FUTEX_WAKE, count, NULL, NULL, 0) > 0) return 0;
  errno = ENOENT;
  return -1;
}

// Waits that macOS would refuse, or take for endless.
static int valid(int is_valid) {
  if (!is_valid) abort();
  return 1;
}

#if defined(WAIT_SYNC)

int os_sync_wait_on_address_with_timeout(void* address, uint64_t value, size_t size, uint32_t flags,
                                         uint32_t clock, uint64_t timeout_ns) {
  valid(size == 4 && flags == 1 && clock == 32 && timeout_ns > 0);
  return futex_wait(address, (uint32_t)value, timeout_ns);
}

int os_sync_wake_by_address_any(void* address, size_t size, uint32_t flags) {
  valid(size == 4 && flags == 1);
  return futex_wake(address, 1);
}

int os_sync_wake_by_address_all(void* address, size_t size, uint32_t flags) {
  valid(size == 4 && flags == 1);
  return futex_wake(address, 0x7fffffff);
}

#else

int __ulock_wait(uint32_t operation, void* address, uint64_t value, uint32_t timeout_us) {
  valid(operation == 3 && timeout_us > 0);
  return futex_wait(address, (uint32_t)value, (uint64_t)timeout_us * 1000);
}

int __ulock_wake(uint32_t operation, void* address, uint64_t thread) {
  valid((operation & ~0x100u) == 3 && thread == 0);
  return futex_wake(address, operation == 3 ? 1 : 0x7fffffff);
}

#endif
#endif
