// trace.hpp -- a trace of allocations, as `pool.trace(path)` writes it.
//
// What      `Trace`: the calls of each thread in their order, ids made dense. Its text is CSV with the header
//           `ns,thread,op,id,bytes,tag`; op is alloc or free (docs/memory.md, section Traces).
// Why       What a service really does, asked of every rival.
// Threads   Immutable once read.
#pragma once

#include <fstream>
#include <map>
#include <sstream>

#include "alloc/heap.hpp"

namespace bench::alloc_replay {

struct Call {
  std::size_t order;  // in the whole trace
  std::size_t block;
  std::size_t bytes;  // 0: a free
};

class Trace {
 public:
  explicit Trace(const std::string& path) {
    std::ifstream file{path};
    std::string line;
    require(file && std::getline(file, line) && line == "ns,thread,op,id,bytes,tag",
            "the trace is to begin with the line ns,thread,op,id,bytes,tag");
    std::map<long long, std::size_t> threads, live;
    while (std::getline(file, line)) add(line, threads, live);
    require(calls_ > 0, "the trace has no calls");
    for (const auto& [id, block] : live) never_freed_.push_back(block);
  }

  const std::vector<std::vector<Call>>& by_thread() const noexcept { return by_thread_; }
  const std::vector<std::size_t>& never_freed() const noexcept { return never_freed_; }
  std::size_t bytes_of(std::size_t block) const noexcept { return bytes_[block]; }
  std::size_t blocks() const noexcept { return bytes_.size(); }
  std::size_t calls() const noexcept { return calls_; }
  std::size_t peak_bytes() const noexcept { return peak_; }

 private:
  void add(const std::string& line, std::map<long long, std::size_t>& threads, std::map<long long, std::size_t>& live) {
    std::istringstream fields{line};
    std::string ns, thread, op, id, bytes;
    std::getline(fields, ns, ',') && std::getline(fields, thread, ',') && std::getline(fields, op, ',') &&
        std::getline(fields, id, ',') && std::getline(fields, bytes, ',');
    const std::size_t place = threads.try_emplace(std::atoll(thread.c_str()), threads.size()).first->second;
    if (place == by_thread_.size()) by_thread_.emplace_back();
    const long long name = std::atoll(id.c_str());
    if (op == "alloc") {
      const auto size = static_cast<std::size_t>(std::max(std::atoll(bytes.c_str()), 1LL));
      require(live.try_emplace(name, bytes_.size()).second, "the trace allocates an id that is live");
      by_thread_[place].push_back({calls_++, bytes_.size(), size});
      bytes_.push_back(size);
      peak_ = std::max(peak_, now_ += size);
    } else {
      const auto found = live.find(name);
      require(op == "free" && found != live.end(), "each line of a trace is an alloc, or the free of a live id");
      by_thread_[place].push_back({calls_++, found->second, 0});
      now_ -= bytes_[found->second];
      live.erase(found);
    }
  }

  std::vector<std::vector<Call>> by_thread_;
  std::vector<std::size_t> bytes_, never_freed_;
  std::size_t calls_ = 0, now_ = 0, peak_ = 0;
};

}  // namespace bench::alloc_replay
