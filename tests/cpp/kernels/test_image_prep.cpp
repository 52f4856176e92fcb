// test_image_prep.cpp -- images at every level, in buffers that end where the images end.
#include "ops/image_prep/plan.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "../harness.hpp"
#include "levels.hpp"

namespace {

using namespace tailrace::kernels;

std::vector<std::uint8_t> noise(std::size_t bytes) {
  std::vector<std::uint8_t> image(bytes);
  std::uint32_t state = 1;
  for (auto& level : image) level = static_cast<std::uint8_t>((state = state * 1664525u + 1013904223u) >> 24);
  return image;
}

std::vector<float> prepared(const ImagePlan& plan, const std::vector<std::uint8_t>& images, std::size_t count,
                            Isa isa) {
  std::vector<float> out(count * plan.out_floats(), std::numeric_limits<float>::quiet_NaN());
  std::vector<float> scratch(plan.scratch_floats(), std::numeric_limits<float>::quiet_NaN());
  const ImagePrepKernels& kernels = image_prep(isa);
  (plan.many_taps() ? kernels.antialiased
                    : kernels.bilinear)(plan.task(images.data(), out.data(), count, scratch.data()));
  return out;
}

// One channel at one place between four pixels, in grey levels.
double between(const ImageRequest& r, const std::uint8_t* image, std::size_t y, std::size_t x, std::size_t channel) {
  const auto at = [](std::size_t i, std::size_t source, std::size_t target) {
    const double place =
        (static_cast<double>(i) + 0.5) * static_cast<double>(source) / static_cast<double>(target) - 0.5;
    return std::clamp(place, 0.0, static_cast<double>(source) - 1);
  };
  const double v = at(y, r.source_height, r.height), h = at(x, r.source_width, r.width);
  double sum = 0;
  for (std::size_t sy = 0; sy < r.source_height; ++sy)
    for (std::size_t sx = 0; sx < r.source_width; ++sx)
      sum += std::max(0.0, 1 - std::abs(static_cast<double>(sy) - v)) *
             std::max(0.0, 1 - std::abs(static_cast<double>(sx) - h)) * image[(sy * r.source_width + sx) * 3 + channel];
  return sum;
}

void image_is_right(const ImageRequest& request) {
  const ImagePlan plan(request);
  const std::vector<std::uint8_t> images = noise(2 * plan.source_bytes());
  tailrace::test::for_each_level([&](Isa isa) {
    const std::vector<float> out = prepared(plan, images, 2, isa);
    std::size_t i = 0;
    double worst = 0;
    for (std::size_t n = 0; n < 2; ++n) {
      const std::uint8_t* image = images.data() + n * plan.source_bytes();
      for (std::size_t c = 0; c < plan.channels(); ++c)
        for (std::size_t y = 0; y < request.height; ++y)
          for (std::size_t x = 0; x < request.width; ++x, ++i) {
            double expected = between(request, image, y, x, c);
            if (request.grey)
              expected = 0.299 * expected + 0.587 * between(request, image, y, x, 1) +
                         0.114 * between(request, image, y, x, 2);
            const double error = std::abs(255.0 * static_cast<double>(out[i]) - expected);
            worst = error <= worst ? worst : error;  // keeps a NaN
          }
    }
    CHECK(worst <= 0.02);
  });
}

void images_are_right(bool grey) {
  ImageRequest request;
  request.grey = grey;
  for (const std::size_t source : {1u, 2u, 3u, 7u, 31u, 33u}) {
    for (const std::size_t target : {1u, 2u, 3u, 7u, 31u, 33u}) {
      request.source_height = source;
      request.source_width = source + source / 2;
      request.height = target;
      request.width = 2 * target - 1;
      image_is_right(request);
    }
  }
  // Rows about as long as a window of three registers, and too long for one.
  request.source_height = request.height = 2;
  for (const std::size_t source : {61u, 62u, 63u, 64u, 65u, 66u, 95u, 127u, 129u}) {
    for (const std::size_t target : {15u, 16u, 17u, 33u, 65u}) {
      request.source_width = source;
      request.width = target;
      image_is_right(request);
    }
  }
}

TEST(grey_images_of_any_size_end_where_they_end) { images_are_right(true); }

TEST(coloured_images_of_any_size_end_where_they_end) { images_are_right(false); }

TEST(antialiased_images_of_any_size_end_where_they_end_and_keep_a_flat_one_flat) {
  for (const bool grey : {false, true}) {
    for (const std::size_t source : {2u, 31u, 33u, 100u}) {
      for (const std::size_t target : {1u, 7u, 33u}) {
        ImageRequest request;
        request.source_height = source;
        request.source_width = source + 1;
        request.height = request.width = target;
        request.grey = grey;
        request.antialias = true;
        const ImagePlan plan(request);
        const std::vector<std::uint8_t> flat(plan.source_bytes(), 200);
        tailrace::test::for_each_level([&](Isa isa) {
          float worst = 0;
          for (const float level : prepared(plan, flat, 1, isa)) {
            const float error = std::abs(255.0f * level - 200.0f);
            worst = error <= worst ? worst : error;
          }
          CHECK(worst <= 0.02f);
        });
      }
    }
  }
}

}  // namespace
