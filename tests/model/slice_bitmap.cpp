// slice_bitmap.cpp -- runs of slices over two words: nobody has a slice of another's, and "no gap" is never said wrongly.
#include "tailrace/pool/slice_bitmap.hpp"

#include <array>

#include "prove.hpp"

namespace {

using namespace tailrace::model;
using tailrace::pool::kNone;

// Says "no gap" after the first look, as if nobody could be in the middle of anything.
struct Hasty : tailrace::pool::SliceBitmap<ModelAtomics> {
  std::size_t claim(std::size_t n, std::size_t align) {
    bool lost = false;
    return search(n, align, lost);
  }
};
using Shipped = tailrace::pool::SliceBitmap<ModelAtomics>;

template <class Bits>
struct World {
  static constexpr std::size_t kSlices = 128;
  std::array<typename Bits::Word, 2> words{};
  Bits bits;
  std::array<Var<int>, 4> content{};  // of each 32 slices: touched by who has them
  std::array<int, 4> holders{};

  World() { bits.attach(words.data(), kSlices); }
  void hold(std::size_t first, std::size_t n, int who) {
    check(first + n <= kSlices, "a run goes past the end");
    for (std::size_t i = first / 32; i < (first + n) / 32; ++i) {
      check(++holders[i] == 1, "two have the same slices");
      content[i] = who;
    }
  }
  void give(std::size_t first, std::size_t n) {
    for (std::size_t i = first / 32; i < (first + n) / 32; ++i) --holders[i];
    bits.give(first, n);
  }
  void nothing_is_left() {
    for (std::size_t w = 0; w < 2; ++w) check(bits.word(w) == 0, "a slice was not given back");
  }
};

// Three claim what only one of them can have, over both words, and give it back. There is no order among them in which all
// may fail, but each may find that another has it.
template <class Bits>
struct Claims : World<Bits> {
  static constexpr int kThreads = 3;
  int won = 0;
  void thread(int i) {
    const std::size_t first = i == 1 ? 0 : i == 2 ? 32 : 64, n = i == 3 ? 64 : 96;
    if (!this->bits.claim_at(first, n)) return;
    ++won;
    this->hold(first, n, i);
    this->give(first, n);
  }
  void finally() {
    this->nothing_is_left();
    check(this->bits.claim(128, 1) == 0, "the whole is not one gap");
  }
};

// One asks for all, which it cannot get, as the last slices are taken: it withdraws. There is room for the other always.
template <class Bits>
struct Withdrawn : World<Bits> {
  static constexpr int kThreads = 2;
  Withdrawn() { check(this->bits.claim_at(96, 32), "the claim of a free run failed"); }
  void thread(int i) {
    if (i == 1) {
      check(!this->bits.claim_at(0, 128), "a claim got what was taken");
    } else {
      const std::size_t first = this->bits.claim(64, 1);
      check(first != kNone, "no gap, it says, while another only looked whether it fits");
      this->hold(first, 64, i);
      this->give(first, 64);
    }
  }
  void finally() { check(this->bits.claim(96, 1) == 0, "what was withdrawn is not free"); }
};

// What is purged is borrowed for a time. There is room for the other always, once the loan is over.
template <class Bits>
struct Lent : World<Bits> {
  static constexpr int kThreads = 2;
  Lent() { check(this->bits.claim_at(96, 32), "the claim of a free run failed"); }
  void thread(int i) {
    if (i == 1) {
      if (!this->bits.borrow_at(32, 64)) return;
      for (std::size_t k = 1; k < 3; ++k) this->content[k] = i;
      this->bits.return_loan(32, 64);
    } else {
      const std::size_t first = this->bits.claim(96, 1);
      check(first == 0, "no gap, it says, of what is only lent");
      this->hold(0, 96, i);
    }
  }
  void finally() {}
};

// The gap wanders: what one gives back comes before what it takes next. At every moment there is room for the other.
template <class Bits>
struct Wandering : World<Bits> {
  static constexpr int kThreads = 2;
  Wandering() {
    check(this->bits.claim_at(0, 64), "the claim of a free run failed");
    this->hold(0, 64, 1);
  }
  void thread(int i) {
    if (i == 1) {
      this->give(0, 64);
      if (!this->bits.claim_at(64, 64)) return;
      this->hold(64, 64, 1);
    } else {
      const std::size_t first = this->bits.claim(64, 1);
      check(first != kNone, "no gap, it says, of one that wandered");
      this->hold(first, 64, i);
    }
  }
  void finally() {}
};

TEST(a_slice_has_one_holder_who_sees_what_the_last_one_left) {
  prove<Claims<Shipped>>("three claims over two words", {.preemptions = 3, .stale_loads = 2});
  prove<Claims<Shipped>>("three claims over two words", {.random = 50'000});
}

TEST(no_gap_is_not_said_while_a_claim_that_will_be_withdrawn_is_half_done) {
  prove<Withdrawn<Shipped>>("a claim that is withdrawn", {.preemptions = 3, .stale_loads = 2});
  prove<Lent<Shipped>>("a loan", {.preemptions = 3, .stale_loads = 2});
  prove<Wandering<Shipped>>("a gap that wanders", {.preemptions = 3, .stale_loads = 2});
  prove<Withdrawn<Shipped>>("a claim that is withdrawn", {.random = 50'000});
}

TEST(the_check_of_the_bitmap_catches_its_mutants) {
  const Bounds small{.preemptions = 3, .stale_loads = 2};
  auto weakened = [&](const char* text, Order order, std::optional<std::uint64_t> reads = {}) {
    Bounds bounds = small;
    bounds.mutants = {{text, order, reads}};
    return bounds;
  };
  catches<Withdrawn<Hasty>>("a first look is a verdict, a withdrawal", small);
  catches<Lent<Hasty>>("a first look is a verdict, a loan", small);
  catches<Wandering<Hasty>>("a first look is a verdict, a gap that wanders", small);
  catches<Claims<Shipped>>("a claim acquires nothing",
                           weakened("compare_exchange_weak(seen, seen | bits", std::memory_order_release));
  catches<Withdrawn<Shipped>>("a claim does not say that it is half done",
                              weakened("compare_exchange_weak(seen, seen | bits", std::memory_order_acquire));
  catches<Claims<Shipped>>("what is given back releases nothing",
                           weakened("fetch_and(~mask(at % 64, part)", std::memory_order_relaxed));
  catches<Withdrawn<Shipped>>("nobody asks for half-done claims",
                              weakened("half_done = claiming_.load", std::memory_order_acquire, 0));
  catches<Withdrawn<Shipped>>("half-done claims are asked for relaxed",
                              weakened("half_done = claiming_.load", std::memory_order_relaxed));
  catches<Wandering<Shipped>>("nobody asks for what was given back",
                              weakened("withdrawn_.load(base::acquire)", std::memory_order_acquire, 0));
  catches<Withdrawn<Shipped>>("a search reads the bits relaxed",
                              weakened("bits = words_[w].load", std::memory_order_relaxed));
}

}  // namespace
