// parallel.hpp -- loops over a range of indices that other threads may help with.
//
// What      `fork_n`, `parallel_for`, `parallel_reduce`.
// Why       What is left of the range is one stealable record: the owner takes its next chunk from it in place, a thief
//           takes all of it and cuts it in half. So a loop of n chunks that nobody steals from makes one push, not n.
// Threads   On the thread that the place belongs to. Bodies run at any place, several at once.
// Source    Tzannes, Caragea, Barua, Vishkin 2010, "Lazy Binary-Splitting" (split when stolen, not before).
// Checked   tests/cpp/sched/test_parallel.cpp, tests/stress/fork_join.cpp.
#pragma once

#include <cstddef>
#include <type_traits>
#include <utility>

#include "tailrace/sched/fork_join.hpp"
#include "tailrace/sched/range.hpp"

namespace tailrace::sched {

namespace detail {

struct Nothing {};

template <class Body>
[[gnu::always_inline]] inline decltype(auto) call_at(Body& body, Place& place, std::size_t i) {
  if constexpr (std::is_invocable_v<Body&, Place&, std::size_t>) {
    return body(place, i);
  } else {
    return body(i);
  }
}

template <class Body, class Grain>
struct Each : Loop<Grain> {
  using Value = Nothing;
  Body& body;
  Each(Body& does, Grain how, CancelToken token) : Loop<Grain>{how, token}, body{does} {}
  Value none() const { return {}; }
  [[gnu::always_inline]] void chunk(Place& place, std::size_t first, std::size_t last, Value&) {
    for (std::size_t i = first; i < last; ++i) call_at(body, place, i);
  }
  void merge(Value&, Value&&) const {}
};

template <class T, class Map, class Combine, class Grain>
struct Reduction : Loop<Grain> {
  using Value = T;
  const T& identity;
  Map& map;
  Combine& combine;
  Reduction(const T& zero, Map& maps, Combine& combines, Grain how, CancelToken token)
      : Loop<Grain>{how, token}, identity{zero}, map{maps}, combine{combines} {}
  Value none() const { return identity; }
  [[gnu::always_inline]] void chunk(Place& place, std::size_t first, std::size_t last, Value& sum) {
    for (std::size_t i = first; i < last; ++i) sum = combine(std::move(sum), call_at(map, place, i));
  }
  void merge(Value& left, Value&& right) const { left = combine(std::move(left), std::move(right)); }
};

}  // namespace detail

struct ForOptions {
  std::size_t grain = 0;  // indices that are run without a look at who wants work; 0: found out by time
  CancelToken token = {};  // once cancelled, chunks that have not begun are left out
};

// Runs body(i) or body(place, i) for every i in [first, last), in chunks, possibly at once and in any order. After an
// exception, chunks that have not begun are left out; the first exception is thrown when all that had begun has ended.
template <class Body>
void parallel_for(Place& place, std::size_t first, std::size_t last, Body&& body, ForOptions options = {}) {
  using B = std::remove_reference_t<Body>;
  if (options.grain != 0) {
    detail::Each<B, detail::FixedGrain> loop{body, {options.grain}, options.token};
    detail::run_range(place, loop, first, last);
  } else {
    detail::Each<B, detail::TimedGrain> loop{body, {}, options.token};
    detail::run_range(place, loop, first, last);
  }
}

// Runs body(0) .. body(n - 1), each of which is worth stealing. What parallel_for says of exceptions holds here too.
template <class Body>
void fork_n(Place& place, std::size_t n, Body&& body) {
  detail::Each<std::remove_reference_t<Body>, detail::OneByOne> loop{body, {}, {}};
  detail::run_range(place, loop, 0, n);
}

// combine(... combine(combine(identity, map(first)), map(first + 1)) ..., map(last - 1)): `combine` must be associative,
// with `identity` as its neutral element; the order of its operands is kept, how they are bracketed is not. When
// cancelled, returns what has been combined so far.
template <class T, class Map, class Combine>
T parallel_reduce(Place& place, std::size_t first, std::size_t last, const T& identity, Map&& map, Combine&& combine,
                  ForOptions options = {}) {
  using M = std::remove_reference_t<Map>;
  using C = std::remove_reference_t<Combine>;
  if (options.grain != 0) {
    detail::Reduction<T, M, C, detail::FixedGrain> loop{identity, map, combine, {options.grain}, options.token};
    return detail::run_range(place, loop, first, last);
  }
  detail::Reduction<T, M, C, detail::TimedGrain> loop{identity, map, combine, {}, options.token};
  return detail::run_range(place, loop, first, last);
}

}  // namespace tailrace::sched
