// test_pca_project.cpp -- projections at every level, in buffers that end where the arrays end.
#include <cmath>
#include <limits>
#include <vector>

#include "../harness.hpp"
#include "levels.hpp"
#include "ops/pca_project/projection.hpp"

namespace {

using namespace tailrace::kernels;

TEST(projections_end_where_they_end) {
  tailrace::test::for_each_level([](Isa isa) {
    force_isa(isa);
    for (std::size_t features : {1u, 16u, 31u, 33u}) {
      for (std::size_t count : {1u, 15u, 17u, 49u}) {
        std::vector<float> components(count * features), mean(features), factors(count);
        for (std::size_t i = 0; i < components.size(); ++i) components[i] = static_cast<float>(i % 7) - 3.0f;
        for (std::size_t k = 0; k < features; ++k) mean[k] = static_cast<float>(k % 5);
        for (std::size_t c = 0; c < count; ++c) factors[c] = c % 2 == 0 ? 1.0f : 0.5f;
        const Projection projection(components.data(), mean.data(), factors.data(), features, count);
        for (std::size_t rows : {1u, 9u, 31u, 66u}) {
          std::vector<float> x(rows * features);
          for (std::size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(i % 11);
          std::vector<float> y(rows * count, std::numeric_limits<float>::quiet_NaN());
          projection.project(x.data(), rows, y.data());
          for (std::size_t r = 0; r < rows; ++r) {
            for (std::size_t c = 0; c < count; ++c) {
              float expected = 0;
              for (std::size_t k = 0; k < features; ++k)
                expected += (x[r * features + k] - mean[k]) * components[c * features + k];
              expected *= factors[c];
              if (!(std::abs(y[r * count + c] - expected) <= 1e-3f)) CHECK_EQ(y[r * count + c], expected);
            }
          }
        }
      }
    }
  });
  force_isa(best_isa());
}

}  // namespace
