#include "core/patience.h"

#include <algorithm>

namespace mp::core {

namespace {

constexpr double kCost = 4;

}  // namespace

bool Patience::MayTry(const Probing& probing) {
  if (score > 0) return true;
  sleeps += 1;
  if (sleeps < std::max(probing.first, probe_after)) return false;
  sleeps = 0;
  return true;
}

void Patience::Paid(const Probing& probing) {
  score = std::min(kMostPatience, score + 1);
  probe_after = probing.first;
}

void Patience::Failed(const Probing& probing) {
  if (score == 0) probe_after = std::min(probing.last, 2 * probe_after);
  score = std::max(0.0, score - kCost);
}

}  // namespace mp::core
