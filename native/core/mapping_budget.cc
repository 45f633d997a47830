#include "core/mapping_budget.h"

#include <atomic>
#include <cstdio>

namespace mp::core {

namespace {

// Nothing is ordered by it: it is only a number.
std::atomic<size_t> counted{0};

size_t ReadLimit() {
#if defined(__linux__)
  constexpr size_t kDefault = 65'530;
  std::FILE* file = std::fopen("/proc/sys/vm/max_map_count", "re");
  if (file == nullptr) return kDefault;
  size_t limit = 0;
  const int read = std::fscanf(file, "%zu", &limit);
  std::fclose(file);
  return read == 1 && limit > 0 ? limit : kDefault;
#else
  return 0;
#endif
}

}  // namespace

size_t MappingLimit() {
  static const size_t limit = ReadLimit();
  return limit;
}

size_t CountedMappings() { return counted.load(std::memory_order_relaxed); }

bool MayMapMore() {
  const size_t limit = MappingLimit();
  return limit == 0 || CountedMappings() < limit - limit / 8;
}

void CountMapping(int change) {
  counted.fetch_add(static_cast<size_t>(change), std::memory_order_relaxed);
}

}  // namespace mp::core
