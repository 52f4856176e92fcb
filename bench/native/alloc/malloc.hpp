// malloc.hpp -- the process's malloc as an engine: glibc's, or the one that LD_PRELOAD has put in its place.
//
// What      `Malloc`, which asks the process whose malloc it has.
// Why       The same executable measures them all, and a preload that did not take shows by its name.
// Threads   Any.
#pragma once

#include <dlfcn.h>

#include <cstdlib>

#include "heap.hpp"

namespace bench::alloc {

class Malloc {
 public:
  // "malloc" for the C library's; otherwise the library that has taken its place: "jemalloc" for libjemalloc.so.2.
  Malloc() {
    Dl_info where{};
    void* const symbol = ::dlsym(RTLD_DEFAULT, "malloc");
    if (symbol == nullptr || ::dladdr(symbol, &where) == 0 || where.dli_fname == nullptr) return;
    std::string file{where.dli_fname};
    file = file.substr(file.rfind('/') + 1);
    file = file.substr(0, file.find_first_of(".-"));
    if (file.size() > 3 && file.starts_with("lib") && file != "libc") name_ = file.substr(3);
  }
  const char* name() const noexcept { return name_.c_str(); }
  Malloc& local() noexcept { return *this; }
  void* allocate(std::size_t bytes) noexcept { return std::malloc(bytes); }
  void deallocate(void* block, std::size_t) noexcept { std::free(block); }

 private:
  std::string name_ = "malloc";
};

}  // namespace bench::alloc
