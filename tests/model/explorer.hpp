// explorer.hpp -- runs a few logical threads in every order within bounds, one execution after another.
//
// What      Fibers for threads; a choice at every atomic access (who goes on) and every load (which store it reads);
//           depth-first search over the choices, or random walks; parking; deadlock and livelock reports; replay.
// Why       A lost wake-up needs one order in millions. Most such bugs need no more than two or three pre-emptions.
// Threads   One real thread; the fibers take turns.
// Source    Musuvathi, Qadeer 2007, "Iterative Context Bounding for Systematic Testing of Multithreaded Programs".
#pragma once

#include <ucontext.h>

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <source_location>
#include <string>
#include <vector>

#include "bounds.hpp"
#include "memory.hpp"

namespace tailrace::model {

class Explorer {
 public:
  explicit Explorer(Bounds bounds) : bounds_{std::move(bounds)}, sites_{bounds_.mutants}, random_{bounds_.seed} {
    for (auto& fiber : fibers_) fiber.stack = std::make_unique<char[]>(kStackBytes);
  }

  static Explorer*& current() {
    static Explorer* explorer = nullptr;
    return explorer;
  }

  template <class Scenario>
  Result run() {
    current() = this;
    Result result;
    tracing_ = !bounds_.replay.empty();
    choices_ = bounds_.replay;
    counts_.assign(choices_.size(), 0);
    do {
      ++result.executions;
      execute<Scenario>();
      if (failed_) {
        result.failed = true;
        result.reason = reason_;
        choices_.resize(depth_);
        break;
      }
      if (tracing_) break;
    } while (next_execution(result));
    if (!result.failed && !sites_.all_applied()) result.reason = "a mutant's text was met at no access";
    result.choices = choices_;
    result.trace = trace_;
    current() = nullptr;
    return result;
  }

  // -- called by the atomics, on a fiber or while setting up --

  Memory& memory() { return memory_; }
  std::size_t thread() const { return running_; }
  bool live() const { return running_ != 0 && !failed_; }

  const Mutant* mutant(const std::source_location& site) { return sites_.mutant(site); }

  // A point at which another thread may go on instead.
  void step() {
    if (running_ == 0) return;
    if (++steps_ > bounds_.steps) fail("too many steps: a livelock, or the bound is too small");
    pass_on(true);
  }

  // Which of the stores `oldest..newest` a load reads. Accepts skips what it may not be.
  template <class Accepts>
  std::size_t choose_store(std::size_t oldest, std::size_t newest, Accepts accepts) {
    if (running_ == 0 || oldest == newest || stale_ >= limit(bounds_.stale_loads)) return newest;
    std::array<std::size_t, 64> candidates{newest};
    std::size_t count = 1;
    for (std::size_t i = newest; i-- > oldest && count < candidates.size();) {
      if (accepts(i)) candidates[count++] = i;
    }
    const std::size_t chosen = choose(count);
    if (chosen != 0) {
      ++stale_;
      fibers_[running_].read_stale = true;
    }
    return candidates[chosen];
  }

  void wrote() { ++writes_; }

  void pause() {
    if (running_ == 0) return;
    Fiber& fiber = fibers_[running_];
    // Only a loop that has seen all there is, and found it as the last time round, waits for somebody's next write.
    const bool news = fiber.read_stale || fiber.writes_seen != writes_;
    fiber.read_stale = false;
    fiber.writes_seen = writes_;
    if (news) return step();
    fiber.state = State::kPaused;
    pass_on(false);
  }

  // The caller has found the word as expected; true when woken, false when the time was up.
  bool park(std::size_t where, bool timed) {
    Fiber& fiber = fibers_[running_];
    fiber.state = State::kParked;
    fiber.parked_on = where;
    fiber.timed = timed;
    pass_on(false);
    return !fiber.timed_out;
  }

