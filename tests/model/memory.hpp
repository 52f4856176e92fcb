// memory.hpp -- the model checker's memory: every value a location ever held, and what each thread may still read.
//
// What      Views over histories. A location keeps all its stores in modification order; a thread's view is the oldest
//           store of each location that it may still read. A release store carries its thread's view, an acquire load
//           joins it; sequentially consistent accesses share a floor for each location. Vector clocks find races.
// Why       Store buffers alone would show only what x86 does; a thread that may read old values also shows a missing
//           acquire, on any machine.
// Threads   One at a time: the explorer's fibers.
// Source    Kang, Hur, Lahav, Vafeiadis, Dreyer 2017, "A Promising Semantics" (views; without the promises);
//           Lahav et al. 2017, "Repairing Sequential Consistency in C/C++11"; Flanagan, Freund 2009, "FastTrack".
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace tailrace::model {

using Order = std::memory_order;

inline constexpr std::size_t kMaxThreads = 6;      // number 0 sets up and looks at the end
inline constexpr std::size_t kMaxLocations = 128;  // atomics in one execution

inline bool acquires(Order order) {
  return order == std::memory_order_acquire || order == std::memory_order_acq_rel || order == std::memory_order_seq_cst;
}
inline bool releases(Order order) {
  return order == std::memory_order_release || order == std::memory_order_acq_rel || order == std::memory_order_seq_cst;
}

struct View {
  std::array<std::uint16_t, kMaxLocations> oldest{};  // by location: the oldest store that may still be read
  std::array<std::uint32_t, kMaxThreads> clock{};     // by thread: how much of it happened before

  void join(const View& other, std::size_t locations) {
    for (std::size_t i = 0; i < locations; ++i) oldest[i] = oldest[i] < other.oldest[i] ? other.oldest[i] : oldest[i];
    for (std::size_t i = 0; i < kMaxThreads; ++i) clock[i] = clock[i] < other.clock[i] ? other.clock[i] : clock[i];
  }
};

struct Store {
  std::uint64_t value = 0;
  bool carries = false;  // has a view for who acquires it
  View view;
};

struct Location {
  std::vector<Store> history;
  std::size_t length = 0;      // of the history in use (its memory is kept between executions)
  std::uint16_t sc_floor = 0;  // no sequentially consistent load may read anything older
  std::size_t creator = 0;
  std::uint32_t created = 0;
};

class Memory {
 public:
  void reset() {
    used_ = 0;
    for (View& view : views_) view = View{};
    for (std::size_t i = 0; i < kMaxThreads; ++i) views_[i].clock[i] = 1;
  }

  bool full() const { return used_ == kMaxLocations; }

  std::size_t create(std::size_t thread, std::uint64_t value) {
    if (used_ == locations_.size()) locations_.emplace_back();
    Location& location = locations_[used_];
    location.length = 0;
    location.sc_floor = 0;
    location.creator = thread;
    location.created = views_[thread].clock[thread];
    append(location).value = value;
    return used_++;
  }

  bool construction_seen(std::size_t thread, std::size_t where) const {
    const Location& location = locations_[where];
    return location.created <= views_[thread].clock[location.creator];
  }

  std::size_t newest(std::size_t where) const { return locations_[where].length - 1; }
  std::uint64_t value(std::size_t where, std::size_t index) const { return locations_[where].history[index].value; }

  // The oldest store that `thread` may read with `order`.
  std::size_t oldest(std::size_t thread, std::size_t where, Order order) const {
    const std::size_t own = views_[thread].oldest[where];
    const std::size_t floor = order == std::memory_order_seq_cst ? locations_[where].sc_floor : 0;
    return own < floor ? floor : own;
  }

  void load(std::size_t thread, std::size_t where, std::size_t index, Order order) {
    Location& location = locations_[where];
    View& view = views_[thread];
    view.oldest[where] = static_cast<std::uint16_t>(index);
    if (acquires(order) && location.history[index].carries) view.join(location.history[index].view, used_);
    if (order == std::memory_order_seq_cst && location.sc_floor < index) {
      location.sc_floor = static_cast<std::uint16_t>(index);
    }
  }

  // A read-modify-write passes on the view of the store it replaces: it continues its release sequence.
  void store(std::size_t thread, std::size_t where, std::uint64_t value, Order order, bool modifies) {
    Location& location = locations_[where];
    View& view = views_[thread];
    const std::size_t before = location.length - 1;
    Store& made = append(location);
    const Store& last = location.history[before];
    made.value = value;
    view.oldest[where] = static_cast<std::uint16_t>(before + 1);
    made.carries = false;
    if (modifies && last.carries) {
      made.view = last.view;
      made.carries = true;
    }
    if (releases(order)) {
      if (made.carries) {
        made.view.join(view, used_);
      } else {
        made.view = view;
      }
      made.carries = true;
      ++view.clock[thread];
    }
    if (order == std::memory_order_seq_cst) location.sc_floor = static_cast<std::uint16_t>(before + 1);
  }

  // The start of a thread follows what `from` did; its end comes before what `to` does.
  void order_threads(std::size_t from, std::size_t to) {
    views_[to].join(views_[from], used_);
    ++views_[from].clock[from];
  }

  // A full barrier of `other`, made for a membarrier of `caller` that began with the view `began`: what the caller had seen
  // and done by then is seen by the other from here on, and what the other has by the caller after its call. It carries
  // visibility only: it is no happens-before for plain fields.
  void barrier(std::size_t other, std::size_t caller, const View& began) {
    raise(views_[other], began);
    raise(views_[caller], views_[other]);
  }

  const View& view(std::size_t thread) const { return views_[thread]; }

 private:
  void raise(View& view, const View& to) const {
    for (std::size_t i = 0; i < used_; ++i) {
      view.oldest[i] = view.oldest[i] < to.oldest[i] ? to.oldest[i] : view.oldest[i];
    }
  }

  static Store& append(Location& location) {
    if (location.length == location.history.size()) location.history.emplace_back();
    Store& made = location.history[location.length++];
    made.carries = false;
    return made;
  }

  std::vector<Location> locations_;
  std::size_t used_ = 0;
  std::array<View, kMaxThreads> views_{};
};

}  // namespace tailrace::model
