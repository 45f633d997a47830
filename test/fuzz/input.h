// The bytes of the fuzzer, read as decisions. Past their end everything is 0, so that any input is a whole program.
#ifndef MP_FUZZ_INPUT_H_
#define MP_FUZZ_INPUT_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

class Input {
 public:
  Input(const uint8_t* data, size_t size) : at_(data), left_(size) {}

  bool done() const { return left_ == 0; }
  size_t left() const { return left_; }

  template <typename T>
  T Take() {
    T value{};
    const size_t size = std::min(sizeof(T), left_);
    if (size > 0) std::memcpy(&value, at_, size);
    Skip(size);
    return value;
  }
  uint8_t Byte() { return Take<uint8_t>(); }
  uint32_t Below(uint32_t limit) { return Take<uint32_t>() % limit; }
  std::string Bytes(size_t most) {
    const size_t size = std::min(most, left_);
    std::string bytes(reinterpret_cast<const char*>(at_), size);
    Skip(size);
    return bytes;
  }

 private:
  void Skip(size_t size) {
    at_ += size;
    left_ -= size;
  }

  const uint8_t* at_;
  size_t left_;
};

// A wrong answer is as good as a crash.
#define FUZZ_CHECK(condition)                                                      \
  do {                                                                             \
    if (!(condition)) {                                                            \
      std::fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition); \
      std::abort();                                                                \
    }                                                                              \
  } while (false)

#endif  // MP_FUZZ_INPUT_H_
