#include <gtest/gtest.h>

#include "cuda/emulated_device.h"
#include "cuda/test_linear_bench.h"
#include "cuda/test_ops_bench.h"
#include "cuda/test_search_bench.h"

namespace awq::cuda {
namespace {

// What is measured is what a device takes; the times mean nothing here.
TEST(GpuBench, EveryMeasurementRuns) {
  Linears linears;
  ASSERT_EQ(linears.Create(0).message, "");
  const OpsBenchSizes sizes = {.runs = 1,
                               .repeats = 1,
                               .rotated_bytes = 0,
                               .heads = 4,
                               .kv_heads = 2,
                               .head_dim = 16,
                               .width = 64,
                               .gate_width = 64,
                               .batches = {2},
                               .contexts = {130},
                               .tokens = {3},
                               .prefill_tokens = 40,
                               .vocab = 1000,
                               .gram_width = 16,
                               .gram_tokens = 16};
  EXPECT_EQ(BenchOps(linears, 1e9, sizes).message, "");
  const SearchBenchSizes search = {
      .runs = 1, .rows = 5, .columns = 160, .group_size = 32, .refitted_rows = 3};
  EXPECT_EQ(BenchSearch(search).message, "");
}

}  // namespace
}  // namespace awq::cuda
