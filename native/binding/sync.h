// What the end of a process owes to the locks it holds.
#ifndef MP_BINDING_SYNC_H_
#define MP_BINDING_SYNC_H_

namespace mp {

// At a normal end: they stay locked, and are not taken for those of a process that was killed.
void OrphanOwnLocks();

}  // namespace mp

#endif  // MP_BINDING_SYNC_H_
