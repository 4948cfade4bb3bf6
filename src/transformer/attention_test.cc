#include "transformer/attention.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <random>
#include <vector>

#include "testing/random_model.h"

namespace awq::transformer {
namespace {

using math::Precision;

Matrix<float> Random(std::size_t rows, std::size_t cols, unsigned seed) {
  Matrix<float> m(rows, cols);
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  for (float& x : m.span()) x = normal(random);
  return m;
}

struct Case {
  std::size_t heads = 4;
  std::size_t kv_heads = 2;
  std::size_t window = 0;
  std::size_t capacity = 300;
  Batch batch;
};

struct Kind {
  Precision precision;
  KvType type;
};

// What a cache holds of one head, [capacity_tokens, head_dim].
Matrix<float> HeldFloats(KvCache& cache, std::size_t slot, std::size_t kv, bool values) {
  const auto exact = [&]<class T>(T) {
    const MatrixView<T> rows = values ? cache.Values<T>(1, slot, kv) : cache.Keys<T>(1, slot, kv);
    Matrix<float> floats(rows.rows, rows.cols);
    for (std::size_t i = 0; i < floats.size(); ++i) {
      if constexpr (std::is_same_v<T, BF16>) {
        floats.data()[i] = ToFloat(rows.data[i]);
      } else {
        floats.data()[i] = rows.data[i];
      }
    }
    return floats;
  };
  if (cache.shape().type == KvType::kExact) {
    return cache.precision() == Precision::kBF16 ? exact(BF16()) : exact(0.0F);
  }
  const NarrowRows rows = values ? cache.NarrowValues(1, slot, kv) : cache.NarrowKeys(1, slot, kv);
  Matrix<float> floats(cache.shape().capacity_tokens, rows.head_dim);
  Read(rows, floats.view());
  return floats;
}

// The definition, one query and head at a time, in double.
std::vector<double> Reference(const Matrix<float>& keys, const Matrix<float>& values,
                              const float* query, std::size_t position, std::size_t window) {
  const std::size_t head_dim = keys.cols();
  const std::size_t first = window != 0 && position + 1 > window ? position + 1 - window : 0;
  std::vector<double> weights;
  double sum = 0;
  for (std::size_t key = first; key <= position; ++key) {
    double score = 0;
    for (std::size_t i = 0; i < head_dim; ++i) {
      score += static_cast<double>(query[i]) * static_cast<double>(keys(key, i));
    }
    weights.push_back(std::exp(score / std::sqrt(static_cast<double>(head_dim))));
    sum += weights.back();
  }
  std::vector<double> out(head_dim, 0);
  for (std::size_t key = first; key <= position; ++key) {
    for (std::size_t i = 0; i < head_dim; ++i) {
      out[i] += weights[key - first] / sum * static_cast<double>(values(key, i));
    }
  }
  return out;
}

void ExpectAttends(const Case& c, const Kind& kind, double tolerance) {
  model::ModelConfig config = testing::SmallConfig();
  config.num_attention_heads = c.heads;
  config.num_key_value_heads = c.kv_heads;
  const std::size_t head_dim = config.head_dim;
  KvCache cache(config, kind.precision, {2, 3, c.capacity, kind.type});
  std::size_t tokens = 0;
  for (const Segment& segment : c.batch) {
    const std::size_t known = segment.position + segment.tokens;
    const Matrix<float> keys = Random(known, config.kv_width(), 1);
    const Matrix<float> values = Random(known, config.kv_width(), 2);
    for (std::size_t r = 0; r < known; ++r) {
      cache.Store({1, segment.slot, r}, {keys.row(r), keys.cols()}, {values.row(r), values.cols()});
    }
    tokens += segment.tokens;
  }
  Matrix<float> queries = Random(tokens, config.q_width(), 3);
  if (kind.precision == Precision::kBF16) {  // the queries' own rounding is not what is tested
    for (float& x : queries.span()) x = ToFloat(ToBF16(x));
  }
  Matrix<float> out(tokens, config.q_width());
  ThreadPool pool(2);
  Attend(pool, {&config, 1, c.window}, c.batch, cache, queries.view(), out);
  std::size_t row = 0;
  for (const Segment& segment : c.batch) {
    for (std::size_t head = 0; head < c.heads; ++head) {
      const std::size_t kv = head / (c.heads / c.kv_heads);
      const Matrix<float> keys = HeldFloats(cache, segment.slot, kv, false);
      const Matrix<float> values = HeldFloats(cache, segment.slot, kv, true);
      for (std::size_t t = 0; t < segment.tokens; ++t) {
        const float* query = queries.row(row + t) + head * head_dim;
        const std::vector<double> want =
            Reference(keys, values, query, segment.position + t, c.window);
        for (std::size_t i = 0; i < head_dim; ++i) {
          ASSERT_NEAR(static_cast<double>(out(row + t, head * head_dim + i)), want[i], tolerance)
              << "row " << row + t << " head " << head;
        }
      }
    }
    row += segment.tokens;
  }
}

std::vector<Case> Cases() {
  return {
      {4, 2, 0, 300, {{1, 0, 0}}},    // the first token of all
      {4, 4, 0, 64, {{64, 0, 2}}},    // a full cache, one query per key head
      {4, 2, 0, 300, {{200, 0, 1}}},  // two tiles of queries, the last partial
      {4, 1, 0, 300, {{1, 255, 0}, {130, 70, 1}, {1, 3, 2}}},  // old and new tokens together
      {4, 2, 8, 300, {{200, 0, 1}, {1, 150, 0}}},      // windows shorter than a step of keys
      {4, 2, 100, 290, {{160, 130, 1}, {1, 289, 2}}},  // and longer, to the end of the cache
      {4, 2, 1, 100, {{3, 97, 0}}},                    // a token that sees itself only
      {6, 2, 0, 700, {{150, 540, 0}, {1, 699, 1}}},    // more keys than become floats at a time
  };
}

TEST(Attention, F32AgainstTheDefinition) {
  // Values are of order 1 and weights sum to 1: the error is that of scores (dot products of 8, up
  // to |score| of about 6) through exp, and of a mean of at most 300: below 64 roundings of 4.
  for (const Case& c : Cases()) {
    ExpectAttends(c, {Precision::kF32, KvType::kExact}, 64 * 4 * 0x1p-24);
  }
}

TEST(Attention, NarrowRowsAgainstTheDefinition) {
  // What is held is rounded already, and computed with in fp32, also where the arithmetic is bf16.
  for (const Precision precision : {Precision::kF32, Precision::kBF16}) {
    for (const KvType type : {KvType::kF16, KvType::kInt8}) {
      for (const Case& c : Cases()) ExpectAttends(c, {precision, type}, 64 * 4 * 0x1p-24);
    }
  }
}

TEST(Attention, BF16AgainstTheDefinition) {
  if (!math::HasFastBF16()) GTEST_SKIP() << "this CPU has no bf16 instructions";
  // Only the weights are rounded to bf16 (2^-9 each, relative), on values up to about 4.
  for (const Case& c : Cases()) {
    ExpectAttends(c, {Precision::kBF16, KvType::kExact}, 4 * 0x1p-9);
  }
}

TEST(Attention, WhatIsBehindTheLastKeyDoesNotMatter) {
  const model::ModelConfig config = testing::SmallConfig();
  ThreadPool pool(1);
  for (const KvType type : {KvType::kExact, KvType::kF16, KvType::kInt8}) {
    Matrix<float> first;
    for (float behind : {0.0F, 1e30F}) {
      KvCache cache(config, Precision::kF32, {1, 1, 64, type});
      Matrix<float> rows = Random(64, config.kv_width(), 4);
      for (std::size_t r = 0; r < 64; ++r) {
        if (r >= 20) std::fill_n(rows.row(r), rows.cols(), behind);
        const std::span<const float> row(rows.row(r), rows.cols());
        cache.Store({0, 0, r}, row, row);
      }
      Matrix<float> out(20, config.q_width());
      Attend(pool, {&config, 0, 0}, {{20, 0, 0}}, cache, Random(20, config.q_width(), 5).view(),
             out);
      if (behind == 0.0F) {
        first = std::move(out);
      } else {
        EXPECT_EQ(std::memcmp(out.data(), first.data(), out.size() * sizeof(float)), 0);
      }
    }
  }
}

TEST(KvCache, StartsAtZeroAndSaysItsSize) {
  const model::ModelConfig config = testing::SmallConfig();  // 2 key heads of 8
  EXPECT_EQ(KvCache::Bytes(config, Precision::kBF16, {2, 3, 5}), 2U * 2 * 3 * 5 * 16 * 2);
  EXPECT_EQ(KvCache::Bytes(config, Precision::kF32, {2, 3, 5}), 2U * 2 * 3 * 5 * 16 * 4);
  EXPECT_EQ(KvCache::Bytes(config, Precision::kF32, {2, 3, 5, KvType::kF16}),
            2U * 2 * 3 * 5 * 16 * 2);
  EXPECT_EQ(KvCache::Bytes(config, Precision::kBF16, {2, 3, 5, KvType::kInt8}),
            2U * 2 * 3 * 5 * (16 + 2 * 4));
  EXPECT_THROW((void)KvCache::Bytes(config, Precision::kF32, {SIZE_MAX, 3, 5}), std::bad_alloc);
  for (const KvType type : {KvType::kExact, KvType::kF16, KvType::kInt8}) {
    KvCache cache(config, Precision::kF32, {2, 3, 5, type});
    for (const bool values : {false, true}) {
      const Matrix<float> held = HeldFloats(cache, 2, 1, values);
      for (const float x : held.span()) EXPECT_EQ(x, 0.0F);
    }
  }
}

TEST(KvCache, KeepsWhatItHoldsWhenItGrows) {
  const model::ModelConfig config = testing::SmallConfig();
  const Matrix<float> rows = Random(5, config.kv_width(), 6);
  for (const KvType type : {KvType::kExact, KvType::kF16, KvType::kInt8}) {
    KvCache cache(config, Precision::kF32, {2, 3, 5, type});
    KvCache grown(config, Precision::kF32, {2, 3, 5, type});
    for (std::size_t r = 0; r < 5; ++r) {
      const std::span<const float> row(rows.row(r), rows.cols());
      for (std::size_t slot = 0; slot < 3; ++slot) {
        cache.Store({1, slot, r}, row, row);
        grown.Store({1, slot, r}, row, row);
      }
    }
    grown.Reserve(3);
    EXPECT_EQ(grown.shape().capacity_tokens, 5U);
    grown.Reserve(9);
    EXPECT_EQ(grown.shape().capacity_tokens, 9U);
    for (const bool values : {false, true}) {
      const Matrix<float> before = HeldFloats(cache, 2, 1, values);
      const Matrix<float> after = HeldFloats(grown, 2, 1, values);
      EXPECT_EQ(std::memcmp(after.data(), before.data(), before.size() * sizeof(float)), 0);
      for (std::size_t i = before.size(); i < after.size(); ++i) EXPECT_EQ(after.data()[i], 0.0F);
    }
  }
}

}  // namespace
}  // namespace awq::transformer
