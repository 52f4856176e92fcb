// service.cpp -- a small service: several threads bring requests, each goes through one plan within its deadline.
//
// What is full refuses at once, what is late or malformed gets its own reply, and at the end every request has had
// exactly one. A network server would call `Service::accept` from its connection threads and write in `Request::reply`.
#include <array>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "tailrace/tailrace.hpp"

namespace {

using tailrace::Outcome;

// What came of the requests; written by whoever replies.
struct Replies {
  std::array<std::atomic<int>, 6> by_outcome{};
  std::atomic<int> wrong{0};
};

int work(int value, int rounds) {
  for (int i = 0; i < rounds; ++i) value = (value * 31 + i) % 1009;
  return value;
}

class Request {
 public:
  Request(std::string text, Replies& replies) : text_{std::move(text)}, replies_{replies} {}

  // The steps. `profile` and `candidates` may run at the same time: each writes what is its own.
  void parse() {
    number_ = std::stoi(text_);  // throws std::invalid_argument: the run fails, and its reply says so
  }
  void profile() { profile_ = work(number_, 500); }
  void candidates(tailrace::RunState& run) {
    for (int part = 0; part < 10 && run.ending.is_open(); ++part) candidates_ += work(number_ + part, 100);
  }
  void rank() { answer_ = profile_ + candidates_; }

  // The run is settled: the place to answer. Another step may still be running when it is late, so `answer_` is only
  // touched for kOk, when all steps have ended.
  static void reply(void* request, Outcome how) {
    const auto& self = *static_cast<Request*>(request);
    self.replies_.by_outcome[static_cast<std::size_t>(how)].fetch_add(1);
    if (how == Outcome::kOk && self.answer_ != right_answer(self.number_)) self.replies_.wrong.fetch_add(1);
  }
  // No step uses the request any more.
  static void free(void* request) { delete static_cast<Request*>(request); }

 private:
  static int right_answer(int number) {
    int sum = work(number, 500);
    for (int part = 0; part < 10; ++part) sum += work(number + part, 100);
    return sum;
  }

  const std::string text_;
  Replies& replies_;
  int number_ = 0, profile_ = 0, candidates_ = 0, answer_ = 0;
};

tailrace::Plan make_plan() {
  tailrace::PlanBuilder builder;
  const auto parse = builder.add<&Request::parse>();
  const auto profile = builder.add<&Request::profile>();
  const auto candidates = builder.add<&Request::candidates>();
  const auto rank = builder.add<&Request::rank>();
  builder.edge(parse, profile);
  builder.edge(parse, candidates);
  builder.edge(profile, rank);
  builder.edge(candidates, rank);
  return builder.compile();
}

class Service {
 public:
  explicit Service(int workers) : scheduler_{{.name = "service", .workers = workers}} {}

  // From any thread. False: full, or stopping; the request was not touched and is gone.
  bool accept(std::unique_ptr<Request> request, double deadline_s) {
    const tailrace::Run run =
        runner_.start(*request, {.deadline_s = deadline_s, .on_settled = &Request::reply, .on_fired = &Request::free});
    if (run.outcome() == Outcome::kRejected) return false;
    static_cast<void>(request.release());  // on_fired frees it, and may have done so already
    return true;  // the handle goes; the run does not
  }

  // After the threads that accept have ended: waits for what they have brought.
  tailrace::RunnerStatistics stop() {
    scheduler_.drain();
    scheduler_.stop_begin();
    scheduler_.stop_wait(tailrace::kNever);
    return runner_.statistics();
  }

 private:
  // In the order in which they are needed; they go in the opposite one.
  const tailrace::Plan plan_ = make_plan();
  tailrace::Scheduler scheduler_;
  tailrace::Runner runner_{plan_, scheduler_, {.max_in_flight = 32}};
};

}  // namespace

int main(int argc, char** argv) {
  const int each = argc > 1 ? std::atoi(argv[1]) : 2000;
  constexpr int kProducers = 4;
  Replies replies;
  std::atomic<int> refused{0};
  Service service{2};

  std::vector<std::thread> producers;
  for (int p = 0; p < kProducers; ++p) {
    producers.emplace_back([&, p] {
      for (int i = 0; i < each; ++i) {
        const std::string text = i % 100 == 50 ? "no number" : std::to_string(p * each + i);
        const double deadline_s = i % 50 == 49 ? 0 : 10;  // some come too late already
        if (!service.accept(std::make_unique<Request>(text, replies), deadline_s)) {
          refused.fetch_add(1);
          std::this_thread::yield();
        }
      }
    });
  }
  for (std::thread& producer : producers) producer.join();
  const tailrace::RunnerStatistics s = service.stop();

  const auto replied = [&replies](Outcome how) { return replies.by_outcome[static_cast<std::size_t>(how)].load(); };
  std::printf("%llu requests: %llu ok, %llu failed, %llu too late, %llu refused; %llu blocks\n",
              static_cast<unsigned long long>(s.submitted), static_cast<unsigned long long>(s.ok),
              static_cast<unsigned long long>(s.failed), static_cast<unsigned long long>(s.timed_out),
              static_cast<unsigned long long>(s.rejected), static_cast<unsigned long long>(s.blocks));
  const bool every_one_has_its_reply = s.in_flight == 0 &&
                                       s.submitted == static_cast<std::uint64_t>(kProducers * each) &&
                                       s.submitted == s.ok + s.failed + s.cancelled + s.rejected + s.timed_out &&
                                       s.ok == static_cast<std::uint64_t>(replied(Outcome::kOk)) &&
                                       s.failed == static_cast<std::uint64_t>(replied(Outcome::kFailed)) &&
                                       s.timed_out == static_cast<std::uint64_t>(replied(Outcome::kTimedOut)) &&
                                       s.rejected == static_cast<std::uint64_t>(refused.load());
  std::printf("%s\n", every_one_has_its_reply && replies.wrong == 0 ? "every request has had its one reply" : "WRONG");
  return every_one_has_its_reply && replies.wrong == 0 ? 0 : 1;
}
