// bounds.hpp -- what a check explores, what it changes to test itself, and what it reports.
//
// What      Bounds, Mutant, Result; and Sites, which finds the source line of an access and the mutant that applies to it.
// Why       A mutant names the line of the shipped header that it weakens, so the headers need no hooks for tests.
// Threads   One.
#pragma once

#include <cstdint>
#include <fstream>
#include <optional>
#include <source_location>
#include <string>
#include <vector>

#include "memory.hpp"

namespace tailrace::model {

// A change at every access whose source line holds `text`: a weaker order, or a load that always finds `reads` (which
// switches a guard off; a read-modify-write then writes nothing). A mutant must be caught.
struct Mutant {
  std::string text;
  Order order;
  std::optional<std::uint64_t> reads = {};
};

struct Bounds {
  int preemptions = 3;
  int stale_loads = 2;  // loads, in one execution, that read an old value
  std::uint64_t executions = 3'000'000;  // give up after; the result then says it is not complete
  int steps = 2'000;  // atomic accesses in one execution; more is a livelock
  std::vector<Mutant> mutants = {};
  std::uint64_t random = 0;  // when > 0: so many random executions instead of the search, bounds being off
  std::uint64_t seed = 1;
  std::vector<std::uint8_t> replay = {};  // choices of a failing execution
};

struct Result {
  bool failed = false;
  bool complete = false;  // everything within the bounds was run
  std::string reason;
  std::uint64_t executions = 0;
  std::vector<std::uint8_t> choices;
  std::vector<std::string> trace;
};

// One line of source per access, and the mutants that apply to it.
class Sites {
 public:
  explicit Sites(const std::vector<Mutant>& mutants) : mutants_{mutants}, applied_(mutants.size(), false) {}

  // The mutant that applies to this access, or null.
  const Mutant* mutant(const std::source_location& site) {
    if (mutants_.empty()) return nullptr;
    const Known& known = look_up(site);
    if (known.mutant < 0) return nullptr;
    applied_[static_cast<std::size_t>(known.mutant)] = true;
    return &mutants_[static_cast<std::size_t>(known.mutant)];
  }
  std::string text(const std::source_location& site) { return look_up(site).text; }
  bool all_applied() const {
    for (const bool one : applied_) {
      if (!one) return false;
    }
    return true;
  }

 private:
  struct Known {
    const char* file;
    std::uint_least32_t line;
    int mutant;
    std::string text;
  };

  const Known& look_up(const std::source_location& site) {
    for (const Known& known : known_) {
      if (known.line == site.line() && known.file == site.file_name()) return known;
    }
    std::ifstream file{site.file_name()};
    std::string text;
    for (std::uint_least32_t i = 0; i < site.line(); ++i) std::getline(file, text);
    text.erase(0, text.find_first_not_of(' '));
    int mutant = -1;
    for (std::size_t i = 0; i < mutants_.size(); ++i) {
      if (text.find(mutants_[i].text) != std::string::npos) mutant = static_cast<int>(i);
    }
    known_.push_back({site.file_name(), site.line(), mutant, text});
    return known_.back();
  }

  std::vector<Mutant> mutants_;
  std::vector<bool> applied_;
  std::vector<Known> known_;
};

}  // namespace tailrace::model
