// The part of kqueue(2) that native/core/readiness_plain.cc uses; darwin.c has it on top of epoll.
#pragma once

#include <stdint.h>
#include <time.h>

#define EVFILT_READ (-1)
#define EVFILT_WRITE (-2)
#define EV_ADD 0x0001
#define EV_DELETE 0x0002
#define EV_ONESHOT 0x0010

struct kevent {
  uintptr_t ident;
  int16_t filter;
  uint16_t flags;
  uint32_t fflags;
  intptr_t data;
  void* udata;
};

#define EV_SET(event, a, b, c, d, e, f) \
  (*(event) = (struct kevent){(a), (b), (c), (d), (e), (f)})

#ifdef __cplusplus
extern "C" {
#endif
int kqueue(void);
int kevent(int queue, const struct kevent* changes, int change_count, struct kevent* events,
           int event_count, const struct timespec* timeout);
#ifdef __cplusplus
}
#endif
