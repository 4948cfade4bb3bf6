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

float AsFloat(float value) { return value; }
float AsFloat(BF16 value) { return ToFloat(value); }
void Set(float& to, float value) { to = value; }
void Set(BF16& to, float value) { to = ToBF16(value); }

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

// The definition, one query and head at a time, in double.
template <class T>
std::vector<double> Reference(const Case& c, const Segment& segment, std::size_t head_dim,
                              KvCache& cache, const float* query, std::size_t t, std::size_t head) {
  const std::size_t position = segment.position + t;
  const std::size_t kv = head / (c.heads / c.kv_heads);
  const std::size_t first = c.window != 0 && position + 1 > c.window ? position + 1 - c.window : 0;
  std::vector<double> weights;
  double sum = 0;
  for (std::size_t key = first; key <= position; ++key) {
    double score = 0;
    for (std::size_t i = 0; i < head_dim; ++i) {
      score += static_cast<double>(query[i]) *
               static_cast<double>(AsFloat(cache.Keys<T>(1, segment.slot)(key, kv * head_dim + i)));
    }
    weights.push_back(std::exp(score / std::sqrt(static_cast<double>(head_dim))));
    sum += weights.back();
  }
  std::vector<double> out(head_dim, 0);
  for (std::size_t key = first; key <= position; ++key) {
    for (std::size_t i = 0; i < head_dim; ++i) {
      out[i] +=
          weights[key - first] / sum *
          static_cast<double>(AsFloat(cache.Values<T>(1, segment.slot)(key, kv * head_dim + i)));
    }
  }
  return out;
}

template <class T>
void ExpectAttends(const Case& c, Precision precision, double tolerance) {
  model::ModelConfig config = testing::SmallConfig();
  config.num_attention_heads = c.heads;
  config.num_key_value_heads = c.kv_heads;
  const std::size_t head_dim = config.head_dim;
  KvCache cache(config, precision, {2, 3, c.capacity});
  std::size_t tokens = 0;
  for (const Segment& segment : c.batch) {
    const std::size_t known = segment.position + segment.tokens;
    const Matrix<float> keys = Random(known, config.kv_width(), 1);
    const Matrix<float> values = Random(known, config.kv_width(), 2);
    for (std::size_t r = 0; r < known; ++r) {
      for (std::size_t i = 0; i < keys.cols(); ++i) {
        Set(cache.Keys<T>(1, segment.slot)(r, i), keys(r, i));
        Set(cache.Values<T>(1, segment.slot)(r, i), values(r, i));
      }
    }
    tokens += segment.tokens;
  }
  Matrix<float> queries = Random(tokens, config.q_width(), 3);
  if (precision == Precision::kBF16) {  // the queries' own rounding is not what is tested
    for (float& x : queries.span()) x = ToFloat(ToBF16(x));
  }
  Matrix<float> out(tokens, config.q_width());
  ThreadPool pool(2);
  Attend(pool, {&config, 1, c.window}, c.batch, cache, queries.view(), out);
  std::size_t row = 0;
  for (const Segment& segment : c.batch) {
    for (std::size_t t = 0; t < segment.tokens; ++t, ++row) {
      for (std::size_t head = 0; head < c.heads; ++head) {
        const std::vector<double> want =
            Reference<T>(c, segment, head_dim, cache, queries.row(row) + head * head_dim, t, head);
        for (std::size_t i = 0; i < head_dim; ++i) {
          ASSERT_NEAR(static_cast<double>(out(row, head * head_dim + i)), want[i], tolerance)
              << "row " << row << " head " << head;
        }
      }
    }
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
  };
}

TEST(Attention, F32AgainstTheDefinition) {
  // Values are of order 1 and weights sum to 1: the error is that of scores (dot products of 8, up
  // to |score| of about 6) through exp, and of a mean of at most 300: below 64 roundings of 4.
  for (const Case& c : Cases()) ExpectAttends<float>(c, Precision::kF32, 64 * 4 * 0x1p-24);
}

TEST(Attention, BF16AgainstTheDefinition) {
  if (!math::HasFastBF16()) GTEST_SKIP() << "this CPU has no bf16 instructions";
  // Only the weights are rounded to bf16 (2^-9 each, relative), on values up to about 4.
  for (const Case& c : Cases()) ExpectAttends<BF16>(c, Precision::kBF16, 4 * 0x1p-9);
}

TEST(Attention, WhatIsBehindTheLastKeyDoesNotMatter) {
  const model::ModelConfig config = testing::SmallConfig();
  ThreadPool pool(1);
  Matrix<float> first(20, config.q_width());
  for (float behind : {0.0F, 1e30F}) {
    KvCache cache(config, Precision::kF32, {1, 1, 64});
    const Matrix<float> rows = Random(64, config.kv_width(), 4);
    for (std::size_t r = 0; r < 64; ++r) {
      for (std::size_t i = 0; i < rows.cols(); ++i) {
        cache.Keys<float>(0, 0)(r, i) = r < 20 ? rows(r, i) : behind;
        cache.Values<float>(0, 0)(r, i) = r < 20 ? rows(r, i) : behind;
      }
    }
    Matrix<float> out(20, config.q_width());
    Attend(pool, {&config, 0, 0}, {{20, 0, 0}}, cache, Random(20, config.q_width(), 5).view(), out);
    if (behind == 0.0F) {
      first = std::move(out);
    } else {
      EXPECT_EQ(std::memcmp(out.data(), first.data(), out.size() * sizeof(float)), 0);
    }
  }
}

TEST(KvCache, StartsAtZeroAndSaysItsSize) {
  const model::ModelConfig config = testing::SmallConfig();  // kv_width 16
  EXPECT_EQ(KvCache::Bytes(config, Precision::kBF16, {2, 3, 5}), 2U * 2 * 3 * 5 * 16 * 2);
  EXPECT_EQ(KvCache::Bytes(config, Precision::kF32, {2, 3, 5}), 2U * 2 * 3 * 5 * 16 * 4);
  EXPECT_THROW((void)KvCache::Bytes(config, Precision::kF32, {SIZE_MAX, 3, 5}), std::bad_alloc);
  KvCache cache(config, Precision::kF32, {2, 3, 5});
  for (std::size_t r = 0; r < 5; ++r) {
    EXPECT_EQ(cache.Keys<float>(1, 2)(r, 15), 0.0F);
    EXPECT_EQ(cache.Values<float>(1, 2)(r, 15), 0.0F);
  }
}

}  // namespace
}  // namespace awq::transformer
