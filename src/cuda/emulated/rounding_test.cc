#include "cuda/rounding.h"

#include <gtest/gtest.h>

#include "cuda/emulated_device.h"
#include "cuda/test_rounding.h"

namespace awq::cuda {

void PrintTo(const RoundingRow& row, std::ostream* out) { *out << row.name; }

namespace {

class RoundingOnEmulator : public testing::TestWithParam<RoundingRow> {
 protected:
  ~RoundingOnEmulator() override { SetEmulatedMachine({}); }
};

TEST_P(RoundingOnEmulator, Row) {
  for (const simt::Order order : {simt::Order::kForward, simt::Order::kShuffled}) {
    EmulatedMachine machine;
    machine.options.order = order;
    SetEmulatedMachine(machine);
    RoundingDevice device;
    EXPECT_EQ(GetParam().check(device), "");
  }
}

INSTANTIATE_TEST_SUITE_P(All, RoundingOnEmulator, testing::ValuesIn(RoundingRows()),
                         [](const auto& each) { return each.param.name; });

}  // namespace
}  // namespace awq::cuda
