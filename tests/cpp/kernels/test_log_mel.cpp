// test_log_mel.cpp -- frames at every level, in buffers that end where the signals end.
#include "ops/log_mel/plan.hpp"

#include <cmath>
#include <complex>
#include <cstddef>
#include <limits>
#include <memory>
#include <new>
#include <numbers>
#include <vector>

#include "../harness.hpp"
#include "levels.hpp"

namespace {

using namespace tailrace::kernels;

// Aligned as scratch.hpp does it, and not a float longer than asked for.
class Scratch {
 public:
  explicit Scratch(std::size_t floats) : floats_(new (std::align_val_t{64}) float[floats]) {}
  ~Scratch() { ::operator delete[](floats_, std::align_val_t{64}); }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  float* data() { return floats_; }

 private:
  float* floats_;
};

// A filter per bin, so that each bin is seen.
LogMelRequest every_bin(std::size_t n_fft, std::size_t hop, bool center) {
  LogMelRequest request;
  request.n_fft = n_fft;
  request.hop = hop;
  request.mels = n_fft / 2 + 1;
  request.center = center;
  for (std::size_t i = 0; i < n_fft; ++i) request.window.push_back(0.5 + 0.4 * std::cos(static_cast<double>(i)));
  request.filters.assign(request.mels * request.mels, 0.0);
  for (std::size_t m = 0; m < request.mels; ++m) request.filters[m * request.mels + m] = 1;
  return request;
}

double sample_at(const std::vector<float>& x, std::ptrdiff_t i) {
  const auto samples = static_cast<std::ptrdiff_t>(x.size());
  if (i < 0) i = -i;
  if (i >= samples) i = 2 * (samples - 1) - i;
  return x[static_cast<std::size_t>(i)];
}

double power(const LogMelRequest& r, const std::vector<float>& x, std::size_t frame, std::size_t bin) {
  std::complex<double> sum;
  const auto begin =
      static_cast<std::ptrdiff_t>(frame * r.hop) - static_cast<std::ptrdiff_t>(r.center ? r.n_fft / 2 : 0);
  for (std::size_t i = 0; i < r.n_fft; ++i)
    sum += r.window[i] * sample_at(x, begin + static_cast<std::ptrdiff_t>(i)) *
           std::polar(1.0, -2 * std::numbers::pi * static_cast<double>(i * bin) / static_cast<double>(r.n_fft));
  return std::norm(sum);
}

void spectra_are_right(const LogMelRequest& request, std::size_t samples) {
  const LogMelPlan plan(request);
  const std::size_t frames = plan.frames(samples);
  std::vector<float> x(samples);
  for (std::size_t i = 0; i < samples; ++i)
    x[i] = static_cast<float>(std::sin(0.37 * static_cast<double>(i * i % 101)));
  tailrace::test::for_each_level([&](Isa isa) {
    std::vector<float> out(plan.mels() * frames, std::numeric_limits<float>::quiet_NaN());
    Scratch scratch(plan.scratch_floats());
    log_mel(isa).run(plan.task(x.data(), out.data(), 1, samples, scratch.data()));
    double worst = 0;
    for (std::size_t m = 0; m < plan.mels(); ++m) {
      for (std::size_t t = 0; t < frames; ++t) {
        const double expected = power(request, x, t, m),
                     found = std::pow(10.0, static_cast<double>(out[m * frames + t]));
        const double error = std::abs(found - expected) / (expected + 1e-3);
        worst = error <= worst ? worst : error;  // keeps a NaN
      }
    }
    CHECK(worst <= 1e-3);
  });
}

TEST(spectra_of_every_kind_of_length_are_right_and_end_where_they_end) {
  for (const std::size_t n_fft : {4u, 6u, 8u, 10u, 16u, 20u, 32u, 50u, 54u, 64u, 96u, 120u})
    for (const bool center : {false, true}) spectra_are_right(every_bin(n_fft, n_fft / 2 - 1, center), 3 * n_fft + 7);
}

TEST(signals_of_any_length_end_where_they_end) {
  for (const std::size_t hop : {1u, 5u, 33u})
    for (const std::size_t samples : {11u, 20u, 31u, 33u, 63u, 65u, 100u, 255u})
      for (const bool center : {false, true})
        if (center || samples >= 20) spectra_are_right(every_bin(20, hop, center), samples);
}

TEST(a_signal_too_short_has_no_frames) {
  CHECK_EQ(LogMelPlan(every_bin(20, 5, true)).frames(10), 0u);
  CHECK_EQ(LogMelPlan(every_bin(20, 5, true)).frames(11), 3u);
  CHECK_EQ(LogMelPlan(every_bin(20, 5, false)).frames(19), 0u);
  CHECK_EQ(LogMelPlan(every_bin(20, 5, false)).frames(20), 1u);
}

TEST(a_length_with_another_factor_is_refused) {
  CHECK(LogMelPlan::radices(7).empty());
  CHECK_THROWS(std::invalid_argument, LogMelPlan(every_bin(14, 5, true)));
}

}  // namespace
