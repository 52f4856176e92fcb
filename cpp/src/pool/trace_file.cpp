#include "tailrace/pool/trace_file.hpp"

#include <algorithm>
#include <cerrno>
#include <cinttypes>
#include <string_view>
#include <system_error>

#include "tailrace/base/clock.hpp"

namespace tailrace::pool {

TraceFile::TraceFile(const std::string& path) : began_ns_{base::monotonic_ns()}, file_{std::fopen(path.c_str(), "w")} {
  if (file_ == nullptr) throw std::system_error{errno, std::generic_category(), "tailrace: cannot write " + path};
  std::fputs("ns,thread,op,id,bytes,tag\n", file_);
}

TraceFile::~TraceFile() { std::fclose(file_); }

void TraceFile::write(const char* op, const void* block, std::size_t bytes, std::string tag) {
  const auto ends_cell = [](char c) { return std::string_view{",\"\n\r"}.find(c) != std::string_view::npos; };
  std::ranges::replace_if(tag, ends_cell, ' ');
  const std::size_t thread = threads_.try_emplace(std::this_thread::get_id(), threads_.size()).first->second;
  std::fprintf(file_, "%" PRId64 ",%zu,%s,%" PRIuPTR ",%zu,%s\n", base::monotonic_ns() - began_ns_, thread, op,
               reinterpret_cast<std::uintptr_t>(block), bytes, tag.c_str());
}

}  // namespace tailrace::pool
