// The CPU kernels of image_prep: each source row that is needed is squeezed once, then two of them make a row of the output.
#include "ops/image_prep/cpu.hpp"

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "cpu/target.hpp"

namespace tailrace::kernels::TAILRACE_ISA {
namespace {

inline std::size_t padded(std::size_t width) { return (width + kImageGroup - 1) / kImageGroup * kImageGroup; }

// One source row to `squeezed`, [channels, padded width], in units of the integer weights. Columns from `x` on.
void squeeze_rest(const ImagePrepTask& t, const std::uint8_t* row, float* squeezed, std::size_t x) {
  const std::size_t stride = padded(t.width);
  for (; x < t.width; ++x) {
    const std::uint8_t* p = row + t.column_offset[x];
    const std::int16_t* w = t.column_weights + 8 * x;
    if (t.channels == 1) {
      std::int32_t sum = 0;
      for (int i = 0; i < 6; ++i) sum += p[i] * w[i];
      squeezed[x] = static_cast<float>(sum);
    } else {
      for (std::size_t c = 0; c < 3; ++c)
        squeezed[c * stride + x] = static_cast<float>(p[c] * w[2 * c] + p[3 + c] * w[2 * c + 1]);
    }
  }
}

#if TAILRACE_ISA_LEVEL >= 1
inline __m128i eight_bytes(const std::uint8_t* p) { return _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)); }

// Two neighbours as 16 words, each pixel's six products in four sums.
inline __m256i products(const ImagePrepTask& t, const std::uint8_t* row, std::size_t x) {
  const __m128i both =
      _mm_unpacklo_epi64(eight_bytes(row + t.column_offset[x]), eight_bytes(row + t.column_offset[x + 1]));
  const __m256i weights = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(t.column_weights + 8 * x));
  return _mm256_madd_epi16(_mm256_cvtepu8_epi16(both), weights);
}

void squeeze_grey(const ImagePrepTask& t, const std::uint8_t* row, float* squeezed) {
  const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
  std::size_t x = 0;
  for (; x + 8 <= t.column_roomy; x += 8) {
    const __m256i low = _mm256_hadd_epi32(products(t, row, x), products(t, row, x + 2));
    const __m256i high = _mm256_hadd_epi32(products(t, row, x + 4), products(t, row, x + 6));
    const __m256i sums = _mm256_permutevar8x32_epi32(_mm256_hadd_epi32(low, high), order);
    _mm256_storeu_ps(squeezed + x, _mm256_cvtepi32_ps(sums));
  }
  squeeze_rest(t, row, squeezed, x);
}

void squeeze_colour(const ImagePrepTask& t, const std::uint8_t* row, float* squeezed) {
  const std::size_t stride = padded(t.width);
  const __m128i pairs = _mm_setr_epi8(0, -1, 3, -1, 1, -1, 4, -1, 2, -1, 5, -1, -1, -1, -1, -1);
  std::size_t x = 0;
  for (; x + 4 <= t.column_roomy; x += 4) {
    __m128 pixel[4];
    for (std::size_t i = 0; i < 4; ++i) {
      const __m128i words = _mm_shuffle_epi8(eight_bytes(row + t.column_offset[x + i]), pairs);
      const __m128i weights = _mm_loadu_si128(reinterpret_cast<const __m128i*>(t.column_weights + 8 * (x + i)));
      pixel[i] = _mm_cvtepi32_ps(_mm_madd_epi16(words, weights));
    }
    _MM_TRANSPOSE4_PS(pixel[0], pixel[1], pixel[2], pixel[3]);
    for (std::size_t c = 0; c < 3; ++c) _mm_storeu_ps(squeezed + c * stride + x, pixel[c]);
  }
  squeeze_rest(t, row, squeezed, x);
}
#endif

#if TAILRACE_ISA_LEVEL >= 3
struct Window {
  __m512i part[3];
};

