// Exhaustive exploration of a model of concurrent steps.
//
// A Model has Start(), Judge(state), Steps(state, &next) and IsEnd(state), and a state has a Key(). Judge and Steps
// answer what is wrong; Steps gives every state that one step of anybody leads to.
#pragma once

#include <cstddef>
#include <string>
#include <unordered_map>
#include <vector>

namespace mp::test {

// Sanitizers make a step ten times as long: the largest state spaces are for the plain build.
#if defined(MP_SANITIZED)
constexpr bool kSmallSpaces = true;
#else
constexpr bool kSmallSpaces = false;
#endif

struct Verdict {
  size_t states = 0;
  std::string violation;
};

// Depth first over all states that can be reached; then, backwards, whether each can still come to an end.
template <typename Model>
Verdict Explore(const Model& model) {
  using State = decltype(model.Start());
  std::unordered_map<std::string, size_t> known;
  std::vector<State> states;
  std::vector<std::vector<size_t>> before;
  std::vector<size_t> open;
  std::vector<size_t> ends;
  Verdict verdict;
  auto visit = [&](const State& state) {
    const auto [entry, fresh] = known.try_emplace(state.Key(), states.size());
    if (fresh) {
      open.push_back(states.size());
      states.push_back(state);
      before.emplace_back();
    }
    return entry->second;
  };
  visit(model.Start());
  while (!open.empty()) {
    const size_t at = open.back();
    open.pop_back();
    const State state = states[at];
    verdict.violation = model.Judge(state);
    verdict.states = states.size();
    if (!verdict.violation.empty()) return verdict;
    std::vector<State> next;
    verdict.violation = model.Steps(state, &next);
    if (!verdict.violation.empty()) return verdict;
    if (model.IsEnd(state)) {
      ends.push_back(at);
    } else if (next.empty()) {
      verdict.violation = "stuck";
      return verdict;
    }
    for (const State& following : next) before[visit(following)].push_back(at);
  }
  std::vector<bool> finishes(states.size());
  while (!ends.empty()) {
    const size_t at = ends.back();
    ends.pop_back();
    if (finishes[at]) continue;
    finishes[at] = true;
    for (size_t earlier : before[at]) ends.push_back(earlier);
  }
  verdict.states = states.size();
  for (bool one : finishes) {
    if (!one) verdict.violation = "never ends";
  }
  return verdict;
}

}  // namespace mp::test
