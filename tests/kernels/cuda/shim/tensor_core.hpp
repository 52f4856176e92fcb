// tensor_core.hpp -- one warp's matrix multiply-accumulate for the shim, and the 16-bit floats it reads
// What:    mma.m16n8k16 with float32 accumulators: all lanes bring their fragments, each takes its part of the product.
// Why:     a tile loaded into the wrong lane is found here and not on a device.
// Threads: one; the exchange is a meeting of the whole warp, as on the device.
// Source:  PTX ISA, "Matrix fragments for mma.m16n8k16 with floating point type".
// Checked: tests/kernels/cuda/test_shim.py against NumPy's product
#pragma once
#include "launch.hpp"

namespace shim {

inline float half_to_float(unsigned short h) {
  const unsigned sign = static_cast<unsigned>(h & 0x8000u) << 16, exponent = h >> 10 & 0x1fu, fraction = h & 0x3ffu;
  if (exponent == 0) {
    const float small = static_cast<float>(fraction) * 0x1p-24f;
    return sign != 0 ? -small : small;
  }
  const unsigned wide = exponent == 31 ? 0xffu : exponent + 112;
  return from_bits<float>(sign | wide << 23 | fraction << 13);
}

// To the nearest, ties to even.
inline unsigned short float_to_half(float f) {
  const unsigned bits = static_cast<unsigned>(to_bits(f)), sign = bits >> 16 & 0x8000u, magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u) return static_cast<unsigned short>(sign | 0x7e00u);
  if (magnitude >= 0x477ff000u) return static_cast<unsigned short>(sign | 0x7c00u);
  if (magnitude < 0x38800000u) {  // what is left is a multiple of 2^-24
    const float scaled = nearbyintf(from_bits<float>(magnitude) * 0x1p24f);
    return static_cast<unsigned short>(sign | static_cast<unsigned>(scaled));
  }
  const unsigned rounded = magnitude + 0xfffu + (magnitude >> 13 & 1);
  return static_cast<unsigned short>(sign | (rounded - 0x38000000u) >> 13);
}

inline float bfloat16_to_float(unsigned short h) { return from_bits<float>(static_cast<unsigned>(h) << 16); }

inline float part(unsigned pair, unsigned which, bool bfloat16) {
  const auto h = static_cast<unsigned short>(pair >> (16 * which));
  return bfloat16 ? bfloat16_to_float(h) : half_to_float(h);
}

// d += a b for a of 16 x 16 and b of 16 x 8; a has four pairs in each lane, b two, d four floats.
inline void mma_m16n8k16(float* d, const unsigned* a, const unsigned* b, bool bfloat16, int line) {
  float left[16][16], right[16][8];
  for (unsigned i = 0; i < 6; ++i) {
    exchange("mma", line, 0xffffffffu, i < 4 ? a[i] : b[i - 4]);
    for (unsigned from = 0; from < kWarp; ++from) {
      const unsigned group = from / 4, place = from % 4, pair = static_cast<unsigned>(running->values[from]);
      for (unsigned half = 0; half < 2; ++half) {
        const float v = part(pair, half, bfloat16);
        if (i < 4) {
          left[group + (i % 2) * 8][place * 2 + half + (i / 2) * 8] = v;
        } else {
          right[place * 2 + half + (i - 4) * 8][group] = v;
        }
      }
    }
  }
  const unsigned group = running->number % kWarp / 4, place = running->number % 4;
  for (unsigned i = 0; i < 4; ++i) {
    const unsigned row = group + (i / 2) * 8, column = place * 2 + i % 2;
    for (unsigned k = 0; k < 16; ++k) d[i] += left[row][k] * right[k][column];
  }
}

// ldmatrix: lane i brings the address of a row of matrix i / 8, for `count` matrices of 8 x 8 16-bit values.
inline void load_matrices(unsigned* r, unsigned count, const void* row, bool turned, int line) {
  if ((to_bits(row) & 15) != 0) fail("line %d: a row of ldmatrix that does not begin on 16 bytes", line);
  exchange("ldmatrix", line, 0xffffffffu, to_bits(row));
  const unsigned lane = running->number % kWarp;
  for (unsigned m = 0; m < count; ++m) {
    const auto value = [&](unsigned i, unsigned j) {
      return static_cast<unsigned>(from_bits<const unsigned short*>(running->values[m * 8 + i])[j]);
    };
    const unsigned place = lane % 4 * 2, group = lane / 4;
    r[m] = turned ? value(place, group) | value(place + 1, group) << 16
                  : value(group, place) | value(group, place + 1) << 16;
  }
}

}  // namespace shim
