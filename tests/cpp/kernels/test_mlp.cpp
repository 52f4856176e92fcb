// test_mlp.cpp -- layers at every level, packed and as they lie, in buffers that end where the arrays end.
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <random>
#include <vector>

#include "../harness.hpp"
#include "cpu/half.hpp"
#include "levels.hpp"
#include "ops/mlp_forward/network.hpp"

namespace {

using namespace tailrace::kernels;

// One layer as bytes and as what they stand for, each vector exactly as long as the kernel may read.
struct Made {
  std::size_t in, out, group = 0;
  WeightKind kind;
  std::vector<float> f32;
  std::vector<std::uint16_t> b16;
  std::vector<std::int8_t> i8;
  std::vector<std::uint8_t> i4;
  std::vector<float> scale, bias;
  std::vector<double> real;

  const void* values() const {
    if (kind == WeightKind::float32) return f32.data();
    if (kind == WeightKind::int8) return i8.data();
    if (kind == WeightKind::int4) return i4.data();
    return b16.data();
  }
  Layer layer() const {
    return {{kind, values(), scale.data(), in, out, group}, &kernels_for(kind), nullptr, bias.data()};
  }
};

Made make(WeightKind kind, std::size_t in, std::size_t out, std::mt19937& random) {
  Made m;
  m.in = in;
  m.out = out;
  m.kind = kind;
  m.group = 10;
  const std::size_t groups = (in + m.group - 1) / m.group;
  m.scale.resize(kind == WeightKind::int4 ? groups * out : out);
  for (float& s : m.scale) s = 0.25f * static_cast<float>(1 + random() % 3);
  m.bias.resize(out);
  for (float& b : m.bias) b = static_cast<float>(random() % 9) - 4.0f;
  m.i4.resize((in + 1) / 2 * out);
  for (std::size_t i = 0; i < in * out; ++i) {
    const int whole = static_cast<int>(random() % 15) - 7;
    const float f = static_cast<float>(whole);
    m.f32.push_back(f);
    m.b16.push_back(kind == WeightKind::float16 ? to_half(f).bits : to_bfloat16(f).bits);
    m.i8.push_back(static_cast<std::int8_t>(whole * 16));
    const std::size_t k = i / out, j = i % out;
    const auto code = static_cast<unsigned>(whole + 8) << (4 * (k % 2));
    m.i4[k / 2 * out + j] = static_cast<std::uint8_t>(m.i4[k / 2 * out + j] | code);
    double real = whole;
    if (kind == WeightKind::int8) real = whole * 16.0 * static_cast<double>(m.scale[j]);
    if (kind == WeightKind::int4) real *= static_cast<double>(m.scale[k / m.group * out + j]);
    m.real.push_back(real);
  }
  return m;
}

// Whole numbers of which 127 is the largest of each row: int8 rows stand for themselves.
std::vector<float> rows_of(std::size_t rows, std::size_t in, std::mt19937& random) {
  std::vector<float> x(rows * in);
  for (float& v : x) v = static_cast<float>(random() % 255) - 127.0f;
  for (std::size_t r = 0; r < rows; ++r) x[r * in + random() % in] = 127.0f;
  return x;
}

void check(const Made& m, const std::vector<float>& x, const std::vector<float>& y, std::size_t rows) {
  for (std::size_t r = 0; r < rows; ++r) {
    for (std::size_t j = 0; j < m.out; ++j) {
      double sum = static_cast<double>(m.bias[j]);
      for (std::size_t k = 0; k < m.in; ++k) sum += static_cast<double>(x[r * m.in + k]) * m.real[k * m.out + j];
      if (!(std::abs(static_cast<double>(y[r * m.out + j]) - sum) <= 1e-6 * (1000.0 + std::abs(sum))))
        CHECK_EQ(static_cast<double>(y[r * m.out + j]), sum);
    }
  }
}

void layers_are_right(WeightKind kind) {
  std::mt19937 random(7);
  tailrace::test::for_each_level([&](Isa isa) {
    const Isa before = chosen_isa();
    force_isa(isa);
    for (std::size_t in : {1u, 3u, 8u, 31u, 33u}) {
      for (std::size_t out : {1u, 15u, 17u, 31u, 33u, 48u, 49u, 97u}) {
        const Made m = make(kind, in, out, random);
        for (std::size_t rows : {1u, 2u, 3u, 4u, 5u, 6u, 7u, 8u, 9u, 33u}) {
          const std::vector<float> x = rows_of(rows, in, random);
          std::vector<float> y(rows * out, std::numeric_limits<float>::quiet_NaN());
          const Network network({m.layer()}, Activation::relu);
          network.run(x.data(), y.data(), rows);
          check(m, x, y, rows);
          // The sanitizer does not see what a masked store writes: a margin does.
          std::vector<float> wide(rows * out + 64, 77.0f);
          network.run(x.data(), wide.data(), rows);
          for (std::size_t i = rows * out; i < wide.size(); ++i) CHECK(wide[i] == 77.0f);
          if (!readable_as_it_lies(kind)) continue;
          y.assign(y.size(), std::numeric_limits<float>::quiet_NaN());
          const Layer direct = m.layer();
          run_layers(&direct, 1, x.data(), y.data(), rows, Activation::relu);
          check(m, x, y, rows);
          wide.assign(wide.size(), 77.0f);
          run_layers(&direct, 1, x.data(), wide.data(), rows, Activation::relu);
          for (std::size_t i = rows * out; i < wide.size(); ++i) CHECK(wide[i] == 77.0f);
        }
      }
    }
    force_isa(before);
  });
}

TEST(layers_of_float_weights_end_where_they_end) { layers_are_right(WeightKind::float32); }
TEST(layers_of_half_weights_end_where_they_end) { layers_are_right(WeightKind::float16); }
TEST(layers_of_bfloat16_weights_end_where_they_end) { layers_are_right(WeightKind::bfloat16); }
TEST(layers_of_int8_weights_end_where_they_end) { layers_are_right(WeightKind::int8); }
TEST(layers_of_int4_weights_end_where_they_end) { layers_are_right(WeightKind::int4); }

TEST(with_a_fixed_scale_the_inputs_of_int8_layers_are_clipped) {
  std::mt19937 random(8);
  tailrace::test::for_each_level([&](Isa isa) {
    const Isa before = chosen_isa();
    force_isa(isa);
    for (std::size_t in : {1u, 3u, 16u, 31u, 33u, 64u}) {
      const Made m = make(WeightKind::int8, in, 17, random);
      for (std::size_t rows : {1u, 9u}) {
        std::vector<float> x(rows * in), clipped(rows * in);
        for (std::size_t i = 0; i < x.size(); ++i) {
          const float whole = static_cast<float>(random() % 401) - 200.0f;
          x[i] = i % 7 == 0 ? whole * 1e30f : whole * 0.5f;
          clipped[i] = 0.5f * std::min(127.0f, std::max(-127.0f, x[i] * 2.0f));
        }
        Layer layer = m.layer();
        layer.weight.input_scale = 0.5f;
        std::vector<float> y(rows * m.out, std::numeric_limits<float>::quiet_NaN());
        Network({layer}, Activation::relu).run(x.data(), y.data(), rows);
        check(m, clipped, y, rows);
      }
    }
    force_isa(before);
  });
}

TEST(the_activation_stands_between_layers_and_not_behind_the_last) {
  tailrace::test::for_each_level([&](Isa isa) {
    const Isa before = chosen_isa();
    force_isa(isa);
    for (const Activation a :
         {Activation::none, Activation::relu, Activation::tanh, Activation::gelu, Activation::silu}) {
      const std::vector<float> one{1.0f}, x{-0.5f, 2.0f};
      const Layer layer{{WeightKind::float32, one.data(), nullptr, 1, 1, 0}, &mlp_float(), nullptr, nullptr};
      const Network network({layer, layer}, a);
      std::vector<float> y(2);
      network.run(x.data(), y.data(), 2);
      for (std::size_t i = 0; i < 2; ++i) {
        const double v = static_cast<double>(x[i]);
        double expected = v;
        if (a == Activation::relu) expected = v > 0 ? v : 0;
        if (a == Activation::tanh) expected = std::tanh(v);
        if (a == Activation::gelu) expected = 0.5 * v * (1 + std::erf(v / std::sqrt(2.0)));
        if (a == Activation::silu) expected = v / (1 + std::exp(-v));
        if (!(std::abs(static_cast<double>(y[i]) - expected) < 1e-6)) CHECK_EQ(static_cast<double>(y[i]), expected);
      }
    }
    force_isa(before);
  });
}

}  // namespace
