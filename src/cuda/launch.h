// The shape of a launch. A kernel's host side (which instance, how many blocks, how much shared
// memory) is a function template over a launcher, `launcher(kernel, shape, arguments...)`: so the
// device (launch.cuh) and the emulator (emulator.h) run the same code.
#pragma once

#include <cstddef>

namespace awq::cuda {

struct Grid {
  unsigned x = 1, y = 1, z = 1;
};

struct LaunchShape {
  Grid blocks = {};
  unsigned threads = 32;         // of one block
  std::size_t shared_bytes = 0;  // dynamic: all that kernels here use
};

}  // namespace awq::cuda
