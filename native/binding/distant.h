// Shared memory as JavaScript gets it: an ArrayBuffer straight on it, or, in a runtime that forbids those (V8's
// sandbox, as in Electron), an opaque handle and functions that stand for Atomics, in `native.distant`.
//
// The handle keeps the memory, as the ArrayBuffer does. Everything that takes the words of a segment takes either.
#ifndef MP_BINDING_DISTANT_H_
#define MP_BINDING_DISTANT_H_

#include <napi.h>

#include <cstddef>
#include <memory>

#include "core/parking.h"
#include "core/segment.h"

namespace mp {

// Where the memory begins that an Int32Array over a whole segment, or a handle, stands for.
core::Word* WordsOf(napi_env env, napi_value words);

// An Int32Array or a handle. Empty, with an exception pending, when there is no memory for it.
Napi::Value MakeWords(Napi::Env env, const std::shared_ptr<core::Segment>& segment, size_t bytes);

// The bytes of plain memory: an ArrayBuffer, or a handle, whose memory begins kPlainOffset before them; likewise.
Napi::Value MakePlain(Napi::Env env, const std::shared_ptr<core::Segment>& segment, size_t bytes);

// Exports `distant` where it is needed.
void InitDistant(Napi::Env env, Napi::Object exports);

}  // namespace mp

#endif  // MP_BINDING_DISTANT_H_
