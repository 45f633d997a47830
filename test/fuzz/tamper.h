// What somebody who has a channel's memory can write into it: any word of the control page, the table and the chunks.
//
// The words of its locks are left alone. There is no wrong value for them: a name that nobody has is a dead owner's, and
// a living one that never lets go is waited for.
#ifndef MP_FUZZ_TAMPER_H_
#define MP_FUZZ_TAMPER_H_

#include "core/channel.h"
#include "input.h"

class Tamperer {
 public:
  // As the channel was made: what is tampered with later does not lead the tamperer astray.
  explicit Tamperer(const mp::core::Channel& channel)
      : control_(channel.control()),
        table_(At(channel, control_->table_offset)),
        chunks_(At(channel, control_->chunks_offset)),
        limit_(control_->chunk_limit) {}

  void Change(Input* input) {
    using mp::core::kChunkBytes;
    switch (input->Byte() % 6) {
      case 0:
        return Word(input, Control(input));
      case 1:
        return Word(input, table_ + 4 * input->Below(2 * limit_));
      case 2:  // Where records are likely.
        return Word(input, chunks_ + 16 * input->Below(64));
      case 3:
        return Word(input, chunks_ + kChunkBytes * input->Below(8) + 4 * input->Below(64));
      case 4:
        return Word(input, chunks_ + 4 * input->Below(limit_ * (kChunkBytes / 4)));
      default: {
        const std::string bytes = input->Bytes(16);
        std::memcpy(chunks_ + 16 * input->Below(4096 * 4), bytes.data(), bytes.size());
      }
    }
  }

 private:
  static char* At(const mp::core::Channel& channel, uint64_t offset) {
    return static_cast<char*>(channel.segment()->base()) + offset;
  }

  char* Control(Input* input) const {
    const size_t words = sizeof(mp::core::ChannelControl) / 4;
    char* word = reinterpret_cast<char*>(control_) + 4 * input->Below(words);
    const void* const locks[] = {&control_->put_lock, &control_->get_lock, &control_->pool_lock,
                                 &control_->socket_locks[0], &control_->socket_locks[1]};
    for (const void* lock : locks) {
      if (word == lock) return reinterpret_cast<char*>(&control_->put_state);
    }
    return word;
  }

  void Word(Input* input, char* where) const {
    uint32_t value;
    std::memcpy(&value, where, sizeof(value));
    switch (input->Byte() % 5) {
      case 0:
        value = input->Take<uint32_t>();
        break;
      case 1:
        value = input->Byte();
        break;
      case 2:
        value += static_cast<uint32_t>(input->Take<int8_t>());
        break;
      case 3:
        value ^= uint32_t{1} << (input->Byte() % 32);
        break;
      default:  // A position: the beginning of a chunk.
        value = input->Below(limit_ + 2) * mp::core::kUnitsPerChunk;
    }
    std::memcpy(where, &value, sizeof(value));
  }

  mp::core::ChannelControl* control_;
  char* table_;
  char* chunks_;
  uint32_t limit_;
};

#endif  // MP_FUZZ_TAMPER_H_
