// Buffers that are never freed: eight for each thread, on huge pages where the system has them.
#include <sys/mman.h>

#include "workload.hpp"

namespace {

class Reused {
 public:
  const char* name() const noexcept { return "serial"; }

  class Local {
   public:
    ~Local() {
      if (all_ != nullptr) ::munmap(all_, kSpan * 9);
    }
    // The window frees the oldest before it takes the next, so that taking them in turn is right.
    void* allocate(std::size_t) noexcept {
      if (all_ == nullptr) map();
      return first_ + kSpan * (turn_++ % 8);
    }
    void deallocate(void*, std::size_t) noexcept {}

   private:
    static constexpr std::size_t kSpan = std::size_t{20} << 20;  // an even number of huge pages

    void map() {
      all_ = static_cast<char*>(::mmap(nullptr, kSpan * 9, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
      bench::require(all_ != MAP_FAILED, "the system gave no memory");
      ::madvise(all_, kSpan * 9, MADV_HUGEPAGE);
      first_ = all_ + (-reinterpret_cast<std::uintptr_t>(all_) & ((std::uintptr_t{2} << 20) - 1));
    }

    char* all_ = nullptr;
    char* first_ = nullptr;
    std::size_t turn_ = 0;
  };
  Local local() { return {}; }
};

}  // namespace

int main(int argc, char** argv) {
  const bench::Options options = bench::parse(argc, argv);
  for (int pass = 0; pass < options.passes; ++pass) bench::alloc_touch::measure_eight<Reused>(options);
}