inline Window read_window(const std::uint8_t* from, std::size_t readable) {
  Window w;
  if (readable >= kImageWindow) {
    for (int i = 0; i < 3; ++i) w.part[i] = _mm512_loadu_si512(from + 64 * i);
    return w;
  }
  for (std::size_t i = 0; i < 3; ++i) {
    const std::size_t left = readable > 64 * i ? std::min<std::size_t>(readable - 64 * i, 64) : 0;
    const __mmask64 mask = left == 64 ? ~__mmask64{0} : (__mmask64{1} << left) - 1;
    w.part[i] = _mm512_maskz_loadu_epi8(mask, from + 64 * i);
  }
  return w;
}

// 16 pixels, left and right of one channel, as words: the low bytes are looked up, the high ones are zero.
inline __m512i look_up(const Window& w, __m512i index) {
  const __mmask64 low_bytes = 0x5555555555555555u;
  const __m512i near = _mm512_maskz_permutex2var_epi8(low_bytes, w.part[0], index, w.part[1]);
  const __mmask64 far = low_bytes & _mm512_movepi8_mask(index);
  return _mm512_mask_permutexvar_epi8(near, far, index, w.part[2]);
}

template <bool Grey>
void squeeze_windows(const ImagePrepTask& t, const std::uint8_t* row, float* squeezed) {
  const std::size_t stride = padded(t.width), row_bytes = 3 * t.source_width;
  const __m512i one = _mm512_set1_epi8(1);
  for (std::size_t g = 0; g * kImageGroup < t.width; ++g) {
    const auto start = static_cast<std::size_t>(t.window_start[g]);
    const Window window = read_window(row + start, row_bytes - start);
    const std::int16_t* weights = t.window_weights + g * (Grey ? 96 : 32);
    __m512i index = _mm512_loadu_si512(t.window_index + 64 * g);
    __m512i sum = _mm512_setzero_si512();
    for (std::size_t c = 0; c < 3; ++c) {
      const __m512i weight = _mm512_loadu_si512(weights + (Grey ? 32 * c : 0));
      sum = _mm512_dpwssd_epi32(sum, look_up(window, index), weight);
      index = _mm512_add_epi8(index, one);
      if (Grey) continue;
      _mm512_storeu_ps(squeezed + c * stride + g * kImageGroup, _mm512_cvtepi32_ps(sum));
      sum = _mm512_setzero_si512();
    }
    if (Grey) _mm512_storeu_ps(squeezed + g * kImageGroup, _mm512_cvtepi32_ps(sum));
  }
}
#endif

void squeeze(const ImagePrepTask& t, const std::uint8_t* row, float* squeezed) {
#if TAILRACE_ISA_LEVEL >= 3
  if (t.window_start != nullptr)
    return t.channels == 1 ? squeeze_windows<true>(t, row, squeezed) : squeeze_windows<false>(t, row, squeezed);
#endif
#if TAILRACE_ISA_LEVEL >= 1
  return t.channels == 1 ? squeeze_grey(t, row, squeezed) : squeeze_colour(t, row, squeezed);
#else
  squeeze_rest(t, row, squeezed, 0);
#endif
}

void blend(const float* __restrict above, const float* __restrict below, float share_above, float share_below,
           float bias, float* __restrict out, std::size_t n) {
  for (std::size_t x = 0; x < n; ++x) out[x] = above[x] * share_above + (below[x] * share_below + bias);
}

// An image of one column has no pixel to the right: its rows are made twice as wide here.
const std::uint8_t* row_of(const ImagePrepTask& t, const std::uint8_t* image, std::size_t y, std::uint8_t (&wide)[6]) {
  const std::uint8_t* row = image + y * t.source_width * 3;
  if (t.source_width > 1) return row;
  std::memcpy(wide, row, 3);
  std::memcpy(wide + 3, row, 3);
  return wide;
}

