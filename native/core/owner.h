// Who holds a lock, in one word that can be compared and exchanged, so that a process that dies between any two
// instructions leaves either no trace or its whole name.
//
//   bit 0        others wait (the lock's, not the owner's)
//   bits 1-30    the owner's number in this segment, from 1
//   bit 31       0
//
// A thread enrols once in each segment that it uses: it gets the next number, and writes its id and the whole time of
// its start into the entry of the segment's table that the number leads to (segment.h). So one with a recycled id is
// never taken for the owner, on systems that tell when a thread has started.
//
// An entry is used again when its owner has died, for another number. Its life:
//   0 or a dead owner's number ──CAS──▶ kClaiming ──thread and start written──▶ the new number
// A name whose entry has another number is therefore a dead one's, and nobody but the claimer writes. What a death
// leaves behind, and who makes it good:
//   before the claim          nothing: a number that nobody got
//   in the middle of it       an entry that is lost to the segment, one of kOwners: nobody can tell whose it is
//   after it                  a dead owner's entry: whoever comes by with a later number takes it
// Numbers are used again after 2^30: a dead owner's lock that nobody has asked for during all these enrolments might
// then be somebody else's. test/native/enrol_model_test.cc explores all interleavings of a small table.
#ifndef MP_CORE_OWNER_H_
#define MP_CORE_OWNER_H_

#include <cstdint>

#include "core/result.h"
#include "core/segment.h"

namespace mp::core {

constexpr uint32_t kWaiters = 1;
// Held by nobody who lives, and rightly: the owner ended normally, and as in Python the lock stays locked.
constexpr uint32_t kOrphan = 0x7ffffffe;
// The greatest number: the next one is kOrphan's.
constexpr uint32_t kLastNumber = (kOrphan >> 1) - 1;
// In place of a number: somebody is writing the entry.
constexpr uint32_t kClaiming = 0xffffffff;

// A name for the calling thread in the locks of this segment, never 0. EAGAIN: the table is full of threads that live.
Result<uint32_t> Enrol(SegmentHeader* header);

// Whether the thread that a lock's word names has died: it does not exist, is a zombie, or another has its id.
// One that cannot be looked at has not; neither has nobody (0, kOrphan).
bool IsDead(const SegmentHeader* header, uint32_t lock_word);

}  // namespace mp::core

#endif  // MP_CORE_OWNER_H_
