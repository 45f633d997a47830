// ArrayBuffers that lie straight on a mapping, and their end.
//
// Guarantees: no copy is made; a mapping is removed exactly once, by Unmap, which first detaches the
// ArrayBuffer, so that every view of it has length 0 and no access can reach what is gone; or, when
// no ArrayBuffer has the memory any more, by its finaliser. Where JavaScript has moved the memory to
// another ArrayBuffer (ArrayBuffer.prototype.transfer, postMessage), the old one has nothing to
// unmap, and the mapping lives as long as the new one.
//
// There are two ways to make such an ArrayBuffer. V8's own call frees the memory the moment that its
// last holder is collected, and knows no limit of size; node exports it, on 20 to 26. Where it is not
// to be found there is Node-API's, which frees in a later turn of the event loop, refuses to move the
// memory, and in Node 20 ends at 4 GiB. Node-API is asked first, once, whether there may be such
// ArrayBuffers at all: a V8 with a sandbox would end the process.
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

// Whether this runtime allows ArrayBuffers on memory that is not V8's. For tests alone, the environment variable
// NODE_MULTIPROCESSING_EXTERNAL_BUFFERS=forbidden has it say no.
bool MayMakeExternalBuffers(napi_env env);

// An ArrayBuffer on memory that `free` gives back, on whatever thread, once nobody has it any more: at its collection
// where V8's own call is there, in a later turn of the event loop where it is Node-API's. The runtime must allow such
// ArrayBuffers. Not napi_ok: `free` has been called, or will be.
using FreeMemory = void (*)(void* data, size_t length, void* hint);
napi_status MakeExternalBuffer(napi_env env, void* data, size_t length, FreeMemory free, void* hint,
                               napi_value* buffer);

class MappedBuffers : public std::enable_shared_from_this<MappedBuffers> {
 public:
  // Empty, with an exception pending, where the runtime does not allow it; the mapping is gone then.
  Napi::Value Wrap(Napi::Env env, core::Mapping mapping);

  // False: no mapping of this table, or detached before. Empty, with an exception pending: it cannot
  // be detached, and stays.
  Napi::Value Unmap(Napi::Env env, napi_value buffer);

  // At the end of the environment: nothing will be unmapped by name of its ArrayBuffer any more.
  void Forget() { entries_.clear(); }

  // For tests: false makes them by Node-API.
  void PreferDirect(bool direct) { direct_ = direct; }

 private:
  // One mapping that JavaScript has: held by the table, until Unmap, and by the memory's finaliser.
  struct Mapped {
    core::Mapping mapping;
    std::shared_ptr<MappedBuffers> table;
    // Whoever turns it to false removes the mapping. The other side is the finaliser, on a thread of
    // V8's or our own. It is false before the address can be used again, so that an entry that the
    // finaliser leaves behind in the table is never taken for another mapping's.
    std::atomic<bool> alive{true};

    void End() {
      if (alive.exchange(false)) mapping.Unmap();
    }
  };
  using Handle = std::shared_ptr<Mapped>;

  bool MayMake(napi_env env);
  napi_status MakeBuffer(napi_env env, Handle* hint, napi_value* buffer);
  static void MakeDirectly(Handle* hint, napi_value* buffer);
  static void FinaliseDirect(void* data, size_t length, void* hint);
  static void Finalise(napi_env env, void* data, void* hint);
  void Remember(void* address, Handle mapped);

  bool direct_ = true;
  bool asked_ = false;
  bool allowed_ = false;
  std::unordered_map<void*, Handle> entries_;
  // The number of entries at which the dead ones are looked for.
  size_t crowded_ = 64;
};

}  // namespace mp
