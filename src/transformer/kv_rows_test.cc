#include "transformer/kv_rows.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <span>
#include <type_traits>
#include <utility>
#include <vector>

#include "math/vector.h"
#include "testing/loops.h"

namespace awq::transformer {
namespace {

constexpr double kUnit = 0x1p-24;  // half the distance from 1 to the next float
constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

using testing::NormalFloats;
using Table = testing::Table<KvLoops>;

std::vector<Table> TablesOfThisCpu() {
  std::vector<Table> tables;
  for (const Isa isa : testing::IsasOfThisCpu()) {
    tables.push_back({IsaName(isa), &AWQ_TABLE_FOR(isa, kKvLoops)});
  }
  return tables;
}

template <class Run>
std::vector<float> SameOnAll(Run run) {
  return testing::SameOnAll(TablesOfThisCpu(), run);
}

// Rows of one kind, with the floats that they stand for, and those without scales.
struct Held {
  std::vector<std::byte> memory;
  std::vector<float> scales;
  std::vector<float> numbers;
  std::vector<float> values;
  KvRows rows;
};

template <class T>
std::span<T> As(Held& held, std::size_t n) {
  held.memory.resize(n * sizeof(T));
  return {reinterpret_cast<T*>(held.memory.data()), n};
}

Held Hold(std::size_t tokens, std::size_t head_dim, KvElement element) {
  Held held;
  const std::vector<float> x = NormalFloats(tokens * head_dim, 1);
  const auto numbers = [&](const auto& elements) {
    for (const auto each : elements) {
      if constexpr (std::is_convertible_v<decltype(each), float>) {
        held.numbers.push_back(static_cast<float>(each));
      } else {
        held.numbers.push_back(ToFloat(each));
      }
    }
  };
  switch (element) {
    case KvElement::kF32:
      std::ranges::copy(x, As<float>(held, x.size()).begin());
      held.numbers = x;
      break;
    case KvElement::kBF16:
      math::Convert(x, As<BF16>(held, x.size()));
      numbers(As<BF16>(held, x.size()));
      break;
    case KvElement::kF16:
      Round(x, As<F16>(held, x.size()));
      numbers(As<F16>(held, x.size()));
      break;
    case KvElement::kInt8:
      const std::span<std::int8_t> codes = As<std::int8_t>(held, x.size());
      for (std::size_t t = 0; t < tokens; ++t) {
        held.scales.push_back(Round(std::span(x).subspan(t * head_dim, head_dim),
                                    codes.subspan(t * head_dim, head_dim)));
      }
      numbers(codes);
  }
  held.values = held.numbers;
  for (std::size_t i = 0; i < x.size() && !held.scales.empty(); ++i) {
    held.values[i] *= held.scales[i / head_dim];
  }
  held.rows = {held.memory.data(), held.scales.empty() ? nullptr : held.scales.data(), head_dim,
               element};
  return held;
}

constexpr std::pair<const char*, KvElement> kElements[] = {{"f32", KvElement::kF32},
                                                           {"bf16", KvElement::kBF16},
                                                           {"f16", KvElement::kF16},
                                                           {"int8", KvElement::kInt8}};

// Shorter than a register, with and without remainders, and those of real models.
constexpr std::size_t kHeadDims[] = {2, 8, 15, 16, 20, 33, 64, 80, 96, 128};
constexpr std::size_t kTokenCounts[] = {1, 3, 64, 65, 150};
constexpr std::size_t kHeadCounts[] = {1, 2, 3, 7, 8, 13};

template <class Use>
void ForShapes(Use use) {
  for (const auto& [name, element] : kElements) {
    for (const std::size_t head_dim : kHeadDims) {
      for (const std::size_t tokens : kTokenCounts) {
        SCOPED_TRACE(::testing::Message()
                     << name << " head_dim " << head_dim << " tokens " << tokens);
        use(Hold(tokens, head_dim, element), tokens);
      }
    }
  }
}

TEST(KvRows, CodesAreTheNearestOfTheLargestOver127) {
  for (const std::size_t n : {1U, 7U, 16U, 33U, 128U}) {
    const std::vector<float> x = NormalFloats(n, 2);
    float most = 0;
    for (const float each : x) most = std::max(most, std::abs(each));
    const std::vector<float> back = SameOnAll([&](const KvLoops& loops) {
      std::vector<std::int8_t> codes(n);
      std::vector<float> values = {loops.round_to_int8(x.data(), n, codes.data())};
      for (const std::int8_t code : codes) values.push_back(static_cast<float>(code));
      return values;
    });
    ASSERT_EQ(back[0], most / 127);
    for (std::size_t i = 0; i < n; ++i) {
      // Two roundings of a quotient of at most 127.
      const auto quotient = static_cast<double>(x[i]) / static_cast<double>(back[0]);
      EXPECT_LE(std::abs(quotient - static_cast<double>(back[i + 1])), 0.5 + 127 * 3 * kUnit);
      EXPECT_EQ(std::abs(x[i]) == most, std::abs(back[i + 1]) == 127);
    }
  }
}

TEST(KvRows, NothingAndWhatIsNotFinite) {
  for (const Table& table : TablesOfThisCpu()) {
    SCOPED_TRACE(table.name);
    std::vector<std::int8_t> codes(20, 5);
    for (const float tiny : {0.0F, -0.0F, 9e-36F, 1e-45F}) {
      EXPECT_EQ(table.loops->round_to_int8(std::vector(20, tiny).data(), 20, codes.data()), 0.0F);
      EXPECT_EQ(codes, std::vector<std::int8_t>(20, 0));
    }
    for (const float wrong : {kInfinity, -kInfinity, kNaN}) {
      std::vector<float> x(20, 1.0F);
      x[17] = wrong;
      EXPECT_TRUE(std::isnan(table.loops->round_to_int8(x.data(), 20, codes.data())));
    }
    const float largest = std::numeric_limits<float>::max();
    EXPECT_EQ(table.loops->round_to_int8(&largest, 1, codes.data()), largest / 127);
    EXPECT_EQ(codes[0], 127);
  }
}

TEST(KvRows, HalvesEndAtTheirLargest) {
  const std::vector<float> x = {65504, 65519, 65520, -7e4F, kInfinity, -kInfinity, 1e-8F, kNaN};
  std::vector<F16> halves(x.size());
  Round(x, halves);
  for (const std::size_t i : {0U, 1U, 2U, 4U}) EXPECT_EQ(ToFloat(halves[i]), 65504) << i;
  for (const std::size_t i : {3U, 5U}) EXPECT_EQ(ToFloat(halves[i]), -65504) << i;
  EXPECT_EQ(ToFloat(halves[6]), 0);
  EXPECT_TRUE(std::isnan(ToFloat(halves[7])));
}

TEST(KvRows, EveryHalfIsReadAsTheFloatThatItIs) {
  std::vector<F16> halves(65536);
  for (std::size_t i = 0; i < halves.size(); ++i) halves[i].bits = static_cast<std::uint16_t>(i);
  for (const Table& table : TablesOfThisCpu()) {
    std::vector<float> floats(halves.size());
    table.loops->read({halves.data(), nullptr, halves.size(), KvElement::kF16}, 1, floats.data());
    for (std::size_t i = 0; i < halves.size(); ++i) {
      const float want = ToFloat(halves[i]);
      if (std::isnan(want)) {
        ASSERT_TRUE(std::isnan(floats[i])) << table.name << " " << i;
      } else {
        ASSERT_EQ(std::bit_cast<std::uint32_t>(floats[i]), std::bit_cast<std::uint32_t>(want))
            << table.name << " " << i;
      }
    }
  }
}

TEST(KvRows, ReadGivesWhatIsHeld) {
  ForShapes([](const Held& held, std::size_t tokens) {
    const std::vector<float> read = SameOnAll([&](const KvLoops& loops) {
      std::vector<float> to(held.numbers.size());
      loops.read(held.rows, tokens, to.data());
      return to;
    });
    EXPECT_EQ(read, held.numbers);
    Matrix<float> last(1, held.rows.head_dim);
    Read(From(held.rows, tokens - 1), last.view());
    EXPECT_EQ(std::memcmp(last.data(), &held.numbers[held.numbers.size() - last.size()],
                          last.size() * sizeof(float)),
              0);
  });
}

TEST(KvRows, ReadAsBF16RoundsWhatIsHeld) {
  ForShapes([](const Held& held, std::size_t tokens) {
    std::vector<BF16> want(held.numbers.size());
    math::Convert(held.numbers, std::span(want));
    for (const Table& table : TablesOfThisCpu()) {
      std::vector<std::uint16_t> to(want.size() + 1, 7);
      table.loops->read_bf16(held.rows, tokens, to.data());
      EXPECT_EQ(to.back(), 7) << table.name;
      for (std::size_t i = 0; i < want.size(); ++i) ASSERT_EQ(to[i], want[i].bits) << table.name;
    }
  });
}

TEST(KvRows, ScoresAreTheProductsWithAllKeys) {
  ForShapes([](const Held& held, std::size_t tokens) {
    const std::size_t head_dim = held.rows.head_dim;
    for (const std::size_t heads : kHeadCounts) {
      const std::vector<float> queries = NormalFloats(heads * head_dim, 3);
      const std::size_t stride = tokens + 5;  // what is between must stay
      const std::vector<float> scores = SameOnAll([&](const KvLoops& loops) {
        std::vector<float> to(heads * stride, -1.0F);
        loops.score(held.rows, tokens, queries.data(), heads, to.data(), stride);
        return to;
      });
      for (std::size_t i = 0; i < scores.size(); ++i) {
        const std::size_t h = i / stride;
        const std::size_t t = i % stride;
        if (t >= tokens) {
          ASSERT_EQ(scores[i], -1);
          continue;
        }
        double want = 0;
        double size = 0;
        for (std::size_t d = 0; d < head_dim; ++d) {
          const double term = static_cast<double>(queries[h * head_dim + d]) *
                              static_cast<double>(held.values[t * head_dim + d]);
          want += term;
          size += std::abs(term);
        }
        // The reference's value and the scale, the product, a lane's sum, four of lanes.
        const double roundings = 7 + static_cast<double>(CeilDiv(head_dim, 16));
        ASSERT_NEAR(static_cast<double>(scores[i]), want, roundings * kUnit * size)
            << h << " " << t;
      }
    }
  });
}

TEST(KvRows, MixesAreTheWeightedSumsOfAllValues) {
  ForShapes([](const Held& held, std::size_t tokens) {
    const std::size_t head_dim = held.rows.head_dim;
    for (const std::size_t heads : kHeadCounts) {
      const std::size_t stride = tokens + 3;
      const std::vector<float> weights = NormalFloats(heads * stride, 4);
      const std::vector<float> mixed = SameOnAll([&](const KvLoops& loops) {
        std::vector<float> to(heads * head_dim, 9.0F);  // added to
        loops.mix(held.rows, tokens, weights.data(), stride, heads, to.data());
        return to;
      });
      for (std::size_t i = 0; i < mixed.size(); ++i) {
        double want = 9;
        double size = 9;
        for (std::size_t t = 0; t < tokens; ++t) {
          const double term = static_cast<double>(weights[i / head_dim * stride + t]) *
                              static_cast<double>(held.values[t * head_dim + i % head_dim]);
          want += term;
          size += std::abs(term);
        }
        // The reference's value, the scale, the product; sums of 64 tokens, and of those.
        const double roundings = 3 + 64 + static_cast<double>(CeilDiv(tokens, 64));
        ASSERT_NEAR(static_cast<double>(mixed[i]), want, roundings * kUnit * size) << i;
      }
    }
  });
}

}  // namespace
}  // namespace awq::transformer
