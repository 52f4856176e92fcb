// cuda.cu -- image_prep on the device: resize, grey, normalise and HWC to CHW, one thread an output pixel
// What:    image_prep_{colour,grey}: uint8 [images, h, w, 3] to float32 [images, 3 or 1, H, W].
// Why:     four passes would each read and write a whole picture; here bytes come in once and planes go out once.
//          Where a pixel looks and with which weights is worked out by the thread, in integers: nothing is rounded, no table
//          has to be made, sent or kept, and a launch depends on its arguments alone, as a graph wants it.
// Source:  pixel centres at (i + 0.5) * source / target - 0.5, as OpenCV's INTER_LINEAR and torch's align_corners=False;
//          antialias widens the triangle by the scale, as Pillow and torch. Luma: ITU-R BT.601-7, section 2.5.1.
// Checked: tests/kernels/cuda
#include "device.cuh"

// The source pixels `first` up to `end` that count for target pixel i of one axis; what one counts is `weight`, not yet
// divided by the sum of all. Distances are in units of 1 / (2 target) of a source pixel.
struct Triangle {
  int target, centre, reach, first, end;
  float scale;

  __device__ Triangle(int i, int source, int target_size, bool widened) : target(target_size) {
    centre = (2 * i + 1) * source;
    reach = widened && source > target ? 2 * source : 2 * target;
    scale = 1.0f / static_cast<float>(reach);
    const int from = centre - reach - target;
    first = from < 0 ? 0 : from / (2 * target) + 1;
    end = (centre + reach - target + 2 * target - 1) / (2 * target);
    end = end < source ? end : source;
  }

  __device__ float weight(int x) const {
    const int away = (2 * x + 1) * target - centre;
    return static_cast<float>(reach - (away < 0 ? -away : away)) * scale;
  }
};

struct Frame {
  int source_height, source_width, height, width, antialias;
};

struct Levels {
  float gain[3], bias[3];
};

template <bool kGrey>
__device__ void prepare_pixel(const u8* images, float* out, const Frame& f, const Levels& levels) {
  const int x = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  const int y = static_cast<int>(blockIdx.y * blockDim.y + threadIdx.y);
  if (x >= f.width || y >= f.height) return;
  const Triangle rows(y, f.source_height, f.height, f.antialias != 0);
  const Triangle columns(x, f.source_width, f.width, f.antialias != 0);
  const u8* image = images + static_cast<i64>(blockIdx.z) * f.source_height * f.source_width * 3;
  float red = 0.0f, green = 0.0f, blue = 0.0f, total = 0.0f;
  for (int row = rows.first; row < rows.end; ++row) {
    const float down = rows.weight(row);
    const u8* pixel = image + (static_cast<i64>(row) * f.source_width + columns.first) * 3;
    for (int column = columns.first; column < columns.end; ++column, pixel += 3) {
      const float weight = down * columns.weight(column);
      total += weight;
      red = fmaf(weight, static_cast<float>(pixel[0]), red);
      green = fmaf(weight, static_cast<float>(pixel[1]), green);
      blue = fmaf(weight, static_cast<float>(pixel[2]), blue);
    }
  }
  const float each = 1.0f / total;
  const i64 plane = static_cast<i64>(f.height) * f.width;
  float* to = out + static_cast<i64>(blockIdx.z) * (kGrey ? 1 : 3) * plane + static_cast<i64>(y) * f.width + x;
  if constexpr (kGrey) {
    const float grey = (0.299f * red + 0.587f * green + 0.114f * blue) * each;
    to[0] = fmaf(grey, levels.gain[0], levels.bias[0]);
  } else {
    to[0] = fmaf(red * each, levels.gain[0], levels.bias[0]);
    to[plane] = fmaf(green * each, levels.gain[1], levels.bias[1]);
    to[2 * plane] = fmaf(blue * each, levels.gain[2], levels.bias[2]);
  }
}

extern "C" __global__ void __launch_bounds__(256)
    image_prep_colour(const u8* images, float* out, int source_height, int source_width, int height, int width,
                      int antialias, float gain_red, float gain_green, float gain_blue, float bias_red,
                      float bias_green, float bias_blue) {
  prepare_pixel<false>(images, out, Frame{source_height, source_width, height, width, antialias},
                       Levels{{gain_red, gain_green, gain_blue}, {bias_red, bias_green, bias_blue}});
}

extern "C" __global__ void __launch_bounds__(256)
    image_prep_grey(const u8* images, float* out, int source_height, int source_width, int height, int width,
                    int antialias, float gain, float bias) {
  prepare_pixel<true>(images, out, Frame{source_height, source_width, height, width, antialias},
                      Levels{{gain, 0.0f, 0.0f}, {bias, 0.0f, 0.0f}});
}
