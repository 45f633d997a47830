// ArrayBuffers that lie straight on a mapping, and their end.
//
// Guarantees: no copy is made; a mapping is removed exactly once, by Unmap, which first detaches the
// ArrayBuffer, so that every view of it has length 0 and no access can reach what is gone; or, when
// the ArrayBuffer is collected or its environment ends, by its finaliser. Where JavaScript has moved
// the memory to another ArrayBuffer (ArrayBuffer.prototype.transfer), the old one has nothing to
// unmap, and the mapping lives as long as the new one.
//
// An environment (the main thread, each Worker) has a table of its own. A forked child has a copy of
// it, as it has of the mappings, and removes its own.
#pragma once

#include <napi.h>

#include <atomic>
#include <memory>
#include <unordered_map>

#include "core/shared_memory.h"

namespace mp {

class MappedBuffers : public std::enable_shared_from_this<MappedBuffers> {
 public:
  // Empty, with an exception pending, where the runtime does not allow it; the mapping is gone then.
  Napi::Value Wrap(Napi::Env env, core::Mapping mapping);

  // False: no mapping of this table, or detached before. Empty, with an exception pending: it cannot
  // be detached, and stays.
  Napi::Value Unmap(Napi::Env env, napi_value buffer);

 private:
  // One mapping that JavaScript has: held by the table, until Unmap, and by the memory's finaliser.
  struct Mapped {
    core::Mapping mapping;
    std::shared_ptr<MappedBuffers> table;
    // Whoever turns it to false removes the mapping. The other side is the finaliser, which for the
    // largest buffers of Node 20 runs on a thread of V8's. It is false before the address can be
    // used again, so that an entry of the table is never taken for another mapping's.
    std::atomic<bool> alive{true};

    void End() {
      if (alive.exchange(false)) mapping.Unmap();
    }
  };
  using Handle = std::shared_ptr<Mapped>;

  static napi_status MakeBuffer(napi_env env, Handle* hint, napi_value* buffer);
  static napi_status MakeLargeBuffer(Handle* hint, napi_value* buffer);
  static void Finalise(napi_env env, void* data, void* hint);
  static void FinaliseLarge(void* data, size_t length, void* hint);

  std::unordered_map<void*, Handle> entries_;
};

}  // namespace mp
