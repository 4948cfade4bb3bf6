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
  OpsBenchSizes sizes;
  sizes.runs = 1;
  sizes.repeats = 1;
  sizes.rotated_bytes = 0;
  sizes.heads = 4;
  sizes.kv_heads = 2;
  sizes.head_dim = 16;
  sizes.width = sizes.gate_width = 64;
  sizes.contexts = {130};
  sizes.batches = {2};
  sizes.tokens = {3};
  sizes.prefill_tokens = 40;
  sizes.vocab = 1000;
  sizes.gram_width = sizes.gram_tokens = 16;
  EXPECT_EQ(BenchOps(linears, 1e9, sizes).message, "");
  SearchBenchSizes search;
  search.runs = 1;
  search.rows = 5;
  search.columns = 160;
  search.group_size = 32;
  search.refitted_rows = 3;
  EXPECT_EQ(BenchSearch(search).message, "");
}

}  // namespace
}  // namespace awq::cuda
