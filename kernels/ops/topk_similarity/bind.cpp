// GIL       Let go of when the scores take longer than 20 us.
// Lifetime  The caller's arrays are borrowed for the call; a Retriever has its own copy of the keys.
#include <sys/mman.h>

#include <cstdlib>
#include <memory>
#include <new>
#include <string>
#include <type_traits>
#include <utility>
#include <variant>

#include "cpu/array.hpp"
#include "cpu/native_slot.hpp"
#include "cpu/released.hpp"
#include "ops/topk_similarity/cpu.hpp"

namespace tailrace::kernels {
namespace {

inline constexpr double kNsPerProduct = 0.01;

template <class T>
const TopkFunctions<T>& functions(const TopkKernels& kernels) {
  if constexpr (std::is_same_v<T, float>)
    return kernels.f32;
  else if constexpr (std::is_same_v<T, Half>)
    return kernels.f16;
  else
    return kernels.i8;
}

template <class T>
TopkNan released(const TopkKernels& kernels, const TopkArgs<T>& arguments) {
  Released free(static_cast<double>(arguments.batch * arguments.count * arguments.dim) * kNsPerProduct);
  return functions<T>(kernels).search(arguments);
}

void refuse(TopkNan nan) {
  if (!nan.found) return;
  throw py::value_error("topk_similarity: the score of queries[" + std::to_string(nan.query) + "] and keys[" +
                        std::to_string(nan.key) +
                        "] is not a number: one of them holds NaN or infinity, or a length beyond float32");
}

template <class T>
void run(py::handle queries, py::handle keys, std::size_t k, bool cosine, py::handle scales, py::handle scores,
         py::handle indices) {
  const auto query = read_array<const float>(queries, 2);
  const auto key = read_array<const T>(keys, 2);
  const auto score = read_array<float>(scores, 2);
  const auto index = read_array<std::int64_t>(indices, 2);
  const float* scale = scales.is_none() ? nullptr : read_array<const float>(scales, 1).data;
  refuse(released<T>(topk_similarity(), {query.data, key.data, scale, score.data, index.data, query.extent(0),
                                         query.extent(1), key.extent(0), k, false, cosine}));
}

void topk_call(py::handle queries, py::handle keys, std::size_t k, bool cosine, py::handle scales, py::handle scores,
               py::handle indices) {
  const int type = type_number(keys);
  if (type == kTypeNumber<float>)
    run<float>(queries, keys, k, cosine, scales, scores, indices);
  else if (type == kTypeNumber<Half>)
    run<Half>(queries, keys, k, cosine, scales, scores, indices);
  else
    run<std::int8_t>(queries, keys, k, cosine, scales, scores, indices);
}

template <class T>
struct Freed {
  void operator()(T* values) const { std::free(values); }
};
template <class T>
using Values = std::unique_ptr<T, Freed<T>>;

// Panels are read from end to end: with pages of 4 KiB, the translation of addresses is half of what a search for one query costs.
template <class T>
Values<T> values_of(std::size_t n) {
  constexpr std::size_t kHugePage = std::size_t{2} << 20;
  const std::size_t unit = n * sizeof(T) < 2 * kHugePage ? 64 : kHugePage;
  const std::size_t bytes = (n * sizeof(T) / unit + 1) * unit;
  void* block = std::aligned_alloc(unit, bytes);
  if (block == nullptr) throw std::bad_alloc();
  if (unit == kHugePage) ::madvise(block, bytes, MADV_HUGEPAGE);  // advice: what it cannot have it does without
  return Values<T>(static_cast<T*>(block));
}

class Retriever : public Bound {
 public:
  Retriever(py::handle keys, py::handle scales, bool cosine, std::size_t k) : cosine_(cosine), k_(k) {
    const int type = type_number(keys);
    if (type == kTypeNumber<float>)
      pack<float>(keys, scales);
    else if (type == kTypeNumber<Half>)
      pack<Half>(keys, scales);
    else
      pack<std::int8_t>(keys, scales);
  }

  TopkNan search(const float* queries, std::size_t batch, float* scores, std::int64_t* indices, bool release) const {
    return std::visit(
        [&]<class T>(const Values<T>& panels) {
          const TopkArgs<T> arguments{
              queries, panels.get(), multipliers_.get(), scores, indices, batch, dim_, count_, k_, true, cosine_};
          return release ? released<T>(kernels_, arguments) : functions<T>(kernels_).search(arguments);
        },
        panels_);
  }

  // queries [batch, dim], scores [batch, k], indices [batch, k]
  bool run(std::byte* const* fields, std::size_t batch) const override {
    return !search(reinterpret_cast<const float*>(fields[0]), batch, reinterpret_cast<float*>(fields[1]),
                   reinterpret_cast<std::int64_t*>(fields[2]), false)
                .found;
  }

 private:
  template <class T>
  void pack(py::handle keys, py::handle scales) {
    const auto rows = read_array<const T>(keys, 2);
    const float* scale = scales.is_none() ? nullptr : read_array<const float>(scales, 1).data;
    count_ = rows.extent(0);
    dim_ = rows.extent(1);
    const std::size_t places = panels_of(count_) * kPanelKeys;
    auto panels = values_of<T>(places * dim_);
    if (cosine_ || scale != nullptr) multipliers_ = values_of<float>(places);
    {
      Released free(static_cast<double>(count_ * dim_));
      functions<T>(kernels_).pack({rows.data, scale, panels.get(), multipliers_.get(), dim_, count_, cosine_});
    }
    panels_ = std::move(panels);
  }

  const TopkKernels& kernels_ = topk_similarity();
  std::variant<Values<float>, Values<Half>, Values<std::int8_t>> panels_;
  Values<float> multipliers_;
  std::size_t dim_ = 0;
  std::size_t count_ = 0;
  const bool cosine_;
  const std::size_t k_;
};

}  // namespace

void bind_topk_similarity(py::module_& m) {
  m.def("topk_similarity", &topk_call, "Exact top-k; arguments as checked by the op.");
  py::class_<Retriever, std::shared_ptr<Retriever>>(m, "Retriever")
      .def(py::init<py::handle, py::handle, bool, std::size_t>())
      .def("search",
           [](const Retriever& self, py::handle queries, py::handle scores, py::handle indices) {
             const auto query = read_array<const float>(queries, 2);
             refuse(self.search(query.data, query.extent(0), read_array<float>(scores, 2).data,
                                read_array<std::int64_t>(indices, 2).data, true));
           })
      .def("_bound", [](std::shared_ptr<Retriever> self) { return bound_capsule(std::move(self)); });
}

}  // namespace tailrace::kernels
