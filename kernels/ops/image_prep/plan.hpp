// plan.hpp -- where each output pixel of image_prep looks, and with which weights, worked out once for two sizes.
//
// What      `ImagePlan(request)`: the tables of cpu.hpp, and `task(images, out, count)` that points into them.
// Why       A call with these tables has no division and no branch per pixel.
// Threads   Immutable after construction.
// Source    Pixel centres at (i + 0.5) * source / target - 0.5, as OpenCV's INTER_LINEAR and torch's align_corners=False; antialias
//           widens the triangle by the scale, as Pillow and torch. Luma: ITU-R BT.601-7, section 2.5.1.
// Checked   tests/kernels/test_image_prep.py, against reference.py, OpenCV and torch.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "ops/image_prep/cpu.hpp"

namespace tailrace::kernels {

struct ImageRequest {
  std::size_t source_height = 0, source_width = 0, height = 0, width = 0;
  bool grey = false, antialias = false;
  std::array<double, 3> mean{}, std{1, 1, 1};  // in units of 0..1
};

class ImagePlan {
 public:
  static constexpr std::array<double, 3> kLuma{0.299, 0.587, 0.114};

  explicit ImagePlan(const ImageRequest& request) : request_(request), channels_(request.grey ? 1 : 3) {
    many_taps_ = request.antialias && (request.source_height > request.height || request.source_width > request.width);
    if (many_taps_) {
      make_taps();
    } else {
      make_rows();
      make_columns();
      make_windows();
    }
    for (std::size_t c = 0; c < channels_; ++c) {
      gain_[c] = static_cast<float>(1 / (255.0 * unit_ * request.std[c]));
      bias_[c] = static_cast<float>(-request.mean[c] / request.std[c]);
    }
  }

  const ImageRequest& request() const { return request_; }
  std::size_t channels() const { return channels_; }
  bool many_taps() const { return many_taps_; }
  std::size_t source_bytes() const { return request_.source_height * request_.source_width * 3; }
  std::size_t out_floats() const { return channels_ * request_.height * request_.width; }

  std::size_t scratch_floats() const {
    if (many_taps_) return request_.source_width * 4 + request_.width;
    return 2 * channels_ * padded_width();
  }

  // A guess, for the decision whether to let go of the GIL.
  double estimated_ns() const {
    const double pixels = static_cast<double>(request_.height * request_.width);
    const double source = static_cast<double>(request_.source_height * request_.source_width);
    return many_taps_ ? source * 2 + pixels * 4 : pixels * static_cast<double>(channels_);
  }

  ImagePrepTask task(const std::uint8_t* images, float* out, std::size_t count, float* scratch) const {
    ImagePrepTask t;
    t.images = images;
    t.out = out;
    t.scratch = scratch;
    t.count = count;
    t.source_height = request_.source_height;
    t.source_width = request_.source_width;
    t.height = request_.height;
    t.width = request_.width;
    t.channels = channels_;
    t.row_above = row_above_.data();
    t.row_below = row_below_.data();
    t.row_share = row_share_.data();
    t.column_offset = column_offset_.data();
    t.column_weights = column_weights_.data();
    t.column_roomy = column_roomy_;
    t.window_start = window_start_.empty() ? nullptr : window_start_.data();
    t.window_index = window_index_.data();
    t.window_weights = window_weights_.data();
    t.row_taps = row_taps_;
    t.column_taps = column_taps_;
    t.row_first = row_first_.data();
    t.row_tap_weights = row_tap_weights_.data();
    t.column_first = column_first_.data();
    t.column_tap_weights = column_tap_weights_.data();
    for (std::size_t c = 0; c < 3; ++c) {
      t.grey[c] = static_cast<float>(kLuma[c]);
      t.gain[c] = gain_[c];
      t.bias[c] = bias_[c];
    }
    return t;
  }

 private:
  struct Place {
    std::size_t first;  // the left or upper pixel of two
    double share;  // the weight of the other one
  };

  // The first of two is never the last pixel of all, so that both are there to read.
  static Place place(std::size_t i, std::size_t source, std::size_t target) {
    const double at = (static_cast<double>(i) + 0.5) * static_cast<double>(source) / static_cast<double>(target) - 0.5;
    if (source == 1 || at <= 0) return {0, 0};
    const auto first = static_cast<std::size_t>(at);
    if (first >= source - 1) return {source - 2, 1};
    return {first, at - static_cast<double>(first)};
  }

  std::size_t padded_width() const { return (request_.width + kImageGroup - 1) / kImageGroup * kImageGroup; }

  void make_rows() {
    for (std::size_t y = 0; y < request_.height; ++y) {
      const Place p = place(y, request_.source_height, request_.height);
      row_above_.push_back(static_cast<std::int32_t>(p.first));
      row_below_.push_back(static_cast<std::int32_t>(std::min(p.first + 1, request_.source_height - 1)));
      row_share_.push_back(static_cast<float>(p.share));
    }
  }

