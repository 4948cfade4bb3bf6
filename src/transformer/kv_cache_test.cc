#include "transformer/kv_cache.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "testing/random_model.h"

namespace awq::transformer {
namespace {

using math::Precision;

constexpr std::size_t kPage = 4;  // tokens

const model::ModelConfig& Config() {
  static const model::ModelConfig config = testing::SmallConfig();  // 2 key heads of 8
  return config;
}

CacheShape Shape(std::size_t slots, std::size_t pages, KvType type = KvType::kExact) {
  return {.layers = 2,
          .slots = slots,
          .capacity_tokens = 40,
          .type = type,
          .pages = pages,
          .page_tokens = kPage};
}

// One number for all keys of a token, its negative for the values.
void Write(KvCache& cache, const Segment& segment, float number) {
  ASSERT_TRUE(cache.Reserve(segment));
  for (std::size_t t = 0; t < segment.tokens; ++t) {
    const float x = number + static_cast<float>(t);
    const std::vector<float> keys(Config().kv_width(), x);
    const std::vector<float> values(Config().kv_width(), -x);
    for (std::size_t layer = 0; layer < 2; ++layer) {
      cache.Store({layer, segment.slot, segment.position + t}, keys, values);
    }
  }
}

// The number of a token, the same in all places; rounding to 8 bits leaves it.
float NumberAt(const KvCache& cache, std::size_t slot, std::size_t position) {
  std::vector<float> all;
  for (std::size_t layer = 0; layer < 2; ++layer) {
    for (std::size_t head = 0; head < 2; ++head) {
      for (const bool values : {false, true}) {
        const KvCache::Head place{layer, slot, head};
        const KvRows row = values ? cache.Values(place, position) : cache.Keys(place, position);
        Matrix<float> x(1, row.head_dim);
        Read(row, x.view());
        const float scale = row.scales == nullptr ? 1.0F : *row.scales;
        for (const float each : x.span()) all.push_back((values ? -1.0F : 1.0F) * each * scale);
      }
    }
  }
  const auto [least, most] = std::ranges::minmax(all);
  EXPECT_FLOAT_EQ(least, most);
  return most;
}

std::vector<float> NumbersOf(const KvCache& cache, std::size_t slot, std::size_t tokens) {
  std::vector<float> numbers;
  for (std::size_t t = 0; t < tokens; ++t) numbers.push_back(std::round(NumberAt(cache, slot, t)));
  return numbers;
}

TEST(KvCache, SaysItsSize) {
  const auto bytes = [](Precision precision, const CacheShape& shape) {
    return KvCache::Bytes(Config(), precision, shape);
  };
  // Sequences shorter than a page have pages of their length.
  EXPECT_EQ(bytes(Precision::kBF16, {2, 3, 5}), 2U * 2 * 3 * 5 * 16 * 2);
  EXPECT_EQ(bytes(Precision::kF32, {2, 3, 5}), 2U * 2 * 3 * 5 * 16 * 4);
  EXPECT_EQ(bytes(Precision::kF32, {2, 3, 5, KvType::kF16}), 2U * 2 * 3 * 5 * 16 * 2);
  EXPECT_EQ(bytes(Precision::kBF16, {2, 3, 5, KvType::kInt8}), 2U * 2 * 3 * 5 * (16 + 2 * 4));
  EXPECT_EQ(bytes(Precision::kF32, {2, 3, 129}), 2U * 2 * 3 * 256 * 16 * 4);
  EXPECT_EQ(bytes(Precision::kF32, {.layers = 2, .slots = 3, .capacity_tokens = 900, .pages = 5}),
            2U * 2 * 5 * 128 * 16 * 4);
  EXPECT_EQ(KvCache::TokenBytes(Config(), Precision::kF32, KvType::kInt8), 2U * 2 * (8 + 4));
  EXPECT_THROW((void)bytes(Precision::kF32, {SIZE_MAX, 3, 5}), std::bad_alloc);
}

TEST(KvCache, TakesPagesAsTextsGrowAndCopiesNothing) {
  for (const KvType type : {KvType::kExact, KvType::kF16, KvType::kInt8}) {
    KvCache cache(Config(), Precision::kF32, Shape(2, 0, type));
    EXPECT_EQ(cache.shape().pages, 20U);
    EXPECT_EQ(cache.pages_in_use(), 0U);
    Write(cache, {3, 0, 1}, 10);
    EXPECT_EQ(cache.pages_in_use(), 1U);
    const void* const place = cache.Keys({1, 1, 1}, 0).elements;
    EXPECT_EQ(NumberAt(cache, 1, 3), 0);  // was never written
    Write(cache, {1, 3, 1}, 13);
    EXPECT_EQ(cache.pages_in_use(), 1U);
    Write(cache, {1, 4, 1}, 14);
    EXPECT_EQ(cache.pages_in_use(), 2U);
    Write(cache, {9, 5, 1}, 15);
    EXPECT_EQ(cache.pages_in_use(), 4U);
    EXPECT_EQ(cache.Keys({1, 1, 1}, 0).elements, place);
    EXPECT_EQ(NumbersOf(cache, 1, 14),
              (std::vector<float>{10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23}));
    cache.Truncate(1, 5);
    EXPECT_EQ(cache.pages_in_use(), 2U);
    EXPECT_EQ(NumbersOf(cache, 1, 5), (std::vector<float>{10, 11, 12, 13, 14}));
  }
}

TEST(KvCache, TwoContinuationsOfOnePrefixDoNotDisturbEachOther) {
  for (const KvType type : {KvType::kExact, KvType::kF16, KvType::kInt8}) {
    KvCache cache(Config(), Precision::kF32, Shape(3, 0, type));
    Write(cache, {10, 0, 0}, 1);  // two full pages and half of one
    cache.Share(0, 1, 10);
    cache.Share(0, 2, 9);
    EXPECT_EQ(cache.pages_in_use(), 3U);
    Write(cache, {1, 10, 1}, 50);
    EXPECT_EQ(cache.pages_in_use(), 4U);  // the last page has become its own
    Write(cache, {3, 9, 2}, 70);
    Write(cache, {1, 10, 0}, 90);  // nobody else has this page any more
    EXPECT_EQ(cache.pages_in_use(), 5U);
    EXPECT_EQ(NumbersOf(cache, 0, 11), (std::vector<float>{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 90}));
    EXPECT_EQ(NumbersOf(cache, 1, 11), (std::vector<float>{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 50}));
    EXPECT_EQ(NumbersOf(cache, 2, 12), (std::vector<float>{1, 2, 3, 4, 5, 6, 7, 8, 9, 70, 71, 72}));
    // What the copy was made from goes on behind position 9, and is not part of it.
    EXPECT_EQ(NumberAt(cache, 1, 11), 0);
    cache.Truncate(0, 0);
    cache.Truncate(1, 0);
    EXPECT_EQ(cache.pages_in_use(), 3U);
    EXPECT_EQ(NumbersOf(cache, 2, 9), (std::vector<float>{1, 2, 3, 4, 5, 6, 7, 8, 9}));
  }
}

TEST(KvCache, RefusesWhatItHasNoPagesForAndLosesNothing) {
  KvCache cache(Config(), Precision::kF32, Shape(3, 4));
  Write(cache, {8, 0, 0}, 1);
  Write(cache, {3, 0, 1}, 40);
  const Status refused = cache.Reserve(Segment{9, 0, 2});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::kOutOfMemory);
  for (const char* part : {"9 tokens", "3 more of its 4 pages of 4 tokens", "1 are free"}) {
    EXPECT_NE(refused.error().message.find(part), std::string::npos) << refused.error().message;
  }
  EXPECT_EQ(cache.pages_in_use(), 3U);
  EXPECT_EQ(NumbersOf(cache, 0, 8), (std::vector<float>{1, 2, 3, 4, 5, 6, 7, 8}));
  EXPECT_EQ(NumbersOf(cache, 1, 3), (std::vector<float>{40, 41, 42}));
  // Pages to copy count, too.
  cache.Share(0, 2, 7);
  Write(cache, {1, 7, 2}, 60);
  EXPECT_EQ(cache.pages_in_use(), 4U);
  cache.Truncate(2, 0);
  cache.Share(1, 2, 2);
  EXPECT_TRUE(cache.Reserve(Segment{1, 3, 1}));
  EXPECT_FALSE(cache.Reserve(Segment{2, 3, 2}));
  EXPECT_EQ(NumbersOf(cache, 1, 3), (std::vector<float>{40, 41, 42}));
}

TEST(KvCache, SaysWhatWouldBeMissingWithoutOthers) {
  const std::vector<std::size_t> none;
  KvCache cache(Config(), Precision::kF32, Shape(4, 6));
  Write(cache, {8, 0, 0}, 1);
  cache.Share(0, 1, 6);  // both pages
  Write(cache, {9, 0, 2}, 40);
  EXPECT_EQ(cache.MissingPages({4, 0, 3}, none), 0U);
  EXPECT_EQ(cache.MissingPages({12, 0, 3}, none), 2U);
  EXPECT_EQ(cache.MissingPages({12, 0, 3}, std::vector<std::size_t>{1}), 2U);  // slot 0 has them
  EXPECT_EQ(cache.MissingPages({12, 0, 3}, std::vector<std::size_t>{0, 1}), 0U);
  EXPECT_EQ(cache.MissingPages({20, 0, 3}, std::vector<std::size_t>{0, 1}), 2U);
  EXPECT_EQ(cache.MissingPages({20, 0, 3}, std::vector<std::size_t>{0, 1, 2}), 0U);
  // A page that nobody else has any more need not be copied; nor is it free.
  EXPECT_EQ(cache.MissingPages({4, 6, 1}, none), 1U);
  EXPECT_EQ(cache.MissingPages({4, 6, 1}, std::vector<std::size_t>{0}), 0U);
  EXPECT_EQ(cache.MissingPages({8, 6, 1}, std::vector<std::size_t>{0}), 1U);
  EXPECT_EQ(cache.pages_in_use(), 5U);
}

TEST(KvCache, PagesThatAreFreeAgainAreUsedAgainAndAreEmpty) {
  for (const KvType type : {KvType::kExact, KvType::kF16, KvType::kInt8}) {
    KvCache cache(Config(), Precision::kF32, Shape(2, 2, type));
    Write(cache, {8, 0, 0}, 1);
    const void* const first = cache.Keys({0, 0, 0}, 0).elements;
    const void* const second = cache.Keys({0, 0, 0}, 4).elements;
    EXPECT_FALSE(cache.Reserve(Segment{1, 0, 1}));
    cache.Truncate(0, 0);
    Write(cache, {5, 0, 1}, 7);
    const void* const again = cache.Keys({0, 1, 0}, 4).elements;
    EXPECT_TRUE(again == first || again == second);
    EXPECT_EQ(NumbersOf(cache, 1, 8), (std::vector<float>{7, 8, 9, 10, 11, 0, 0, 0}));
  }
}

}  // namespace
}  // namespace awq::transformer
