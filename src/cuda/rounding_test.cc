#include "cuda/rounding.h"

#include <gtest/gtest.h>

#include "cuda/test_rounding.h"

namespace awq::cuda {
namespace {

TEST(OnDevice, RoundingRows) {
  int count = 0;
  if (const Fault fault = CountDevices(&count)) {
    GTEST_SKIP() << "skipped: no CUDA device; " << fault.message;
  }
  for (const RoundingRow& row : RoundingRows()) {
    RoundingDevice device;
    EXPECT_EQ(row.check(device), "") << row.name;
  }
}

}  // namespace
}  // namespace awq::cuda