  // Weights are rounded to integers whose sum per channel does not depend on the share: a flat image stays exactly flat.
  void make_columns() {
    std::array<std::int32_t, 3> whole{32767, 32767, 32767};
    if (request_.grey) {
      const double scale = 32767 / *std::max_element(kLuma.begin(), kLuma.end());
      for (std::size_t c = 0; c < 3; ++c) whole[c] = static_cast<std::int32_t>(std::lround(kLuma[c] * scale));
    }
    unit_ = request_.grey ? whole[0] + whole[1] + whole[2] : whole[0];
    column_weights_.assign(request_.width * 8, 0);
    for (std::size_t x = 0; x < request_.width; ++x) {
      const Place p = place(x, request_.source_width, request_.width);
      column_offset_.push_back(static_cast<std::int32_t>(3 * p.first));
      if (3 * p.first + 8 <= 3 * request_.source_width && column_roomy_ == x) ++column_roomy_;
      std::int16_t* w = &column_weights_[x * 8];
      for (std::size_t c = 0; c < 3; ++c) {
        const auto right = static_cast<std::int32_t>(std::lround(p.share * whole[c]));
        w[request_.grey ? c : 2 * c] = static_cast<std::int16_t>(whole[c] - right);
        w[request_.grey ? 3 + c : 2 * c + 1] = static_cast<std::int16_t>(right);
      }
    }
  }

  void make_windows() {
    if (request_.source_width < 2) return;
    const std::size_t planes = request_.grey ? 3 : 1;
    for (std::size_t begin = 0; begin < request_.width; begin += kImageGroup) {
      const std::size_t end = std::min(begin + kImageGroup, request_.width);
      const std::int32_t start = column_offset_[begin];
      if (static_cast<std::size_t>(column_offset_[end - 1] - start) + 6 > kImageWindow) {
        window_start_.clear();
        return;
      }
      window_start_.push_back(start);
      const std::size_t index = window_index_.size(), weights = window_weights_.size();
      window_index_.resize(index + 64);
      window_weights_.resize(weights + planes * 32);
      for (std::size_t x = begin; x < end; ++x) {
        const std::size_t i = x - begin;
        const auto left = static_cast<std::uint8_t>(column_offset_[x] - start);
        window_index_[index + 4 * i] = left;
        window_index_[index + 4 * i + 2] = static_cast<std::uint8_t>(left + 3);
        for (std::size_t c = 0; c < planes; ++c) {
          window_weights_[weights + c * 32 + 2 * i] = column_weights_[x * 8 + c];
          window_weights_[weights + c * 32 + 2 * i + 1] = column_weights_[x * 8 + (request_.grey ? 3 + c : 1)];
        }
      }
    }
  }

  struct Taps {
    std::size_t first;
    std::vector<double> weights;
  };

  static Taps taps(std::size_t i, std::size_t source, std::size_t target) {
    const double scale = static_cast<double>(source) / static_cast<double>(target);
    const double support = std::max(scale, 1.0), centre = (static_cast<double>(i) + 0.5) * scale;
    const auto first = static_cast<std::size_t>(std::max(0.0, std::floor(centre - support + 0.5)));
    const auto end =
        static_cast<std::size_t>(std::min(static_cast<double>(source), std::floor(centre + support + 0.5)));
    Taps t{first, {}};
    double sum = 0;
    for (std::size_t x = first; x < end; ++x) {
      t.weights.push_back(std::max(0.0, 1 - std::abs(static_cast<double>(x) + 0.5 - centre) / support));
      sum += t.weights.back();
    }
    for (double& w : t.weights) w /= sum;
    return t;
  }

  // Each pixel gets the same number of taps, moved to the left at the right edge, so that none reads outside.
  static std::vector<Taps> all_taps(std::size_t source, std::size_t target, std::size_t& most) {
    std::vector<Taps> all;
    most = 0;
    for (std::size_t i = 0; i < target; ++i) {
      all.push_back(taps(i, source, target));
      most = std::max(most, all.back().weights.size());
    }
    for (Taps& t : all) {
      const std::size_t moved = t.first + most > source ? t.first + most - source : 0;
      t.first -= moved;
      t.weights.insert(t.weights.begin(), moved, 0.0);
      t.weights.resize(most, 0.0);
    }
    return all;
  }

  void make_taps() {
    for (const Taps& t : all_taps(request_.source_height, request_.height, row_taps_)) {
      row_first_.push_back(static_cast<std::int32_t>(t.first));
      for (double w : t.weights) row_tap_weights_.push_back(static_cast<float>(w));
    }
    const std::vector<Taps> columns = all_taps(request_.source_width, request_.width, column_taps_);
    for (const Taps& t : columns) column_first_.push_back(static_cast<std::int32_t>(t.first));
    for (std::size_t k = 0; k < column_taps_; ++k)
      for (const Taps& t : columns) column_tap_weights_.push_back(static_cast<float>(t.weights[k]));
  }

  ImageRequest request_;
  std::size_t channels_, column_roomy_ = 0, row_taps_ = 0, column_taps_ = 0;
  bool many_taps_ = false;
  double unit_ = 1;  // what the weights of a pixel add up to
  std::array<float, 3> gain_{}, bias_{};
  std::vector<std::int32_t> row_above_, row_below_, column_offset_, window_start_, row_first_, column_first_;
  std::vector<float> row_share_, row_tap_weights_, column_tap_weights_;
  std::vector<std::int16_t> column_weights_, window_weights_;
  std::vector<std::uint8_t> window_index_;
};

}  // namespace tailrace::kernels