  void unpark(std::size_t where, int count) {
    for (std::size_t i = 1; i <= threads_ && count > 0; ++i) {
      if (fibers_[i].state != State::kParked || fibers_[i].parked_on != where) continue;
      fibers_[i].state = State::kReady;
      fibers_[i].timed_out = false;
      --count;
    }
  }

  // Each other thread makes its barrier at a moment of its own while the call lasts.
  void membarrier() {
    const std::size_t caller = running_;
    step();
    const View began = memory_.view(caller);
    for (std::size_t i = 1; i <= threads_; ++i) {
      if (i == caller) continue;
      step();
      memory_.barrier(i, caller, began);
    }
    wrote();  // a thread that waits may see more now
  }

  [[noreturn]] void fail(const std::string& why) {
    failed_ = true;
    reason_ = why;
    note("FAILED: " + why);
    if (running_ == 0) throw std::string{why};
    running_ = 0;
    setcontext(&main_);
    __builtin_unreachable();
  }

  bool tracing() const { return tracing_; }
  void note(const std::string& what) {
    if (tracing_) trace_.push_back("T" + std::to_string(running_) + "  " + what);
  }
  void note_access(const char* kind, std::uint64_t value, const std::source_location& site) {
    if (!tracing_) return;
    std::string file = site.file_name();
    file.erase(0, file.rfind('/') + 1);
    note(std::string{kind} + " " + std::to_string(static_cast<std::int64_t>(value)) + "   " + file + ":" +
         std::to_string(site.line()) + "  " + sites_.text(site));
  }

 private:
  static constexpr std::size_t kStackBytes = 64 * 1024;
  enum class State : std::uint8_t { kReady, kPaused, kParked, kDone };

  struct Fiber {
    ucontext_t context{};
    std::unique_ptr<char[]> stack;
    State state = State::kReady;
    bool timed = false;
    bool timed_out = false;
    bool read_stale = false;
    std::size_t parked_on = 0;
    std::uint64_t writes_seen = 0;
  };

  int timeout_limit() const { return bounds_.random > 0 ? preemptions_ + 10 : bounds_.preemptions; }
  int limit(int bound) const { return bounds_.random > 0 ? 1'000'000 : bound; }

  template <class Scenario>
  void execute() {
    memory_.reset();
    trace_.clear();
    depth_ = 0;
    steps_ = preemptions_ = stale_ = timeouts_ = 0;
    writes_ = 0;
    failed_ = false;
    running_ = 0;
    auto scenario = std::make_unique<Scenario>();
    threads_ = static_cast<std::size_t>(Scenario::kThreads);
    body_ = [&s = *scenario](int i) { s.thread(i); };
    may_sleep_ = [&s = *scenario] {
      if constexpr (requires { s.may_sleep(); }) return s.may_sleep();
      return false;
    };
    for (std::size_t i = 1; i <= threads_; ++i) {
      memory_.order_threads(0, i);
      Fiber& fiber = fibers_[i];
      fiber.state = State::kReady;
      fiber.read_stale = fiber.timed_out = false;
      fiber.writes_seen = 0;
      getcontext(&fiber.context);
      fiber.context.uc_stack.ss_sp = fiber.stack.get();
      fiber.context.uc_stack.ss_size = kStackBytes;
      fiber.context.uc_link = nullptr;
      makecontext(&fiber.context, &Explorer::enter, 0);
    }
    started_ = false;
    getcontext(&main_);  // fail() and the end of the last thread come back here
    if (!started_) {
      started_ = true;
      pass_on(false);
    }
    running_ = 0;
    if (!failed_) {
      for (std::size_t i = 1; i <= threads_; ++i) memory_.order_threads(i, 0);
      try {
        scenario->finally();
      } catch (const std::string&) {
      }
    }
    if (failed_) static_cast<void>(scenario.release());  // its threads are still in the middle of it
  }

  static void enter() {
    Explorer& self = *current();
    self.body_(static_cast<int>(self.running_));
    self.fibers_[self.running_].state = State::kDone;
    self.wrote();
    self.pass_on(false);
  }

