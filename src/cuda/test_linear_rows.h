// What every way to compute a linear must compute right, on the emulator and on a device.
#pragma once

#include <vector>

#include "cuda/linear_choice.h"
#include "cuda/test_linear.h"

namespace awq::cuda {

struct LinearTest {
  LinearRow row;
  LinearChoice choice;
};

// Remainders of every kind: of panels, units, groups, tiles and parts. `is_short`: what a checker
// that makes everything hundreds of times slower can run.
inline std::vector<LinearTest> LinearTests(bool is_short) {
  const LinearChoice stream{LinearWay::kStream, 0};
  const LinearChoice tile16{LinearWay::kTile, 16}, tile32{LinearWay::kTile, 32};
  const LinearChoice tile64{LinearWay::kTile, 64}, dense{LinearWay::kDense, 64};
  const LinearChoice wgmma16{LinearWay::kWgmma, 16}, wgmma32{LinearWay::kWgmma, 32};
  const LinearChoice wgmma64{LinearWay::kWgmma, 64}, wgmma128{LinearWay::kWgmma, 128};
  std::vector<LinearTest> tests;
  for (const Float type : {Float::kHalf, Float::kBfloat16}) {
    for (const int bits : {3, 4, 8}) {
      for (const int group : {32, 96, 128, 352}) {
        tests.push_back({{{136, 352, bits, group}, 3, type}, stream});
        tests.push_back({{{136, 352, bits, group}, 11, type}, tile16});
        tests.push_back({{{136, 352, bits, group}, 11, type}, wgmma16});
      }
      tests.push_back({{{200, 608, bits, 64}, 35, type, type, true}, tile32});
      tests.push_back({{{200, 608, bits, 64}, 70, type, type, true, 56}, tile64});
      tests.push_back({{{200, 608, bits, 64}, 35, type, type, true}, wgmma32});
      tests.push_back({{{200, 608, bits, 32}, 70, type, type, true, 56}, wgmma64});
      tests.push_back({{{200, 608, bits, 64}, 130, type, type, true}, wgmma128});
      tests.push_back({{{200, 608, bits, 64}, 70, type, type, true, 56}, dense});
    }
  }
  tests.push_back({{{8, 32, 4, 32}, 1}, stream});
  tests.push_back({{{136, 352, 4, 32}, 3, Float::kHalf, Float::kSingle, false, 8}, stream});
  if (!is_short) {
    for (const int tokens : {1, 5, 8}) {
      tests.push_back({{{4096, 4096, 4, 128}, tokens}, stream});
      tests.push_back({{{1000, 14336, 4, 128}, tokens, Float::kBfloat16}, stream});
    }
    tests.push_back({{{1000, 4096, 4, 128}, 9}, tile16});
    tests.push_back({{{1000, 4096, 4, 128}, 130}, tile64});
    for (const LinearChoice& wgmma : {wgmma16, wgmma32, wgmma64, wgmma128}) {
      tests.push_back({{{1000, 4096, 4, 128}, 130, Float::kBfloat16}, wgmma});
    }
    tests.push_back({{{20000, 1024, 4, 96}, 130}, wgmma128});  // more tiles than multiprocessors
    tests.push_back({{{5000, 8192, 4, 128}, 300, Float::kBfloat16}, dense});  // more than a stripe
  }
  return tests;
}

}  // namespace awq::cuda