void bilinear(const ImagePrepTask& t) {
  const std::size_t stride = padded(t.width), plane = t.height * t.width;
  std::uint8_t wide[6];
  for (std::size_t n = 0; n < t.count; ++n) {
    const std::uint8_t* image = t.images + n * t.source_height * t.source_width * 3;
    float* out = t.out + n * t.channels * plane;
    float* kept[2] = {t.scratch, t.scratch + t.channels * stride};
    std::int32_t holds[2] = {-1, -1};
    for (std::size_t y = 0; y < t.height; ++y) {
      const std::int32_t above = t.row_above[y], below = t.row_below[y];
      if (holds[0] != above && holds[1] == above) {
        std::swap(kept[0], kept[1]);
        std::swap(holds[0], holds[1]);
      }
      const std::int32_t wanted[2] = {above, below};
      for (int k = 0; k < 2; ++k) {
        if (holds[k] == wanted[k]) continue;
        squeeze(t, row_of(t, image, static_cast<std::size_t>(wanted[k]), wide), kept[k]);
        holds[k] = wanted[k];
      }
      for (std::size_t c = 0; c < t.channels; ++c)
        blend(kept[0] + c * stride, kept[1] + c * stride, (1 - t.row_share[y]) * t.gain[c], t.row_share[y] * t.gain[c],
              t.bias[c], out + c * plane + y * t.width, t.width);
    }
  }
}

void add_row(const std::uint8_t* __restrict row, float weight, float* __restrict sum, std::size_t n, bool first) {
  if (first) {
    for (std::size_t i = 0; i < n; ++i) sum[i] = static_cast<float>(row[i]) * weight;
  } else {
    for (std::size_t i = 0; i < n; ++i) sum[i] += static_cast<float>(row[i]) * weight;
  }
}

// The pixels of one output row from a row of floats, [source_width] every `step`.
void gather_columns(const ImagePrepTask& t, const float* __restrict row, float* __restrict sum, float gain, float bias,
                    float* __restrict out) {
  std::fill_n(sum, t.width, 0.0f);
  for (std::size_t k = 0; k < t.column_taps; ++k) {
    const float* __restrict weights = t.column_tap_weights + k * t.width;
    for (std::size_t x = 0; x < t.width; ++x)
      sum[x] += row[static_cast<std::size_t>(t.column_first[x]) + k] * weights[x];
  }
  for (std::size_t x = 0; x < t.width; ++x) out[x] = sum[x] * gain + bias;
}

void antialiased(const ImagePrepTask& t) {
  const std::size_t plane = t.height * t.width, row_bytes = 3 * t.source_width;
  float* mixed = t.scratch;  // [source_width, 3]
  float* channel = mixed + row_bytes;  // [source_width]
  float* sum = channel + t.source_width;  // [width]
  for (std::size_t n = 0; n < t.count; ++n) {
    const std::uint8_t* image = t.images + n * t.source_height * row_bytes;
    float* out = t.out + n * t.channels * plane;
    for (std::size_t y = 0; y < t.height; ++y) {
      const std::uint8_t* row = image + static_cast<std::size_t>(t.row_first[y]) * row_bytes;
      const float* weights = t.row_tap_weights + y * t.row_taps;
      for (std::size_t k = 0; k < t.row_taps; ++k) add_row(row + k * row_bytes, weights[k], mixed, row_bytes, k == 0);
      for (std::size_t c = 0; c < t.channels; ++c) {
        for (std::size_t x = 0; x < t.source_width; ++x)
          channel[x] = t.channels == 3
                           ? mixed[3 * x + c]
                           : mixed[3 * x] * t.grey[0] + mixed[3 * x + 1] * t.grey[1] + mixed[3 * x + 2] * t.grey[2];
        gather_columns(t, channel, sum, t.gain[c], t.bias[c], out + c * plane + y * t.width);
      }
    }
  }
}

}  // namespace

const ImagePrepKernels image_prep = {&bilinear, &antialiased};

}  // namespace tailrace::kernels::TAILRACE_ISA

#include "cpu/end_target.hpp"