  bool can_run(const Fiber& fiber) const {
    return fiber.state == State::kReady || (fiber.state == State::kPaused && fiber.writes_seen != writes_);
  }

  void pass_on(bool may_stay) {
    if (may_stay && preemptions_ >= limit(bounds_.preemptions)) return;
    std::array<std::size_t, kMaxThreads> candidates{};
    std::size_t count = 0;
    if (may_stay) candidates[count++] = running_;
    for (std::size_t i = 1; i <= threads_; ++i) {
      if ((!may_stay || i != running_) && can_run(fibers_[i])) candidates[count++] = i;
    }
    const std::size_t awake = count;
    for (std::size_t i = 1; i <= threads_ && (awake == 0 || preemptions_ + timeouts_ < timeout_limit()); ++i) {
      if (fibers_[i].state == State::kParked && fibers_[i].timed) candidates[count++] = i;
    }
    if (count == 0) return nobody_runs();
    const std::size_t next = candidates[choose(count)];
    if (may_stay && next != running_) ++preemptions_;
    Fiber& chosen = fibers_[next];
    if (chosen.state == State::kParked) {
      chosen.timed_out = true;
      timeouts_ += awake > 0 && !may_stay ? 1 : 0;  // a time limit that ends while others could run is a pre-emption
    }
    chosen.state = State::kReady;
    if (next == running_) return;
    const std::size_t before = running_;
    running_ = next;
    if (before == 0) {
      setcontext(&chosen.context);
    } else {
      swapcontext(&fibers_[before].context, &chosen.context);
    }
  }

  void nobody_runs() {
    bool parked = false;
    for (std::size_t i = 1; i <= threads_; ++i) {
      if (fibers_[i].state == State::kPaused) fail("livelock: a thread spins and nobody will write again");
      parked = parked || fibers_[i].state == State::kParked;
    }
    if (parked && !may_sleep_()) fail("deadlock: parked, work is left, and nobody will wake");
    running_ = 0;
    setcontext(&main_);
  }

  std::size_t choose(std::size_t count) {
    if (count == 1) return 0;
    if (depth_ == choices_.size()) {
      std::size_t first = 0;
      if (bounds_.random > 0 && !tracing_) {
        random_ = random_ * 6364136223846793005u + 1442695040888963407u;
        first = (random_ >> 60) < 10 ? 0 : (random_ >> 33) % count;  // mostly straight on, else anywhere
      }
      choices_.push_back(static_cast<std::uint8_t>(first));
      counts_.push_back(0);
    }
    counts_[depth_] = static_cast<std::uint8_t>(count);
    return choices_[depth_++];
  }

  bool next_execution(Result& result) {
    if (bounds_.random > 0) {
      choices_.clear();
      counts_.clear();
      return result.executions < bounds_.random;
    }
    choices_.resize(depth_);
    counts_.resize(depth_);
    while (!choices_.empty() && choices_.back() + 1 >= counts_.back()) {
      choices_.pop_back();
      counts_.pop_back();
    }
    if (choices_.empty()) {
      result.complete = true;
      return false;
    }
    ++choices_.back();
    return result.executions < bounds_.executions;
  }

  Bounds bounds_;
  Sites sites_;
  Memory memory_;
  std::array<Fiber, kMaxThreads> fibers_;
  ucontext_t main_{};
  std::function<void(int)> body_;
  std::function<bool()> may_sleep_;
  std::size_t threads_ = 0;
  volatile std::size_t running_ = 0;
  volatile bool started_ = false;
  volatile bool failed_ = false;
  bool tracing_ = false;
  std::string reason_;
  std::vector<std::string> trace_;
  int steps_ = 0, preemptions_ = 0, stale_ = 0, timeouts_ = 0;
  std::uint64_t writes_ = 0;
  std::uint64_t random_;
  std::vector<std::uint8_t> choices_, counts_;
  std::size_t depth_ = 0;
};

}  // namespace tailrace::model
