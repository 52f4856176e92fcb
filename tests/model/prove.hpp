// prove.hpp -- what a model's test says: this holds within these bounds, and this mutant is caught.
//
// What      prove<Scenario>, catches<Scenario>. A failing schedule prints itself, and its choices for a replay:
//           TAILRACE_REPLAY="0,1,2" with the test's name as the program's argument. TAILRACE_QUICK=1 proves with one
//           pre-emption less; the mutants are the same.
// Why       A check that has never failed proves nothing: every model has a mutant.
// Threads   One.
#pragma once

#include "../cpp/harness.hpp"
#include "checker.hpp"

namespace tailrace::model {

inline std::vector<std::uint8_t> replay_choices() {
  std::vector<std::uint8_t> choices;
  const char* text = std::getenv("TAILRACE_REPLAY");
  std::istringstream in{text == nullptr ? "" : text};
  for (std::string number; std::getline(in, number, ',');)
    choices.push_back(static_cast<std::uint8_t>(std::stoi(number)));
  return choices;
}

inline void print_failure(const Result& result) {
  std::cerr << "  " << result.reason << "\n";
  const std::size_t shown = result.trace.size() < 120 ? result.trace.size() : 120;
  for (std::size_t i = result.trace.size() - shown; i < result.trace.size(); ++i) {
    std::cerr << "    " << result.trace[i] << "\n";
  }
  std::cerr << "  TAILRACE_REPLAY=";
  for (std::size_t i = 0; i < result.choices.size(); ++i) std::cerr << (i == 0 ? "" : ",") << int{result.choices[i]};
  std::cerr << std::endl;
}

template <class Scenario>
void prove(const char* what, Bounds bounds) {
  bounds.replay = replay_choices();
  if (std::getenv("TAILRACE_QUICK") != nullptr) {
    --bounds.preemptions;
    bounds.random /= 5;
  }
  const Result result = explore<Scenario>(bounds);
  if (result.failed) print_failure(result);
  std::cout << "  " << what << ": " << result.executions
            << (bounds.random > 0 ? " random executions"
                : result.complete ? " executions, all"
                                  : " executions, NOT ALL");
  if (bounds.random == 0) {
    std::cout << " within " << bounds.preemptions << " pre-emptions and " << bounds.stale_loads << " stale loads";
  }
  std::cout << std::endl;
  CHECK(!result.failed);
  CHECK(result.complete || bounds.random > 0 || !bounds.replay.empty());
}

template <class Scenario>
void catches(const char* what, Bounds bounds) {
  const Result result = explore<Scenario>(bounds);
  std::cout << "  mutant " << what << ": " << (result.failed ? "caught by execution " : "MISSED in executions: ")
            << result.executions << " (" << result.reason << ")" << std::endl;
  if (result.failed && std::getenv("TAILRACE_SHOW") != nullptr) print_failure(result);
  CHECK(result.failed);
}

}  // namespace tailrace::model
