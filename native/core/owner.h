// Who holds a lock, in one word that can be compared and exchanged, so that a process that dies between any two
// instructions leaves either no trace or its whole name.
//
//   bit 0        others wait (the lock's, not the owner's)
//   bits 1-22    thread id: Linux has at most 2^22
//   bits 23-30   a digest of when the thread started, so that one with a recycled id is not taken for it
//   bit 31       0
//
// The word after the lock's holds the start time itself. It is written just after the lock was taken: until then, or
// when a process dies in between, it is an old one. So it says nothing about who lives; only the digest does.
#ifndef MP_CORE_OWNER_H_
#define MP_CORE_OWNER_H_

#include <cstdint>

namespace mp::core {

constexpr uint32_t kWaiters = 1;
// Held by nobody who lives, and rightly: the owner ended normally, and as in Python the lock stays locked.
constexpr uint32_t kOrphan = 0x7f800000;

struct Owner {
  uint32_t token;  // never 0
  uint32_t start;
};

// The calling thread. 0 where it cannot be told.
Owner CurrentOwner();

// Whether the thread behind a lock's two words has died: it does not exist, is a zombie, or another has its id.
bool IsDead(uint32_t lock_word, uint32_t start);

}  // namespace mp::core

#endif  // MP_CORE_OWNER_H_
