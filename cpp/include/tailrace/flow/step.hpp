// step.hpp -- a function of the request as a node of a plan.
//
// What      `builder.add<&Request::rank>()` adds a node that calls that member, or a function of `Request&`, with the
//           request its run was started with; `Run&` as a second parameter lets a long step ask whether it still matters.
// Why       A plan is compiled once and serves every request, so what differs must come with the run. The builder notes
//           the type, so a request of another type is refused and not misread.
// Threads   Steps of one run that no edge orders may run at the same time, on the same request.
// Checked   tests/cpp/flow/test_runner.cpp.
#pragma once

#include <functional>
#include <type_traits>

#include "tailrace/flow/run.hpp"

namespace tailrace::flow {

namespace detail {

// The request that a step takes, as the type of a pointer to it; never called.
template <class Result, class Request>
Request* request_of(Result (Request::*)());
template <class Result, class Request>
Request* request_of(Result (Request::*)() const);
template <class Result, class Request>
Request* request_of(Result (Request::*)(Run&));
template <class Result, class Request>
Request* request_of(Result (*)(Request&));
template <class Result, class Request>
Request* request_of(Result (*)(Request&, Run&));

}  // namespace detail

template <auto Step>
NodeIndex PlanBuilder::add() {
  using Request = std::remove_pointer_t<decltype(detail::request_of(Step))>;
  expect(request_type<std::remove_const_t<Request>>());
  const Body body = [](Run& run, NodeIndex, void*, sched::Worker*) {
    auto call = [&run] {
      auto& request = *static_cast<Request*>(run.request);
      if constexpr (std::is_invocable_v<decltype(Step), Request&, Run&>) {
        return std::invoke(Step, request, run);
      } else {
        return std::invoke(Step, request);
      }
    };
    static_assert(std::is_void_v<decltype(call())>,
                  "a step returns nothing: results go into the request, errors are thrown");
    try {
      call();
    } catch (...) {
      return fail_with_current_exception(run);
    }
    return base::Verdict::kDone;
  };
  return add(body, nullptr);
}

}  // namespace tailrace::flow
