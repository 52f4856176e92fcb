// first.cpp -- the first example of docs/embedding.md: a plan, a request, a deadline.
#include <cstdio>

#include "tailrace/tailrace.hpp"

struct Request {
  int user = 0, history = 0, stock = 0, answer = 0;
  void load() { user += 1; }
  void read_history() { history = user * 2; }  // these two may run at the same time
  void read_stock() { stock = user * 3; }
  void rank() { answer = history + stock; }
};

int main() {
  tailrace::PlanBuilder builder;
  const auto load = builder.add<&Request::load>(), history = builder.add<&Request::read_history>();
  const auto stock = builder.add<&Request::read_stock>(), rank = builder.add<&Request::rank>();
  builder.edge(load, history), builder.edge(load, stock), builder.edge(history, rank), builder.edge(stock, rank);
  const tailrace::Plan plan = builder.compile();

  tailrace::Scheduler scheduler{{.workers = 2}};
  tailrace::Runner runner{plan, scheduler};
  Request request{.user = 41};
  const tailrace::Outcome how = runner.run(request, {.deadline_s = 10});
  std::printf("%s %d\n", name(how), request.answer);
}
