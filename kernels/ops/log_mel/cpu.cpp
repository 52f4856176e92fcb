// The CPU kernel of log_mel: window, transform, power, filters and logarithm of as many frames as a register has lanes.
#include "ops/log_mel/cpu.hpp"

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "cpu/target.hpp"
#include "ops/log_mel/lanes.hpp"
#include "ops/log_mel/transform.hpp"

namespace tailrace::kernels::TAILRACE_ISA {
namespace {

// Power of every bin, in place. The transform is that of the even samples (real) and of the odd ones (imaginary) at once:
// X[k] = E + T and X[N/2 - k] = conj(E - T), where E is theirs of the even, and T that of the odd ones turned by k.
void powers(const LogMelTask& t, Lanes* z) {
  const std::size_t half = t.n_fft / 2;
  const Lanes lowest = z[0] + z[1], highest = z[0] - z[1];
  z[0] = lowest * lowest;
  z[1] = highest * highest;
  for (std::size_t k = 1; k <= half / 2; ++k) {
    Lanes* near = z + 2 * std::size_t{t.place[k]};
    Lanes* far = z + 2 * std::size_t{t.place[half - k]};
    const Lanes even_re = 0.5f * (near[0] + far[0]), even_im = 0.5f * (near[1] - far[1]);
    const Lanes odd_re = 0.5f * (near[1] + far[1]), odd_im = 0.5f * (far[0] - near[0]);
    const float cosine = t.split[2 * k], sine = t.split[2 * k + 1];
    const Lanes turned_re = odd_re * cosine + odd_im * sine, turned_im = odd_im * cosine - odd_re * sine;
    const Lanes re = even_re + turned_re, im = even_im + turned_im;
    const Lanes far_re = even_re - turned_re, far_im = even_im - turned_im;
    far[0] = far_re * far_re + far_im * far_im;
    near[0] = re * re + im * im;
  }
}

void filters(const LogMelTask& t, const Lanes* z, float* out, std::size_t lanes) {
  for (std::size_t m = 0; m < t.mels; ++m) {
    const std::uint32_t* row = t.bin_row + t.filter_first[m];
    const float* weight = t.filter_weights + t.filter_begin[m];
    const std::size_t bins = t.filter_begin[m + 1] - t.filter_begin[m];
    Lanes sum{};
    for (std::size_t k = 0; k < bins; ++k) sum += z[row[k]] * weight[k];
    sum = sum < splat(t.floor) ? splat(t.floor) : sum;
    const Lanes result = log10_of(sum);
    std::memcpy(out + m * t.frames, &result, lanes * sizeof(float));
  }
}

// The samples of a group of frames where some of them lie outside of the signal, or of the group: mirrored, or zeros.
void copy_padded(const LogMelTask& t, const float* x, std::ptrdiff_t begin, std::ptrdiff_t n, float* to) {
  const auto samples = static_cast<std::ptrdiff_t>(t.samples);
  const std::ptrdiff_t first = std::clamp<std::ptrdiff_t>(-begin, 0, n);
  const std::ptrdiff_t last = std::clamp<std::ptrdiff_t>(samples - begin, first, n);
  for (std::ptrdiff_t i = 0; i < first; ++i) {
    const std::ptrdiff_t mirrored = -(begin + i);
    to[i] = t.reflect && mirrored < samples ? x[mirrored] : 0.0f;
  }
  if (last > first) std::memcpy(to + first, x + begin + first, static_cast<std::size_t>(last - first) * sizeof(float));
  for (std::ptrdiff_t i = last; i < n; ++i) {
    const std::ptrdiff_t mirrored = 2 * (samples - 1) - (begin + i);
    to[i] = t.reflect && mirrored >= 0 && mirrored < samples ? x[mirrored] : 0.0f;
  }
}

void one_signal(const LogMelTask& t, const float* x, float* out) {
  const std::size_t rows = (t.n_fft + kMostLanes - 1) / kMostLanes * kMostLanes;
  auto* z = reinterpret_cast<Lanes*>(t.scratch);
  float* copied = t.scratch + rows * kMostLanes;
  const std::size_t span = (kLanes - 1) * t.hop + rows;
  for (std::size_t frame = 0; frame < t.frames; frame += kLanes) {
    const auto begin = static_cast<std::ptrdiff_t>(frame * t.hop) - static_cast<std::ptrdiff_t>(t.before);
    const float* from = copied;
    if (begin < 0 || static_cast<std::size_t>(begin) + span > t.samples)
      copy_padded(t, x, begin, static_cast<std::ptrdiff_t>(span), copied);
    else
      from = x + begin;
    for (std::size_t i = 0; i < rows; i += kLanes) load_frames(from + i, t.hop, t.window + i, z + i);
    transform(t, z);
    powers(t, z);
    filters(t, z, out + frame, std::min(kLanes, t.frames - frame));
  }
}

void run(const LogMelTask& t) {
  for (std::size_t n = 0; n < t.count; ++n) one_signal(t, t.x + n * t.samples, t.out + n * t.mels * t.frames);
}

}  // namespace

const LogMelKernels log_mel = {&run};

}  // namespace tailrace::kernels::TAILRACE_ISA

#include "cpu/end_target.hpp"
