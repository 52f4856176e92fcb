// activation.hpp -- the activations that a layer may end with.
//
// What      Their names; what they do to a vector is in cpu/activate.hpp.
// Why       Argument structs name them, and are compiled once for all instruction sets.
// Threads   None.
#pragma once

#include <cstdint>

namespace tailrace::kernels {

enum class Activation : std::uint8_t { none, relu, tanh, gelu, silu };

}  // namespace tailrace::kernels
