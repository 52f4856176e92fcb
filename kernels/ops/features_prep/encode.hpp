// encode.hpp -- category columns as features: one-hot, and signed feature hashing.
//
// What      `CategoryEncoder`: learnt values of each one-hot column, a seed for each hashed one; `encode` writes rows.
// Why       A dense range of values is looked up in a table, one load; a sparse one by binary search. Hashing needs no table at all.
// Threads   Immutable once built; `encode` may run on any number of threads.
// Source    Weinberger et al. 2009, "Feature hashing for large scale multitask learning", section 2 (the sign keeps inner products
//           unbiased); XXH64 as its specification has it, for an input of eight bytes.
// Checked   tests/kernels/test_features_prep.py against the reference and published digests; tests/cpp/kernels.
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace tailrace::kernels {

// XXH64 of the value's eight bytes, little-endian.
inline std::uint64_t xxh64(std::uint64_t value, std::uint64_t seed) {
  constexpr std::uint64_t kPrime1 = 11400714785074694791u, kPrime2 = 14029467366897019727u,
                          kPrime3 = 1609587929392839161u, kPrime4 = 9650029242287828579u,
                          kPrime5 = 2870177450012600261u;
  std::uint64_t h = seed + kPrime5 + 8;
  h ^= std::rotl(value * kPrime2, 31) * kPrime1;
  h = std::rotl(h, 27) * kPrime1 + kPrime4;
  h = (h ^ (h >> 33)) * kPrime2;
  h = (h ^ (h >> 29)) * kPrime3;
  return h ^ (h >> 32);
}

class OneHotColumn {
 public:
  // Sorted, without repetition.
  explicit OneHotColumn(std::span<const std::int64_t> values) : values_(values.begin(), values.end()) {
    if (values_.empty()) return;
    const std::uint64_t span = static_cast<std::uint64_t>(values_.back()) - static_cast<std::uint64_t>(values_.front());
    if (span > 8 * values_.size() + 1024) return;
    table_.assign(span + 1, -1);
    for (std::size_t i = 0; i < values_.size(); ++i) table_[offset(values_[i])] = static_cast<std::int32_t>(i);
  }

  std::size_t width() const { return values_.size(); }

  // Its place, or -1 for a value that was not learnt.
  std::ptrdiff_t find(std::int64_t value) const {
    if (!table_.empty()) return offset(value) < table_.size() ? table_[offset(value)] : -1;
    const auto at = std::lower_bound(values_.begin(), values_.end(), value);
    return at != values_.end() && *at == value ? at - values_.begin() : -1;
  }

 private:
  std::uint64_t offset(std::int64_t value) const {
    return static_cast<std::uint64_t>(value) - static_cast<std::uint64_t>(values_.front());
  }

  std::vector<std::int64_t> values_;
  std::vector<std::int32_t> table_;  // by value, from the least; empty if values are too far apart
};

struct UnknownCategory {
  std::size_t row;
  std::size_t column;
};

class CategoryEncoder {
 public:
  void add_one_hot(std::size_t column, std::span<const std::int64_t> values) {
    one_hot_.push_back({column, one_hot_width_, OneHotColumn(values)});
    one_hot_width_ += values.size();
  }
  void add_hashed(std::size_t column, std::uint64_t seed) { hashed_.push_back({column, seed}); }
  void set_buckets(std::size_t buckets) { buckets_ = buckets; }
  void set_unknown_is_error(bool is_error) { unknown_is_error_ = is_error; }

  std::size_t columns() const { return one_hot_.size() + hashed_.size(); }
  std::size_t width() const { return one_hot_width_ + buckets_; }

  // `categories` is [rows, columns()]; row r of the features begins at out + r * out_stride. A refused value ends it.
  std::optional<UnknownCategory> encode(const std::int64_t* categories, std::size_t rows, float* out,
                                        std::size_t out_stride) const {
    for (std::size_t r = 0; r < rows; ++r, categories += columns(), out += out_stride) {
      std::fill_n(out, width(), 0.0F);
      for (const auto& one_hot : one_hot_) {
        const std::ptrdiff_t at = one_hot.values.find(categories[one_hot.column]);
        if (at >= 0)
          out[one_hot.first + static_cast<std::size_t>(at)] = 1.0F;
        else if (unknown_is_error_)
          return UnknownCategory{r, one_hot.column};
      }
      for (const auto& hashed : hashed_) {
        const std::uint64_t h = xxh64(static_cast<std::uint64_t>(categories[hashed.column]), hashed.seed);
        out[one_hot_width_ + h % buckets_] += h >> 63 ? -1.0F : 1.0F;
      }
    }
    return std::nullopt;
  }

 private:
  struct OneHot {
    std::size_t column;
    std::size_t first;  // of its features
    OneHotColumn values;
  };
  struct Hashed {
    std::size_t column;
    std::uint64_t seed;
  };

  std::vector<OneHot> one_hot_;
  std::vector<Hashed> hashed_;
  std::size_t one_hot_width_ = 0;
  std::size_t buckets_ = 0;  // 0 where no column is hashed
  bool unknown_is_error_ = false;
};

}  // namespace tailrace::kernels
