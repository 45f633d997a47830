// Views of sections, and what is to be known of an address in one.
#ifndef MP_CORE_WIN32_MEMORY_H_
#define MP_CORE_WIN32_MEMORY_H_

#include <cstddef>

#include "core/segment.h"

namespace mp::core {

// Parking spots are named by the identity of a segment and the place in it (parking.cc). Idempotent.
void AnnounceSegment(const void* base, size_t bytes, const SegmentIdentity& identity);
// Before its view goes.
void ForgetSegment(const void* base);

}  // namespace mp::core

#endif  // MP_CORE_WIN32_MEMORY_H_
