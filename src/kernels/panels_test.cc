#include "kernels/panels.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>
#include <utility>

#include "base/error.h"
#include "kernels/test_panels.h"
#include "quant/group.h"

namespace awq::kernels {
namespace {

struct Shape {
  std::size_t out;
  std::size_t in;
  std::size_t group;
  int bits = 4;
  bool symmetric = false;
  DType scale_dtype = DType::kF16;
};

quant::QuantizedLinear RandomLinear(const Shape& shape, unsigned seed) {
  std::mt19937 random(seed);
  quant::QuantizedLinear linear{{shape.bits, shape.group, shape.symmetric, shape.scale_dtype},
                                Matrix<std::uint8_t>(shape.out, shape.in),
                                Matrix<float>(shape.out, shape.in / shape.group),
                                Matrix<std::uint8_t>(shape.out, shape.in / shape.group)};
  const auto levels = static_cast<unsigned>(1 << shape.bits);
  for (auto& code : linear.codes.span()) code = static_cast<std::uint8_t>(random() % levels);
  for (auto& zero : linear.zeros.span()) {
    zero = static_cast<std::uint8_t>(shape.symmetric ? levels / 2 : random() % levels);
  }
  for (auto& scale : linear.scales.span()) {
    const float value = std::uniform_real_distribution<float>(-0.1F, 0.1F)(random);
    scale = shape.scale_dtype == DType::kBF16 ? ToFloat(ToBF16(value)) : RoundToF16(value);
  }
  linear.scales.span()[0] = 0x1p-20F;  // an fp16 number below the normal ones, and one of bf16
  return linear;
}

Matrix<float> RandomRows(std::size_t rows, std::size_t cols, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  Matrix<float> x(rows, cols);
  for (float& value : x.span()) value = normal(random);
  return x;
}

const std::vector<Shape> kShapes = {
    {16, 128, 128},         {1, 8, 8},
    {15, 64, 32},           {17, 192, 64},
    {40, 96, 24},           {33, 384, 192},
    {48, 256, 256},         {16, 136, 136},
    {32, 128, 32, 4, true}, {32, 128, 64, 3},
    {20, 64, 64, 2},        {35, 256, 128, 4, false, DType::kBF16},
    {64, 1024, 128},        {16, 1000, 40},
    {33, 256, 128, 8},      {17, 96, 24, 8, true},
    {16, 64, 32, 5},        {9, 128, 128, 6, false, DType::kBF16},
    {33, 160, 160, 3},      {17, 192, 96, 3, true, DType::kBF16},
    {20, 1024, 128, 3},     {5, 72, 24, 3},
    {16, 384, 192, 2},
};

TEST(Panels, EverySetOfInstructionsGivesTheSameSum) {
  ThreadPool pool(2);
  for (const Shape& shape : kShapes) {
    const quant::QuantizedLinear linear = RandomLinear(shape, 3);
    ASSERT_TRUE(Panels::CanHold(linear));
    const Panels panels(pool, linear);
    for (const std::size_t tokens : {1U, 2U, 3U, 5U, 8U, 9U, 19U}) {
      const Matrix<float> rows = RandomRows(tokens, shape.in, 5);
      Matrix<float> first;
      for (const PanelRow& set : PanelRows()) {
        Int8Activations x(set);
        x.Assign(pool, rows, panels.int8_blocks());
        Matrix<float> y(tokens, shape.out);
        panels.Apply(pool, x, y);
        if (first.size() == 0)
          first = std::move(y);
        else
          EXPECT_TRUE(std::ranges::equal(y.span(), first.span())) << set.name;
      }
      // The activations once more, by the plain formula.
      const std::size_t blocks = shape.in / panels.int8_blocks().block_inputs;
      for (std::size_t t = 0; t < tokens; ++t) {
        std::vector<std::int8_t> codes(shape.in);
        std::vector<float> scales(blocks);
        std::vector<float> sums(blocks);
        baseline::kInt8Loops.quantize(rows.row(t), linear.groups(), panels.int8_blocks(),
                                      codes.data(), scales.data(), sums.data());
        for (std::size_t r = 0; r < shape.out; ++r) {
          const Expected want = ExpectInt8(linear, r, codes, scales);
          ASSERT_NEAR(first(t, r), want.value, want.error)
              << shape.out << " " << shape.in << " " << t;
        }
      }
    }
  }
}

// Rows of `linear`, which outlives them; its codes are fetched.
Panels::Rows RowsOf(const quant::QuantizedLinear& linear) {
  const auto fetch = [&linear](std::size_t first, std::span<std::byte> to) -> Status {
    std::ranges::copy(std::as_bytes(linear.codes.span()).subspan(first, to.size()), to.begin());
    return {};
  };
  const auto unpack = [&linear](std::span<const std::byte> fetched, std::size_t first,
                                quant::QuantizedLinear& rows) -> Status {
    EXPECT_EQ(fetched.size(), linear.codes.size());
    EXPECT_EQ(first % quant::kStripeRows, 0U);
    EXPECT_EQ(rows.out_features(), std::min(quant::kStripeRows, linear.out_features() - first));
    const auto copy = [&](const auto& from, auto& to) {
      std::copy_n(from.row(first), to.size(), to.data());
    };
    std::memcpy(rows.codes.data(), fetched.data() + first * rows.in_features(), rows.codes.size());
    copy(linear.scales, rows.scales);
    copy(linear.zeros, rows.zeros);
    return {};
  };
  return {linear.spec,
          {linear.out_features(), linear.in_features()},
          linear.codes.size(),
          fetch,
          unpack};
}

// Stripes of 256 rows, the last one with what remains, of linears that share them by their shape or
// do not, give what each whole linear gives; on memory of their own and on what is kept.
TEST(Panels, FromRowsReadAStripeAtATime) {
  ThreadPool pool(2);
  std::vector<quant::QuantizedLinear> linears;
  std::vector<Panels::Rows> rows;
  const std::vector<Shape> shapes = {{1, 64, 32},   {15, 64, 32},      {255, 64, 64},
                                     {256, 64, 32}, {257, 64, 32},     {512, 96, 32},
                                     {600, 64, 32}, {4100, 2048, 128}, {1, 64, 32}};
  for (const Shape& shape : shapes) linears.push_back(RandomLinear(shape, 9));
  for (const quant::QuantizedLinear& linear : linears) rows.push_back(RowsOf(linear));
  Arena arena;
  UnpackScratch scratch(pool);
  for (const PanelMemory& memory : {PanelMemory{}, {&arena, &scratch}, {nullptr, &scratch}}) {
    const auto panels = Panels::FromRows(pool, rows, memory);
    ASSERT_TRUE(panels.ok());
    ASSERT_EQ(panels->size(), linears.size());
    for (std::size_t i = 0; i < linears.size(); ++i) {
      const Panels& made = (*panels)[i];
      ASSERT_EQ(made.out_features(), shapes[i].out);
      Int8Activations x;
      x.Assign(pool, RandomRows(3, made.in_features(), 5), made.int8_blocks());
      Matrix<float> y(3, made.out_features());
      Matrix<float> want(3, made.out_features());
      made.Apply(pool, x, y);
      Panels(pool, linears[i]).Apply(pool, x, want);
      EXPECT_TRUE(std::ranges::equal(y.span(), want.span())) << shapes[i].out;
    }
  }
}

TEST(Panels, WhatCannotBeReadOrUnpackedIsAnError) {
  ThreadPool pool(2);
  const auto fail_from = [](std::size_t limit, std::size_t first) -> Status {
    if (first < limit) return {};
    return MakeError(ErrorCode::kCorrupt, "from {}", first);
  };
  const auto from_rows = [&](std::size_t least_byte, std::size_t least_row) {
    const Panels::Rows rows = {
        {.bits = 4, .group_size = 32},
        {512, 64},
        std::size_t{1} << 20,
        [&](std::size_t first, std::span<std::byte>) { return fail_from(least_byte, first); },
        [&](std::span<const std::byte>, std::size_t first, quant::QuantizedLinear&) {
          return fail_from(least_row, first);
        }};
    return Panels::FromRows(pool, std::span(&rows, 1));
  };
  const auto unread = from_rows(1, 0);
  ASSERT_FALSE(unread.ok());
  EXPECT_EQ(unread.error().message, "from 262144");
  const auto not_unpacked = from_rows(SIZE_MAX, 256);
  ASSERT_FALSE(not_unpacked.ok());
  EXPECT_EQ(not_unpacked.error().message, "from 256");
}

// Activations as they are, or rounded to bf16: against the codes and them in double.
TEST(Panels, ActivationsAsTheyAre) {
  ThreadPool pool(2);
  for (const Shape& shape : kShapes) {
    const quant::QuantizedLinear linear = RandomLinear(shape, 3);
    const Panels panels(pool, linear);
    for (const std::size_t tokens : {1U, 2U, 3U, 5U, 7U, 8U, 9U, 19U}) {
      const Matrix<float> rows = RandomRows(tokens, shape.in, 5);
      Matrix<float> rounded(tokens, shape.in);
      std::ranges::transform(rows.span(), rounded.span().begin(),
                             [](float value) { return ToFloat(ToBF16(value)); });
      Matrix<float> first;
      for (const PanelRow& set : PanelRows()) {
        for (const math::Precision precision : {math::Precision::kF32, math::Precision::kBF16}) {
          const bool is_f32 = precision == math::Precision::kF32;
          ExactActivations x(set);
          x.Assign(pool, rows, precision, shape.group);
          Matrix<float> y(tokens, shape.out);
          panels.Apply(pool, x, y);
          for (std::size_t t = 0; t < tokens; ++t) {
            for (std::size_t r = 0; r < shape.out; ++r) {
              const Expected want = ExpectExact(linear, r, is_f32 ? rows.row(t) : rounded.row(t));
              ASSERT_NEAR(y(t, r), want.value, want.error)
                  << set.name << " " << is_f32 << " " << shape.out << " " << shape.in << " " << t;
            }
          }
          if (!is_f32) continue;
          if (first.size() == 0)
            first = std::move(y);
          else
            EXPECT_TRUE(std::ranges::equal(y.span(), first.span())) << set.name;
        }
      }
    }
  }
}

// What every set says of a row: its pairs, rounded as ToBF16 does, and the sums of its groups.
TEST(Panels, PairsAreRoundedAlikeOnEverySet) {
  std::vector<float> x = {0x1.01p0F, 0x1.03p0F, -0x1.01p0F, 1.0F,
                          0x1p-130F, -0.0F,     3e38F,      0x1.fffp-3F};
  x.resize(48, 0.5F);
  for (const PanelRow& set : PanelRows()) {
    std::vector<std::uint16_t> pairs(x.size());
    std::vector<float> sums(2);
    set.exact->round_pairs(x.data(), 2, 24, pairs.data(), sums.data());
    float all = 0;
    for (std::size_t i = 0; i < x.size(); ++i) {
      EXPECT_EQ(pairs[i], ToBF16(x[i / 8 * 8 + kPairedInputs[i % 8]]).bits) << set.name << " " << i;
      if (i >= 24) all += x[i];
    }
    EXPECT_EQ(sums[1], all);  // of halves: exact in any order
    set.exact->sum_groups(x.data(), 2, 24, sums.data());
    EXPECT_EQ(sums[1], all);
  }
}

// One set of activations again and again: more tokens, fewer, other blocks, smaller numbers; and
// results that go into columns of a wider matrix.
TEST(Panels, MemoryIsUsedAgain) {
  ThreadPool pool(2);
  const Panels wide(pool, RandomLinear({32, 256, 128}, 1));
  const Panels narrow(pool, RandomLinear({32, 256, 32}, 2));
  Int8Activations reused;
  for (const std::size_t tokens : {1U, 19U, 5U}) {
    for (const Panels* panels : {&wide, &narrow}) {
      Matrix<float> rows = RandomRows(tokens, 256, 3);
      for (float& value : rows.span()) value *= 0x1p-60F;
      Int8Activations fresh;
      fresh.Assign(pool, rows, panels->int8_blocks());
      reused.Assign(pool, rows, panels->int8_blocks());
      Matrix<float> want(tokens, 32);
      Matrix<float> wider(tokens, 40, 7.0F);
      panels->Apply(pool, fresh, want);
      panels->Apply(pool, reused, wider.view().Cols(4, 32));
      for (std::size_t t = 0; t < tokens; ++t) {
        EXPECT_TRUE(std::equal(want.row(t), want.row(t) + 32, wider.row(t) + 4));
        EXPECT_NE(want(t, 3), 0);
        EXPECT_EQ(wider(t, 3), 7.0F);
        EXPECT_EQ(wider(t, 36), 7.0F);
      }
    }
  }
}

TEST(Panels, ActivationsAreRoundedToTheNearestCode) {
  for (const PanelRow& set : PanelRows()) {
    for (const std::size_t inputs : {8U, 24U, 128U}) {
      const Matrix<float> rows = RandomRows(1, 5 * inputs, 9);
      std::vector<std::int8_t> codes(rows.size());
      std::vector<float> scales(5);
      std::vector<float> sums(5);
      set.int8->quantize(rows.data(), 5, {inputs, inputs}, codes.data(), scales.data(),
                         sums.data());
      std::vector<float> all(1);  // of all blocks as one group
      set.int8->quantize(rows.data(), 1, {5 * inputs, inputs}, codes.data(), scales.data(),
                         all.data());
      EXPECT_EQ(all[0], (((sums[0] + sums[1]) + sums[2]) + sums[3]) + sums[4]);
      for (std::size_t b = 0; b < 5; ++b) {
        std::int32_t sum = 0;
        float most = 0;
        for (std::size_t i = b * inputs; i < (b + 1) * inputs; ++i) {
          // Half a step, and the rounding of the inverse and of the product (below 128 * 2^-23).
          EXPECT_LE(std::fabs(rows.data()[i] - static_cast<float>(codes[i]) * scales[b]),
                    scales[b] * (0.5F + 0x1p-15F));
          sum += codes[i];
          most = std::max(most, std::fabs(rows.data()[i]));
        }
        EXPECT_EQ(sums[b], scales[b] * static_cast<float>(sum));
        EXPECT_EQ(scales[b], most / 127.0F);
      }
    }
  }
}

TEST(Panels, WhatIsNotFiniteStaysSo) {
  ThreadPool pool(1);
  const quant::QuantizedLinear linear = RandomLinear({16, 64, 32}, 1);
  const Panels panels(pool, linear);
  for (const float bad :
       {std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity(),
        std::numeric_limits<float>::quiet_NaN()}) {
    Matrix<float> rows = RandomRows(2, 64, 2);
    rows(1, 40) = bad;
    for (const PanelRow& set : PanelRows()) {
      Int8Activations x(set);
      x.Assign(pool, rows, panels.int8_blocks());
      Matrix<float> y(2, 16);
      panels.Apply(pool, x, y);
      for (std::size_t r = 0; r < 16; ++r) {
        EXPECT_TRUE(std::isfinite(y(0, r)));
        EXPECT_TRUE(std::isnan(y(1, r)));
      }
      for (const math::Precision precision : {math::Precision::kF32, math::Precision::kBF16}) {
        ExactActivations exact(set);
        exact.Assign(pool, rows, precision, 32);
        panels.Apply(pool, exact, y);
        for (std::size_t r = 0; r < 16; ++r) {
          EXPECT_TRUE(std::isfinite(y(0, r)));
          EXPECT_FALSE(std::isfinite(y(1, r)));
        }
      }
    }
  }
  // Zeros, and inputs so small that their scale has no inverse.
  for (const float small : {0.0F, 0x1p-140F}) {
    const Matrix<float> rows(1, 64, small);
    Int8Activations x;
    x.Assign(pool, rows, panels.int8_blocks());
    Matrix<float> y(1, 16);
    panels.Apply(pool, x, y);
    for (const float value : y.span()) EXPECT_EQ(value, 0);
  }
}

// Dense weights rounded on the way in are the codes of the one quantizer.
TEST(Panels, RoundDenseWeights) {
  ThreadPool pool(2);
  for (const int bits : {8, 4}) {
    const quant::Spec spec{.bits = bits, .group_size = 32};
    Matrix<float> weights = RandomRows(37, 96, 4);
    quant::QuantizedLinear rounded{spec, Matrix<std::uint8_t>(37, 96), Matrix<float>(37, 3),
                                   Matrix<std::uint8_t>(37, 3)};
    const quant::GroupQuantizer quantizer(spec);
    for (std::size_t r = 0; r < 37; ++r) {
      quantizer.QuantizeRow(weights.row(r), nullptr, 96, rounded.codes.row(r),
                            rounded.scales.row(r), rounded.zeros.row(r));
    }
    const TensorView view{DType::kF32, {37, 96}, std::as_bytes(std::as_const(weights).span())};
    const auto panels = Panels::Rounded(pool, view, spec, "head");
    ASSERT_TRUE(panels.ok()) << panels.error().message;
    ExactActivations x;
    x.Assign(pool, RandomRows(3, 96, 5), math::Precision::kF32, 32);
    Matrix<float> want(3, 37);
    Matrix<float> got(3, 37);
    Panels(pool, rounded).Apply(pool, x, want);
    panels->Apply(pool, x, got);
    EXPECT_TRUE(std::ranges::equal(want.span(), got.span()));
    for (const float bad : {std::numeric_limits<float>::quiet_NaN(), 3e38F}) {
      weights(20, 5) = bad;
      const auto refused = Panels::Rounded(pool, view, spec, "head");
      ASSERT_FALSE(refused.ok());
      EXPECT_NE(refused.error().message.find("head: weights that"), std::string::npos);
    }
  }
}

TEST(Panels, SayWhatTheyCannotHold) {
  EXPECT_FALSE(Panels::CanHold(RandomLinear({8, 64, 4}, 1)));
  quant::QuantizedLinear ordered = RandomLinear({8, 64, 32}, 1);
  ordered.spec.act_order = true;
  EXPECT_FALSE(Panels::CanHold(ordered));
  quant::QuantizedLinear floats = RandomLinear({8, 64, 32}, 1);
  floats.spec.scale_dtype = DType::kF32;
  EXPECT_FALSE(Panels::CanHold(floats));
}

// What docs/kernels.md says: of a code its stored bits, of every group two bytes of scale, and half
// a byte of zero point, or a whole one where codes have 8 bits.
TEST(Panels, TakeSoManyBytes) {
  ThreadPool pool(1);
  const auto bytes = [&](int bits, std::size_t group) {
    return Panels(pool, RandomLinear({.out = 256, .in = 512, .group = group, .bits = bits}, 1))
        .bytes();
  };
  constexpr std::size_t kCodes = 256 * 512;
  EXPECT_EQ(bytes(3, 128), kCodes / 8 * 3 + kCodes / 128 * 5 / 2);
  EXPECT_EQ(bytes(2, 32), kCodes / 8 * 3 + kCodes / 32 * 5 / 2);
  EXPECT_EQ(bytes(3, 16), kCodes / 2 + kCodes / 16 * 5 / 2);  // too small for runs of 32
  EXPECT_EQ(bytes(4, 128), kCodes / 2 + kCodes / 128 * 5 / 2);
  EXPECT_EQ(bytes(4, 32), kCodes / 2 + kCodes / 32 * 5 / 2);
  EXPECT_EQ(bytes(5, 32), kCodes + kCodes / 32 * 3);
  EXPECT_EQ(bytes(8, 128), kCodes + kCodes / 128 * 3);
}

}  // namespace
}  // namespace awq::kernels
