// plan.hpp -- the tables of log_mel for one window, hop and bank of filters.
//
// What      `LogMelPlan(request)`: window, passes and twiddles of the transform, the filters without their zeros; `task(...)`.
// Why       Everything that does not depend on the signal is worked out once, in double.
// Threads   Immutable after construction.
// Source    Mixed radix, decimation in frequency, in place (Cooley and Tukey, 1965; Van Loan, Computational Frameworks for the
//           Fast Fourier Transform, 1992, section 2.1); a real transform as a complex one of half the length (section 4.3 there).
// Checked   tests/kernels/test_log_mel.py compares with a float64 transform for every kind of length.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <numbers>
#include <stdexcept>
#include <vector>

#include "ops/log_mel/cpu.hpp"

namespace tailrace::kernels {

struct LogMelRequest {
  std::size_t n_fft = 0, hop = 0, mels = 0;
  bool center = true, reflect = true;
  float floor = 1e-10f;
  std::vector<double> window;  // [n_fft]
  std::vector<double> filters;  // [mels, n_fft / 2 + 1]
};

class LogMelPlan {
 public:
  // The radices of a transform of this length, or none if it has a factor other than 2, 3 and 5.
  static std::vector<std::uint32_t> radices(std::size_t length) {
    std::vector<std::uint32_t> all;
    for (const std::uint32_t radix : {8u, 5u, 4u, 3u, 2u}) {
      // 16 is better split into 4 and 4 than into 8 and 2.
      while (length % radix == 0 && !(radix == 8 && length % 32 == 16)) {
        all.push_back(radix);
        length /= radix;
      }
    }
    if (length != 1) all.clear();
    return all;
  }

  explicit LogMelPlan(const LogMelRequest& request)
      : n_fft_(request.n_fft),
        hop_(request.hop),
        mels_(request.mels),
        before_(request.center ? request.n_fft / 2 : 0),
        reflect_(request.reflect),
        floor_(request.floor) {
    const std::size_t half = n_fft_ / 2;
    const std::vector<std::uint32_t> factors =
        n_fft_ % 2 == 0 && half > 1 ? radices(half) : std::vector<std::uint32_t>{};
    if (factors.empty() || factors.size() > kMostPasses || request.window.size() != n_fft_ || hop_ == 0 ||
        request.filters.size() != mels_ * (half + 1))
      throw std::invalid_argument("log_mel: the face has not checked its arguments");
    window_.assign(padded_rows(), 0.0f);
    for (std::size_t i = 0; i < n_fft_; ++i) window_[i] = static_cast<float>(request.window[i]);
    make_passes(factors);
    make_places(factors);
    for (std::size_t k = 0; k <= half / 2; ++k) {
      const double angle = 2 * std::numbers::pi * static_cast<double>(k) / static_cast<double>(n_fft_);
      split_.push_back(static_cast<float>(std::cos(angle)));
      split_.push_back(static_cast<float>(std::sin(angle)));
    }
    make_filters(request.filters);
  }

  std::size_t mels() const { return mels_; }
  std::size_t n_fft() const { return n_fft_; }

  // How many frames a signal gives; 0 if it is too short.
  std::size_t frames(std::size_t samples) const {
    if (before_ > 0 && samples <= (reflect_ ? before_ : 0)) return 0;
    const std::size_t padded = samples + 2 * before_;
    return padded < n_fft_ ? 0 : (padded - n_fft_) / hop_ + 1;
  }

  std::size_t scratch_floats() const { return padded_rows() * kMostLanes + kMostLanes * hop_ + padded_rows(); }

  double estimated_ns(std::size_t frames) const { return static_cast<double>(frames * n_fft_) * 0.6; }

  LogMelTask task(const float* x, float* out, std::size_t count, std::size_t samples, float* scratch) const {
    LogMelTask t;
    t.x = x;
    t.out = out;
    t.scratch = scratch;
    t.count = count;
    t.samples = samples;
    t.frames = frames(samples);
    t.n_fft = n_fft_;
    t.hop = hop_;
    t.mels = mels_;
    t.before = before_;
    t.reflect = reflect_;
    t.window = window_.data();
    t.passes = passes_.size();
    std::copy(passes_.begin(), passes_.end(), t.pass);
    const float* twiddles = twiddles_.data();
    for (std::size_t p = 0; p < passes_.size(); ++p) {
      t.pass[p].twiddles = twiddles;
      twiddles += 2 * (passes_[p].length / passes_[p].radix) * (passes_[p].radix - 1);
    }
    t.place = place_.data();
    t.split = split_.data();
    t.bin_row = bin_row_.data();
    t.filter_first = filter_first_.data();
    t.filter_begin = filter_begin_.data();
    t.filter_weights = filter_weights_.data();
    t.floor = floor_;
    return t;
  }

 private:
  std::size_t padded_rows() const { return (n_fft_ + kMostLanes - 1) / kMostLanes * kMostLanes; }

  void make_passes(const std::vector<std::uint32_t>& factors) {
    auto length = static_cast<std::uint32_t>(n_fft_ / 2);
    for (const std::uint32_t radix : factors) {
      passes_.push_back({radix, length, nullptr});
      for (std::uint32_t n = 0; n < length / radix; ++n) {
        for (std::uint32_t q = 1; q < radix; ++q) {
          const double angle = -2 * std::numbers::pi * n * q / length;
          twiddles_.push_back(static_cast<float>(std::cos(angle)));
          twiddles_.push_back(static_cast<float>(std::sin(angle)));
        }
      }
      length /= radix;
    }
  }

  // Frequency k = q1 + r1 (q2 + r2 (...)) is left at q1 N / r1 + q2 N / (r1 r2) + ...
  void make_places(const std::vector<std::uint32_t>& factors) {
    const std::size_t half = n_fft_ / 2;
    for (std::size_t k = 0; k < half; ++k) {
      std::size_t rest = k, length = half, at = 0;
      for (const std::uint32_t radix : factors) {
        length /= radix;
        at += rest % radix * length;
        rest /= radix;
      }
      place_.push_back(static_cast<std::uint32_t>(at));
      bin_row_.push_back(static_cast<std::uint32_t>(2 * at));
    }
    bin_row_.push_back(1);  // the highest one stands where the imaginary part of the lowest was
  }

  void make_filters(const std::vector<double>& filters) {
    const std::size_t bins = n_fft_ / 2 + 1;
    filter_begin_.push_back(0);
    for (std::size_t m = 0; m < mels_; ++m) {
      const auto row = filters.begin() + static_cast<std::ptrdiff_t>(m * bins);
      const auto end = row + static_cast<std::ptrdiff_t>(bins);
      const auto not_zero = [](double w) { return w != 0; };
      const auto first = std::find_if(row, end, not_zero);
      auto last = end;
      while (last != first && last[-1] == 0) --last;
      filter_first_.push_back(first == end ? 0 : static_cast<std::uint32_t>(first - row));
      for (auto w = first; w != last; ++w) filter_weights_.push_back(static_cast<float>(*w));
      filter_begin_.push_back(static_cast<std::uint32_t>(filter_weights_.size()));
    }
  }

  std::size_t n_fft_, hop_, mels_, before_;
  bool reflect_;
  float floor_;
  std::vector<LogMelPass> passes_;
  std::vector<float> window_, twiddles_, split_, filter_weights_;
  std::vector<std::uint32_t> place_, bin_row_, filter_first_, filter_begin_;
};

}  // namespace tailrace::kernels
