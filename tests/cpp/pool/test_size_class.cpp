// test_size_class.cpp -- every class holds what is asked of it, no smaller one would, and alignment is kept.
#include "tailrace/pool/size_class.hpp"

#include "../harness.hpp"

namespace {

using namespace tailrace::pool;

TEST(each_size_gets_the_smallest_class_that_holds_it) {
  std::size_t expected = 0;
  for (std::size_t bytes = 1; bytes <= kMaxSlabBlock; ++bytes) {
    if (bytes > class_bytes(expected)) ++expected;
    if (class_of(bytes) != expected) CHECK_EQ(class_of(bytes), expected);
  }
  CHECK_EQ(class_of(kMaxSlabBlock), kSlabClasses - 1);
  for (std::size_t slices = 2; slices <= kMaxRunSlices; ++slices) {
    const std::size_t bytes = (slices - 1) * kSliceBytes + 1;
    if (expected < kSlabClasses || slices > run_slices(expected)) ++expected;
    CHECK_EQ(class_of(bytes), expected);
    CHECK_EQ(class_of(slices * kSliceBytes), expected);
    CHECK(run_slices(expected) >= slices);
  }
  CHECK_EQ(class_of(kMaxRunSlices * kSliceBytes), kHugeClass - 1);
  CHECK_EQ(class_of(kMaxRunSlices * kSliceBytes + 1), kHugeClass);
}

TEST(classes_grow_by_a_quarter_at_most_from_128_bytes_on) {
  for (std::size_t i = 8; i + 1 < kHugeClass; ++i) {
    if (i + 1 == kSlabClasses) continue;  // from the last slab to the first run
    CHECK(class_bytes(i) < class_bytes(i + 1));
    if (class_bytes(i) >= 4 * kSliceBytes || i < kSlabClasses) CHECK(class_bytes(i + 1) * 4 <= class_bytes(i) * 5);
  }
}

TEST(a_class_found_for_an_alignment_begins_there) {
  for (std::size_t alignment = 16; alignment <= kSliceBytes; alignment *= 2) {
    for (std::size_t bytes = 0; bytes <= kMaxSlabBlock + 5; bytes += bytes < 4096 ? 1 : 113) {
      const std::size_t found = class_of(bytes, alignment);
      if (found < kSlabClasses && (class_bytes(found) < bytes || class_bytes(found) % alignment != 0)) {
        CHECK_EQ(class_bytes(found) % alignment, std::size_t{0});
        CHECK(class_bytes(found) >= bytes);
      }
    }
  }
  CHECK(run_slices(class_of(1, 2 * kSliceBytes)) >= kUnitSlices);
}

TEST(a_slab_wastes_at_most_a_tenth_at_its_end) {
  for (std::size_t i = 0; i < kSlabClasses; ++i) {
    const std::size_t slab = slab_slices(i) * kSliceBytes;
    CHECK(slab % class_bytes(i) * 8 <= slab);
    CHECK(slab / class_bytes(i) >= 4);
  }
}

}  // namespace
