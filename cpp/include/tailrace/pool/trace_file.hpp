// trace_file.hpp -- a file to which calls of an allocator are written (docs/memory.md, Traces).
//
// What      `write` adds a line: when, which thread, what, which block, how many bytes, for whom.
// Why       One place knows the format, for C++ and for Python.
// Threads   One at a time.
// Checked   tests/cpp/pool/test_adaptors.cpp, tests/python/test_memory_pool_trace.py.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <map>
#include <string>
#include <thread>

namespace tailrace::pool {

class TraceFile {
 public:
  explicit TraceFile(const std::string& path);  // throws std::system_error: it cannot be written
  ~TraceFile();
  TraceFile(const TraceFile&) = delete;
  TraceFile& operator=(const TraceFile&) = delete;

  // In the text of a tag, what would end the cell becomes a blank.
  void write(const char* op, const void* block, std::size_t bytes, std::string tag);

 private:
  const std::int64_t began_ns_;
  std::FILE* const file_;
  std::map<std::thread::id, std::size_t> threads_;
};

}  // namespace tailrace::pool
