#include "base/random.h"

#include <gtest/gtest.h>

#include <array>
#include <set>

namespace awq {
namespace {

TEST(Random, SequencesRepeatAndStreamsDiffer) {
  Random a(7, 3);
  Random b(7, 3);
  std::set<std::uint64_t> seen;
  for (std::uint64_t stream = 0; stream < 100; ++stream) {
    for (std::uint64_t seed = 0; seed < 10; ++seed) seen.insert(Random(seed, stream).Next());
  }
  EXPECT_EQ(seen.size(), 1000U);
  for (int i = 0; i < 100; ++i) EXPECT_EQ(a.Next(), b.Next());
}

TEST(Random, BelowIsEven) {
  Random random(1);
  std::array<int, 7> counts{};
  for (int i = 0; i < 70000; ++i) {
    const std::size_t drawn = random.Below(counts.size());
    ASSERT_LT(drawn, counts.size());
    ++counts[drawn];
  }
  for (int count : counts) EXPECT_NEAR(count, 10000, 5 * 93);  // five standard deviations
  for (int i = 0; i < 1000; ++i) EXPECT_LT(random.Uniform(), 1.0);
}

}  // namespace
}  // namespace awq
