// Segments, for the files beside sync.cc; and what the end of a process owes to the locks it holds.
#ifndef MP_BINDING_SYNC_H_
#define MP_BINDING_SYNC_H_

#include <napi.h>

#include <memory>

#include "core/segment.h"

namespace mp {

// So that words of it can be waited for.
void RegisterSegment(const std::shared_ptr<core::Segment>& segment);

// From a Uint32Array of 4.
core::SegmentIdentity IdentityOf(const Napi::Value& words);

// At a normal end: they stay locked, and are not taken for those of a process that was killed.
void OrphanOwnLocks();

}  // namespace mp

#endif  // MP_BINDING_SYNC_H_
