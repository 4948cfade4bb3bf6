#include "cuda/ops.h"

#include <gtest/gtest.h>

#include "cuda/test_ops_device.h"
#include "cuda/test_ops_emulated.h"
#include "cuda/test_ops_rows.h"

namespace awq::cuda {

void PrintTo(const OpsRow& row, std::ostream* out) { *out << row.name; }

namespace {

class OpsRows : public testing::TestWithParam<OpsRow> {};

TEST_P(OpsRows, Emulated) {
  for (const simt::Options& options :
       {simt::Options{simt::Order::kForward, false}, simt::Options{simt::Order::kShuffled, true}}) {
    EmulatedOps backend(options);
    EXPECT_EQ(GetParam().check(backend), "");
  }
}

INSTANTIATE_TEST_SUITE_P(All, OpsRows, testing::ValuesIn(AllOpsRows()),
                         [](const auto& each) { return each.param.name; });

TEST(OnDevice, OpsRows) {
  int count = 0;
  if (const Fault fault = CountDevices(&count)) {
    GTEST_SKIP() << "skipped: no CUDA device; " << fault.message;
  }
  for (const OpsRow& row : AllOpsRows()) {
    DeviceOps backend;
    EXPECT_EQ(row.check(backend), "") << row.name;
  }
}

}  // namespace
}  // namespace awq::cuda
