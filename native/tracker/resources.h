// What the tracker knows: a set of resources, and the messages that change it.
//
// A message is one line of at most kLongestMessage bytes, so that a write(2) of it to a pipe is not mixed with others,
// and is there as a whole or not at all, whenever its writer is killed:
//
//   + shared_memory 1a 2b3c /psm_12345678
//
// '+' registers, '-' unregisters; the type; device and inode in hexadecimal digits, which tell the resource from a later
// one of the same name, 0 0 for whatever has the name; the name, in which control characters, spaces and '%' are written
// as %0a. Registering twice counts once. What is no such line is skipped up to its end.
//
// No library but the C library: the process is to be small.
#ifndef MP_TRACKER_RESOURCES_H_
#define MP_TRACKER_RESOURCES_H_

#include <limits.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

namespace mp::tracker {

#if defined(PIPE_BUF)
constexpr size_t kLongestMessage = PIPE_BUF;
#else
constexpr size_t kLongestMessage = 512;
#endif

// In the order in which they are removed: a directory's files go before it.
enum class Type : uint8_t { kSharedMemory, kFile, kDirectory };
constexpr const char* kTypeNames[] = {"shared_memory", "file", "directory"};
constexpr size_t kTypes = sizeof(kTypeNames) / sizeof(*kTypeNames);

struct Resource {
  Type type;
  uint64_t device;
  uint64_t inode;
  const char* name;  // ends with a zero
};

struct Message {
  bool registers;
  Resource resource;
};

inline int HexDigit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return -1;
}

// The number that `text` begins with, up to a space behind it; null: there is none.
inline char* ReadNumber(char* text, uint64_t* number) {
  *number = 0;
  int digits = 0;
  for (int digit; (digit = HexDigit(*text)) >= 0; ++text) {
    if (++digits > 16) return nullptr;
    *number = *number << 4 | static_cast<uint64_t>(digit);
  }
  return digits > 0 && *text == ' ' ? text + 1 : nullptr;
}

inline bool UnescapeName(char* name) {
  char* out = name;
  for (const char* in = name; *in != '\0'; ++in, ++out) {
    *out = *in;
    if (*in != '%') continue;
    const int high = HexDigit(in[1]);
    const int low = high < 0 ? -1 : HexDigit(in[2]);
    if (low < 0 || (high == 0 && low == 0)) return false;
    *out = static_cast<char>(high << 4 | low);
    in += 2;
  }
  *out = '\0';
  return out != name;
}

// Reads a line, which ends with a zero in place of its LF, and overwrites it: the name points into it.
inline bool ReadMessage(char* line, Message* message) {
  if ((line[0] != '+' && line[0] != '-') || line[1] != ' ') return false;
  message->registers = line[0] == '+';
  line += 2;
  for (size_t type = 0; type < kTypes; ++type) {
    const size_t length = strlen(kTypeNames[type]);
    if (strncmp(line, kTypeNames[type], length) != 0 || line[length] != ' ') continue;
    Resource& resource = message->resource;
    resource.type = static_cast<Type>(type);
    line = ReadNumber(line + length + 1, &resource.device);
    if (line != nullptr) line = ReadNumber(line, &resource.inode);
    if (line == nullptr || !UnescapeName(line)) return false;
    resource.name = line;
    return true;
  }
  return false;
}

// Allocates for each resource alone; what there is no memory for is not tracked.
class Resources {
 public:
  Resources() = default;
  ~Resources() {
    for (Entry*& bucket : buckets_) {
      while (bucket != nullptr) Drop(&bucket);
    }
  }
  Resources(const Resources&) = delete;
  Resources& operator=(const Resources&) = delete;

  size_t size() const { return size_; }

  bool Add(const Resource& resource) {
    Entry** place = Find(resource);
    if (*place != nullptr) return true;
    const size_t length = strlen(resource.name) + 1;
    auto* entry = static_cast<Entry*>(malloc(sizeof(Entry) + length));
    if (entry == nullptr) return false;
    entry->next = nullptr;
    entry->resource = resource;
    auto* name = reinterpret_cast<char*>(entry + 1);
    memcpy(name, resource.name, length);
    entry->resource.name = name;
    *place = entry;
    ++size_;
    return true;
  }

  void Remove(const Resource& resource) {
    Entry** place = Find(resource);
    if (*place != nullptr) Drop(place);
  }

  // Calls `visit` with each resource of the type.
  template <typename Visit>
  void ForEach(Type type, Visit visit) const {
    for (const Entry* bucket : buckets_) {
      for (const Entry* entry = bucket; entry != nullptr; entry = entry->next) {
        if (entry->resource.type == type) visit(entry->resource);
      }
    }
  }

  // Drops those for which `is_gone` holds.
  template <typename IsGone>
  void Prune(IsGone is_gone) {
    for (Entry*& bucket : buckets_) {
      for (Entry** place = &bucket; *place != nullptr;) {
        if (is_gone((*place)->resource)) {
          Drop(place);
        } else {
          place = &(*place)->next;
        }
      }
    }
  }

 private:
  struct Entry {
    Entry* next;
    Resource resource;
  };

  // A page's worth: what is not used is not touched.
  static constexpr size_t kBuckets = 512;

  static bool AreEqual(const Resource& a, const Resource& b) {
    return a.type == b.type && a.device == b.device && a.inode == b.inode &&
           strcmp(a.name, b.name) == 0;
  }

  // FNV-1a.
  static size_t Hash(const Resource& resource) {
    uint32_t hash = 2166136261u ^ static_cast<uint32_t>(resource.inode);
    for (const char* c = resource.name; *c != '\0'; ++c) {
      hash = (hash ^ static_cast<unsigned char>(*c)) * 16777619u;
    }
    return hash % kBuckets;
  }

  // What points to the resource's entry, or to the end of where it would be.
  Entry** Find(const Resource& resource) {
    Entry** place = &buckets_[Hash(resource)];
    while (*place != nullptr && !AreEqual((*place)->resource, resource)) place = &(*place)->next;
    return place;
  }

  void Drop(Entry** place) {
    Entry* entry = *place;
    *place = entry->next;
    free(entry);
    --size_;
  }

  Entry* buckets_[kBuckets] = {};
  size_t size_ = 0;
};

// Cuts what is read into lines.
class Lines {
 public:
  // Where to read to, and how much there is room for: never none.
  char* space() { return buffer_ + used_; }
  size_t room() const { return sizeof(buffer_) - used_; }

  // `count` bytes have been read. Calls `take` with each complete line; answers how many were too long.
  template <typename Take>
  size_t Filled(size_t count, Take take) {
    size_t too_long = 0;
    char* line = buffer_;
    char* end = space() + count;
    while (auto* feed = static_cast<char*>(memchr(line, '\n', static_cast<size_t>(end - line)))) {
      *feed = '\0';
      if (!skipping_) take(line);
      skipping_ = false;
      line = feed + 1;
    }
    used_ = static_cast<size_t>(end - line);
    memmove(buffer_, line, used_);
    if (used_ == sizeof(buffer_)) {
      if (!skipping_) ++too_long;
      skipping_ = true;
      used_ = 0;
    }
    return too_long;
  }

 private:
  char buffer_[2 * kLongestMessage];
  size_t used_ = 0;
  // What is read belongs to a line whose beginning was thrown away.
  bool skipping_ = false;
};

}  // namespace mp::tracker

#endif  // MP_TRACKER_RESOURCES_H_
