#include "distant.h"

#include <atomic>
#include <cerrno>
#include <cstdint>
#include <cstring>

#include "errors.h"
#include "mapped_buffer.h"

namespace mp {
namespace {

using core::Segment;
using core::Word;
using SegmentPtr = std::shared_ptr<Segment>;

constexpr auto kSeqCst = std::memory_order_seq_cst;

// What a handle leads to.
struct Memory {
  SegmentPtr segment;
  size_t bytes;
};

void FreeMemory(napi_env env, Memory* memory) {
  int64_t all = 0;
  napi_adjust_external_memory(env, -static_cast<int64_t>(memory->bytes), &all);
  delete memory;
}

Napi::Value MakeHandle(Napi::Env env, const SegmentPtr& segment, size_t bytes) {
  // The collector shall know what a handle costs, as it does of an ArrayBuffer.
  int64_t all = 0;
  napi_adjust_external_memory(env, static_cast<int64_t>(bytes), &all);
  return Napi::External<Memory>::New(
      env, new Memory{segment, bytes},
      [](Napi::Env finalizing, Memory* memory) { FreeMemory(finalizing, memory); });
}

Napi::Value MakeBuffer(Napi::Env env, const SegmentPtr& segment, void* base, size_t bytes) {
  auto* held = new SegmentPtr(segment);
  napi_value buffer = nullptr;
  const napi_status status = MakeExternalBuffer(
      env, base, bytes, [](void*, size_t, void* hint) { delete static_cast<SegmentPtr*>(hint); },
      held, &buffer);
  if (status == napi_ok) return Napi::Value(env, buffer);
  if (!env.IsExceptionPending()) ThrowErrno(env, ENOMEM, "mmap");
  return Napi::Value();
}

// ---- Words: Atomics of an Int32Array ----

Word* WordOf(const Napi::CallbackInfo& info) {
  return WordsOf(info.Env(), info[0]) + info[1].As<Napi::Number>().Uint32Value();
}

uint32_t Operand(const Napi::CallbackInfo& info, size_t index) {
  return static_cast<uint32_t>(info[index].As<Napi::Number>().Int32Value());
}

Napi::Value Signed(const Napi::CallbackInfo& info, uint32_t word) {
  return Napi::Number::New(info.Env(), static_cast<int32_t>(word));
}

Napi::Value Load(const Napi::CallbackInfo& info) {
  return Signed(info, WordOf(info)->load(kSeqCst));
}
void Store(const Napi::CallbackInfo& info) { WordOf(info)->store(Operand(info, 2), kSeqCst); }
Napi::Value Exchange(const Napi::CallbackInfo& info) {
  return Signed(info, WordOf(info)->exchange(Operand(info, 2), kSeqCst));
}
Napi::Value CompareExchange(const Napi::CallbackInfo& info) {
  uint32_t seen = Operand(info, 2);
  WordOf(info)->compare_exchange_strong(seen, Operand(info, 3), kSeqCst);
  return Signed(info, seen);
}
Napi::Value Add(const Napi::CallbackInfo& info) {
  return Signed(info, WordOf(info)->fetch_add(Operand(info, 2), kSeqCst));
}
Napi::Value And(const Napi::CallbackInfo& info) {
  return Signed(info, WordOf(info)->fetch_and(Operand(info, 2), kSeqCst));
}
Napi::Value Or(const Napi::CallbackInfo& info) {
  return Signed(info, WordOf(info)->fetch_or(Operand(info, 2), kSeqCst));
}

// ---- Elements: of 1, 2, 4 or 8 bytes, each in one untorn access ----

// A typed array of JavaScript's own.
struct Elements {
  uint8_t* data;
  size_t length;
  size_t width;
};

Elements ElementsOf(const Napi::Value& value) {
  const auto array = value.As<Napi::TypedArray>();
  return {static_cast<uint8_t*>(array.ArrayBuffer().Data()) + array.ByteOffset(),
          array.ElementLength(), array.ElementSize()};
}

uint8_t* BytesAt(const Napi::CallbackInfo& info) {
  auto* bytes = reinterpret_cast<uint8_t*>(WordsOf(info.Env(), info[0]));
  return bytes + info[1].As<Napi::Number>().Int64Value();
}

template <typename T>
void ReadAll(const uint8_t* shared, const Elements& into) {
  for (size_t i = 0; i < into.length; i++) {
    const T element = reinterpret_cast<const std::atomic<T>*>(shared)[i].load(kSeqCst);
    std::memcpy(into.data + i * sizeof(T), &element, sizeof(T));
  }
}

template <typename T>
void WriteAll(uint8_t* shared, const Elements& from) {
  for (size_t i = 0; i < from.length; i++) {
    T element;
    std::memcpy(&element, from.data + i * sizeof(T), sizeof(T));
    reinterpret_cast<std::atomic<T>*>(shared)[i].store(element, kSeqCst);
  }
}

// `expected` becomes what was there.
template <typename T>
bool ExchangeOne(uint8_t* shared, const Elements& expected, const Elements& replacement) {
  T before;
  T after;
  std::memcpy(&before, expected.data, sizeof(T));
  std::memcpy(&after, replacement.data, sizeof(T));
  const bool done =
      reinterpret_cast<std::atomic<T>*>(shared)->compare_exchange_strong(before, after, kSeqCst);
  std::memcpy(expected.data, &before, sizeof(T));
  return done;
}

// readElements(memory, byteOffset, into): as many as `into`, a typed array, has.
void ReadElements(const Napi::CallbackInfo& info) {
  const Elements into = ElementsOf(info[2]);
  const uint8_t* shared = BytesAt(info);
  switch (into.width) {
    case 1:
      return ReadAll<uint8_t>(shared, into);
    case 2:
      return ReadAll<uint16_t>(shared, into);
    case 4:
      return ReadAll<uint32_t>(shared, into);
    default:
      return ReadAll<uint64_t>(shared, into);
  }
}

// writeElements(memory, byteOffset, from)
void WriteElements(const Napi::CallbackInfo& info) {
  const Elements from = ElementsOf(info[2]);
  uint8_t* shared = BytesAt(info);
  switch (from.width) {
    case 1:
      return WriteAll<uint8_t>(shared, from);
    case 2:
      return WriteAll<uint16_t>(shared, from);
    case 4:
      return WriteAll<uint32_t>(shared, from);
    default:
      return WriteAll<uint64_t>(shared, from);
  }
}

bool Exchanged(uint8_t* shared, const Elements& expected, const Elements& replacement) {
  switch (expected.width) {
    case 1:
      return ExchangeOne<uint8_t>(shared, expected, replacement);
    case 2:
      return ExchangeOne<uint16_t>(shared, expected, replacement);
    case 4:
      return ExchangeOne<uint32_t>(shared, expected, replacement);
    default:
      return ExchangeOne<uint64_t>(shared, expected, replacement);
  }
}

// exchangeElement(memory, byteOffset, expected, replacement) → whether; both are typed arrays of one element.
Napi::Value ExchangeElement(const Napi::CallbackInfo& info) {
  return Napi::Boolean::New(info.Env(),
                            Exchanged(BytesAt(info), ElementsOf(info[2]), ElementsOf(info[3])));
}

template <auto Function>
void Export(Napi::Object target, const char* name) {
  target[name] = Napi::Function::New<Function>(target.Env(), name);
}

}  // namespace

Word* WordsOf(napi_env env, napi_value words) {
  void* data = nullptr;
  if (napi_get_typedarray_info(env, words, nullptr, nullptr, &data, nullptr, nullptr) == napi_ok) {
    return static_cast<Word*>(data);
  }
  return Napi::External<Memory>(env, words).Data()->segment->words();
}

Napi::Value MakePlain(Napi::Env env, const SegmentPtr& segment, size_t bytes) {
  return MayMakeExternalBuffers(env) ? MakeBuffer(env, segment, segment->plain_base(), bytes)
                                     : MakeHandle(env, segment, bytes);
}

Napi::Value MakeWords(Napi::Env env, const SegmentPtr& segment, size_t bytes) {
  if (!MayMakeExternalBuffers(env)) return MakeHandle(env, segment, bytes);
  const Napi::Value memory = MakeBuffer(env, segment, segment->base(), bytes);
  if (memory.IsEmpty()) return memory;
  return Napi::Int32Array::New(env, bytes / sizeof(Word), memory.As<Napi::ArrayBuffer>(), 0);
}

void InitDistant(Napi::Env env, Napi::Object exports) {
  if (MayMakeExternalBuffers(env)) return;
  Napi::Object distant = Napi::Object::New(env);
  Export<Load>(distant, "load");
  Export<Store>(distant, "store");
  Export<Exchange>(distant, "exchange");
  Export<CompareExchange>(distant, "compareExchange");
  Export<Add>(distant, "add");
  Export<And>(distant, "and");
  Export<Or>(distant, "or");
  Export<ReadElements>(distant, "readElements");
  Export<WriteElements>(distant, "writeElements");
  Export<ExchangeElement>(distant, "exchangeElement");
  exports["distant"] = distant;
}

}  // namespace mp
