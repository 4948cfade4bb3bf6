#include "transformer/attention.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <random>
#include <vector>

#include "math/vector.h"
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

// What a cache holds of one head's first tokens.
Matrix<float> HeldFloats(const KvCache& cache, const KvCache::Head& head, bool values,
                         std::size_t tokens) {
  Matrix<float> floats(tokens, testing::SmallConfig().head_dim);
  for (std::size_t t = 0; t < tokens; ++t) {
    const KvRows row = values ? cache.Values(head, t) : cache.Keys(head, t);
    Read(row, floats.view().Rows(t, 1));
    if (row.scales != nullptr) math::Multiply({floats.row(t), floats.cols()}, *row.scales);
  }
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

// Largest magnitudes: of values, and of what a score adds up.
struct Sizes {
  double value = 0;
  double score = 0;
};

// Of order 1 and below 6, weights sum to 1: the error is that of scores (dot products of 8, up to
// |score| of about 6) through exp, and of a mean of at most 700: below 64 roundings of 4.
constexpr double kF32Tolerance = 64 * 4 * 0x1p-24;

// What bf16 adds where several queries are multiplied together: weights are rounded, 2^-8 each,
// and of fp16 the values and the keys too, whose error goes through exp and into the divisor. One
// query is multiplied in fp32.
double Tolerance(const Kind& kind, std::size_t tokens, const Sizes& sizes) {
  if (kind.precision == Precision::kF32 || tokens == 1) return kF32Tolerance;
  const double roundings = kind.type == KvType::kF16 ? 2 + 2 * sizes.score : 1;
  return kF32Tolerance + 0x1p-8 * sizes.value * roundings;
}

Sizes SizesOf(const Matrix<float>& keys, const Matrix<float>& values, const float* query) {
  Sizes sizes;
  for (const float x : values.span()) {
    sizes.value = std::max(sizes.value, std::abs(static_cast<double>(x)));
  }
  for (std::size_t k = 0; k < keys.rows(); ++k) {
    double score = 0;
    for (std::size_t i = 0; i < keys.cols(); ++i) {
      score += std::abs(static_cast<double>(query[i]) * static_cast<double>(keys(k, i)));
    }
    sizes.score = std::max(sizes.score, score / std::sqrt(static_cast<double>(keys.cols())));
  }
  return sizes;
}

// Keys and values of layer 1, to the segment's end.
void StoreRandom(KvCache& cache, std::size_t kv_width, const Segment& segment) {
  const std::size_t known = segment.position + segment.tokens;
  ASSERT_TRUE(cache.Reserve(Segment{known, 0, segment.slot}));
  const Matrix<float> keys = Random(known, kv_width, 1);
  const Matrix<float> values = Random(known, kv_width, 2);
  for (std::size_t r = 0; r < known; ++r) {
    cache.Store({1, segment.slot, r}, {keys.row(r), keys.cols()}, {values.row(r), values.cols()});
  }
}

void ExpectSegment(const Case& c, const Kind& kind, const KvCache& cache, const Segment& segment,
                   MatrixView<const float> queries, MatrixView<const float> out) {
  const std::size_t head_dim = testing::SmallConfig().head_dim;
  for (std::size_t head = 0; head < c.heads; ++head) {
    const KvCache::Head place{1, segment.slot, head / (c.heads / c.kv_heads)};
    const std::size_t known = segment.position + segment.tokens;
    const Matrix<float> keys = HeldFloats(cache, place, false, known);
    const Matrix<float> values = HeldFloats(cache, place, true, known);
    for (std::size_t t = 0; t < segment.tokens; ++t) {
      const float* query = queries.row(t) + head * head_dim;
      const double tolerance = Tolerance(kind, segment.tokens, SizesOf(keys, values, query));
      const std::vector<double> want =
          Reference(keys, values, query, segment.position + t, c.window);
      for (std::size_t i = 0; i < head_dim; ++i) {
        ASSERT_NEAR(static_cast<double>(out(t, head * head_dim + i)), want[i], tolerance)
            << "slot " << segment.slot << " token " << t << " head " << head;
      }
    }
  }
}

void ExpectAttends(const Case& c, const Kind& kind, std::size_t page_tokens) {
  SCOPED_TRACE(::testing::Message() << "pages of " << page_tokens);
  model::ModelConfig config = testing::SmallConfig();
  config.num_attention_heads = c.heads;
  config.num_key_value_heads = c.kv_heads;
  KvCache cache(config, kind.precision,
                {.layers = 2,
                 .slots = 3,
                 .capacity_tokens = c.capacity,
                 .type = kind.type,
                 .page_tokens = page_tokens});
  for (const Segment& segment : c.batch) StoreRandom(cache, config.kv_width(), segment);
  const std::size_t tokens = TokensOf(c.batch);
  Matrix<float> queries = Random(tokens, config.q_width(), 3);
  if (kind.precision == Precision::kBF16) {  // the queries' own rounding is not what is tested
    for (float& x : queries.span()) x = ToFloat(ToBF16(x));
  }
  Matrix<float> out(tokens, config.q_width());
  ThreadPool pool(2);
  const AttentionLayer layer{&config, 1, c.window};
  Attention(pool).Run(layer, c.batch, cache, queries.view(), out);
  std::size_t row = 0;
  for (const Segment& segment : c.batch) {
    ExpectSegment(c, kind, cache, segment, queries.view().Rows(row, segment.tokens),
                  out.view().Rows(row, segment.tokens));
    // Alone, on one thread: the same bits.
    Matrix<float> alone(segment.tokens, config.q_width());
    ThreadPool one(1);
    Attention(one).Run(layer, {segment}, cache, queries.view().Rows(row, segment.tokens), alone);
    EXPECT_EQ(std::memcmp(alone.data(), out.row(row), alone.size() * sizeof(float)), 0);
    row += segment.tokens;
  }
}

std::vector<Kind> Kinds() {
  std::vector<Kind> kinds;
  for (const KvType type : {KvType::kExact, KvType::kF16, KvType::kInt8}) {
    kinds.push_back({Precision::kF32, type});
    if (math::HasFastBF16()) kinds.push_back({Precision::kBF16, type});
  }
  return kinds;
}

TEST(Attention, IsThatOfTheDefinition) {
  const std::vector<Case> cases = {
      {4, 2, 0, 300, {{1, 0, 0}}},    // the first token of all
      {4, 4, 0, 64, {{64, 0, 2}}},    // a full cache, one query per key head
      {4, 2, 0, 300, {{200, 0, 1}}},  // two tiles of queries, the last partial
      {4, 1, 0, 300, {{1, 255, 0}, {130, 70, 1}, {1, 3, 2}}},  // old and new tokens together
      {4, 2, 8, 300, {{200, 0, 1}, {1, 150, 0}}},      // windows shorter than a step of keys
      {4, 2, 100, 290, {{160, 130, 1}, {1, 289, 2}}},  // and longer, to the end of the cache
      {4, 2, 1, 100, {{3, 97, 0}}},                    // a token that sees itself only
      {6, 2, 0, 700, {{150, 540, 0}, {1, 699, 1}}},    // several spans
      {2, 1, 600, 1300, {{90, 1100, 0}, {1, 1299, 1}, {1, 512, 2}}},  // windows over their ends
  };
  for (const Kind& kind : Kinds()) {
    for (const Case& c : cases) {
      for (const std::size_t page_tokens : {8U, 128U}) ExpectAttends(c, kind, page_tokens);
    }
  }
}

TEST(Attention, TextsThatEndAroundPagesSpansAndTiles) {
  for (const Kind& kind : Kinds()) {
    for (const std::size_t edge : {kPageTokens, std::size_t{512}}) {
      for (const std::size_t tokens : {edge - 1, edge, edge + 1}) {
        // To the end by one token, by two, and as a prompt.
        ExpectAttends({2, 1, 0, tokens, {{1, tokens - 1, 0}, {2, tokens - 2, 1}, {tokens, 0, 2}}},
                      kind, kPageTokens);
      }
    }
  }
}

TEST(Attention, RandomShapes) {
  std::mt19937 random(7);
  const auto up_to = [&](std::size_t most) { return random() % most + 1; };
  for (const Kind& kind : Kinds()) {
    for (int i = 0; i < 20; ++i) {
      Case c;
      c.kv_heads = up_to(3);
      c.heads = c.kv_heads * up_to(4);
      c.window = random() % 2 == 0 ? 0 : up_to(300);
      c.capacity = 400;
      for (std::size_t slot = 0; slot < up_to(3); ++slot) {
        const std::size_t tokens = random() % 2 == 0 ? 1 : up_to(150);
        c.batch.push_back({tokens, random() % (c.capacity - tokens + 1), slot});
      }
      SCOPED_TRACE(::testing::Message()
                   << c.heads << "/" << c.kv_heads << " heads, window " << c.window);
      ExpectAttends(c, kind, up_to(140));
    }
  }
}

TEST(Attention, WhatIsBehindTheLastKeyDoesNotMatter) {
  const model::ModelConfig config = testing::SmallConfig();
  ThreadPool pool(1);
  for (const KvType type : {KvType::kExact, KvType::kF16, KvType::kInt8}) {
    Matrix<float> first;
    for (float behind : {0.0F, 1e30F}) {
      KvCache cache(config, Precision::kF32, {1, 1, 64, type});
      ASSERT_TRUE(cache.Reserve(Segment{64, 0, 0}));
      Matrix<float> rows = Random(64, config.kv_width(), 4);
      for (std::size_t r = 0; r < 64; ++r) {
        if (r >= 20) std::fill_n(rows.row(r), rows.cols(), behind);
        const std::span<const float> row(rows.row(r), rows.cols());
        cache.Store({0, 0, r}, row, row);
      }
      Matrix<float> out(20, config.q_width());
      Attention(pool).Run({&config, 0, 0}, {{20, 0, 0}}, cache,
                          Random(20, config.q_width(), 5).view(), out);
      if (behind == 0.0F) {
        first = std::move(out);
      } else {
        EXPECT_EQ(std::memcmp(out.data(), first.data(), out.size() * sizeof(float)), 0);
      }
    }
  }
}

}  // namespace
}  // namespace awq::transformer
