// dlpack.hpp -- the structures of DLPack, as its specification lays them out.
//
// What      A tensor, and who frees it: without a version, and with one (from DLPack 1.0 on).
// Why       What empty_bytes returns is taken by every array library without a copy. Forty lines need no dependency.
// Threads   A consumer may call a deleter on any thread, without the GIL.
// Source    dmlc/dlpack, "C API" and "Python Specification", version 1.0
#pragma once

#include <cstdint>

namespace tailrace::bindings::dlpack {

inline constexpr std::int32_t kCpu = 1;
inline constexpr std::uint8_t kUnsigned = 1;
inline constexpr std::uint64_t kReadOnly = 1;
inline constexpr std::uint64_t kIsCopied = 2;

struct Device {
  std::int32_t type;
  std::int32_t id;
};

struct DataType {
  std::uint8_t code;
  std::uint8_t bits;
  std::uint16_t lanes;
};

struct Tensor {
  void* data;
  Device device;
  std::int32_t dimensions;
  DataType dtype;
  std::int64_t* shape;
  std::int64_t* strides;
  std::uint64_t byte_offset;
};

struct Managed {
  static constexpr char kName[] = "dltensor";
  Tensor tensor;
  void* context;
  void (*deleter)(Managed* self);
};

struct ManagedVersioned {
  static constexpr char kName[] = "dltensor_versioned";
  std::uint32_t major;
  std::uint32_t minor;
  void* context;
  void (*deleter)(ManagedVersioned* self);
  std::uint64_t flags;
  Tensor tensor;
};

}  // namespace tailrace::bindings::dlpack
