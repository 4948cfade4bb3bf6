#include "pack/ggml_blocks.h"

#include <gtest/gtest.h>

#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <fstream>
#include <iterator>
#include <limits>
#include <random>
#include <vector>

#include "testing/paths.h"

namespace awq::pack {
namespace {

std::vector<std::byte> Golden(const std::string& name) {
  std::ifstream file(testing::GoldenDir() / "gguf" / name, std::ios::binary);
  EXPECT_TRUE(file.good()) << name;
  const std::string contents(std::istreambuf_iterator<char>(file), {});
  const auto bytes = std::as_bytes(std::span(contents));
  return {bytes.begin(), bytes.end()};
}

std::vector<float> GoldenFloats(const std::string& name) {
  const std::vector<std::byte> bytes = Golden(name);
  std::vector<float> values(bytes.size() / sizeof(float));
  std::memcpy(values.data(), bytes.data(), bytes.size());
  return values;
}

std::vector<float> Decode(GgmlType type, const std::vector<std::byte>& blocks) {
  const GgmlTypeRow& row = InfoOf(type);
  std::vector<float> values(blocks.size() / row.block_bytes * row.block_elements);
  DequantizeBlocks(row, blocks, values);
  return values;
}

constexpr std::array kBlockTypes = {GgmlType::kQ4_0, GgmlType::kQ4_1, GgmlType::kQ5_0,
                                    GgmlType::kQ5_1, GgmlType::kQ8_0, GgmlType::kQ4_K,
                                    GgmlType::kQ5_K, GgmlType::kQ6_K};

// Bit for bit what gguf-py makes of the same blocks.
TEST(GgmlBlocks, DequantizesAsDefined) {
  for (const GgmlType type : kBlockTypes) {
    const std::string name(InfoOf(type).name);
    const std::vector<float> expected = GoldenFloats(name + ".f32");
    const std::vector<float> values = Decode(type, Golden(name + ".blocks"));
    ASSERT_EQ(values.size(), expected.size()) << name;
    ASSERT_FALSE(expected.empty());
    for (std::size_t i = 0; i < values.size(); ++i) {
      EXPECT_EQ(std::bit_cast<std::uint32_t>(values[i]), std::bit_cast<std::uint32_t>(expected[i]))
          << name << " element " << i << ": " << values[i] << ", expected " << expected[i];
    }
  }
}

TEST(GgmlBlocks, EncodesAsTheReference) {
  const std::vector<float> values = GoldenFloats("values.f32");
  for (const GgmlType type :
       {GgmlType::kF16, GgmlType::kBF16, GgmlType::kQ4_0, GgmlType::kQ4_1, GgmlType::kQ8_0}) {
    const std::string name(InfoOf(type).name);
    const std::vector<std::byte> expected = Golden("values." + name);
    std::vector<std::byte> blocks(expected.size());
    ASSERT_TRUE(EncodeBlocks(type, values, blocks, "w").ok());
    EXPECT_EQ(blocks, expected) << name;
  }
}

TEST(GgmlBlocks, DecodesElements) {
  const std::vector<float> values = {0, -0.0F, 1.5F, -3.25F, 65504, 6e-8F};
  for (const GgmlType type : {GgmlType::kF32, GgmlType::kF16}) {
    std::vector<std::byte> stored(values.size() * InfoOf(type).block_bytes);
    ASSERT_TRUE(EncodeBlocks(type, values, stored, "w").ok());
    const std::vector<float> read = Decode(type, stored);
    for (std::size_t i = 0; i < values.size(); ++i) {
      EXPECT_EQ(read[i], type == GgmlType::kF32 ? values[i] : RoundToF16(values[i]));
    }
  }
}

TEST(GgmlBlocks, RefusesWhatHalvesCannotHold) {
  std::vector<float> values(32, 1.0F);
  std::vector<std::byte> block(64);
  const auto error = [&](GgmlType type) {
    const std::size_t bytes = 32 / InfoOf(type).block_elements * InfoOf(type).block_bytes;
    std::vector<std::byte> blocks(bytes);
    const Status status = EncodeBlocks(type, values, blocks, "blk.0.w");
    return status.ok() ? "" : status.error().message;
  };
  const auto all = {GgmlType::kF16, GgmlType::kQ4_0, GgmlType::kQ4_1, GgmlType::kQ8_0,
                    GgmlType::kBF16};
  for (const GgmlType type : all) EXPECT_EQ(error(type), "");
  values[7] = 1e9F;
  for (const GgmlType type : all) {
    EXPECT_EQ(error(type).empty(), type == GgmlType::kBF16) << InfoOf(type).name;
  }
  EXPECT_NE(error(GgmlType::kQ4_0).find("blk.0.w"), std::string::npos);
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), INFINITY, -INFINITY}) {
    values[7] = bad;
    for (const GgmlType type : all) {
      EXPECT_NE(error(type).find("infinite or NaN"), std::string::npos) << InfoOf(type).name;
    }
  }
}

struct RandomRow {
  RandomRow(int bits, std::size_t groups, std::size_t group_size_in, bool symmetric,
            unsigned seed) {
    std::mt19937 random(seed);
    const int levels = 1 << bits;
    group_size = group_size_in;
    for (std::size_t g = 0; g < groups; ++g) {
      const float scale = std::uniform_real_distribution<float>(1e-4F, 0.1F)(random);
      scales.push_back(RoundToF16(g % 2 == 0 ? scale : -scale));
      zeros.push_back(static_cast<std::uint8_t>(
          symmetric ? levels / 2 : std::uniform_int_distribution(0, levels - 1)(random)));
    }
    for (std::size_t k = 0; k < groups * group_size; ++k) {
      codes.push_back(
          static_cast<std::uint8_t>(std::uniform_int_distribution(0, levels - 1)(random)));
    }
  }
  CodedRow view() const { return {codes, scales, zeros, group_size}; }
  float Value(std::size_t k) const {
    const std::size_t g = k / group_size;
    return static_cast<float>(codes[k] - zeros[g]) * scales[g];
  }

  std::size_t group_size;
  std::vector<std::uint8_t> codes;
  std::vector<float> scales;
  std::vector<std::uint8_t> zeros;
};

std::vector<float> ThroughBlocks(GgmlType type, const RandomRow& row, std::size_t& changed) {
  std::vector<std::byte> blocks(row.codes.size() / 32 * InfoOf(type).block_bytes);
  const auto result = EncodeCodes(type, row.view(), blocks, "w");
  EXPECT_TRUE(result.ok()) << result.error().message;
  changed = result.ok() ? result->groups : 0;
  return Decode(type, blocks);
}

TEST(EncodeCodes, KeepsSymmetricCodesExactly) {
  for (const int bits : {2, 3, 4, 5, 8}) {
    for (const std::size_t group : {32U, 64U, 128U, 96U}) {
      const quant::Spec spec{bits, group, true};
      const auto type = BlockTypeOf(spec, 3 * group, "w");
      ASSERT_TRUE(type.ok());
      EXPECT_EQ(*type, bits <= 4 ? GgmlType::kQ4_0 : GgmlType::kQ8_0);
      const RandomRow row(bits, 3, group, true, 7);
      std::size_t changed = 0;
      const std::vector<float> values = ThroughBlocks(*type, row, changed);
      EXPECT_EQ(changed, 0U);
      for (std::size_t k = 0; k < values.size(); ++k) ASSERT_EQ(values[k], row.Value(k)) << k;
    }
  }
}

// A group is said to be changed exactly where its weights are, and by no more than is announced.
TEST(EncodeCodes, SaysWhichAsymmetricGroupsChange) {
  std::size_t all_changed = 0;
  std::size_t groups = 0;
  for (unsigned seed = 0; seed < 40; ++seed) {
    const RandomRow row(4, 8, 64, false, seed);
    std::size_t changed = 0;
    const std::vector<float> values = ThroughBlocks(GgmlType::kQ4_1, row, changed);
    std::size_t different = 0;
    for (std::size_t g = 0; g < row.scales.size(); ++g) {
      float worst = 0;
      for (std::size_t k = 64 * g; k < 64 * (g + 1); ++k) {
        worst = std::max(worst, std::fabs(values[k] - row.Value(k)));
      }
      different += worst > 0;
      // Half a unit of fp16 in scale * zero, and the float rounding of the sum in reading.
      const float product = std::fabs(row.scales[g]) * static_cast<float>(row.zeros[g]);
      EXPECT_LE(worst, product * 0x1p-11F + 0x1p-25F + 16 * std::fabs(row.scales[g]) * 0x1p-24F);
      const bool is_power = std::has_single_bit(unsigned{row.zeros[g]});
      EXPECT_TRUE(worst == 0 || !(is_power || row.zeros[g] == 0));
    }
    EXPECT_EQ(changed, different);
    all_changed += changed;
    groups += row.scales.size();
  }
  EXPECT_GT(all_changed, groups / 4);
  EXPECT_LT(all_changed, groups);
}

struct DecodedRow {
  DecodedRow(GgmlType type, std::span<const std::byte> blocks, std::size_t count,
             std::size_t group_size)
      : codes(count), scales(count / group_size), zeros(count / group_size) {
    const auto decoded =
        DecodeCodes(InfoOf(type), blocks, {codes, scales, zeros, group_size}, "blk.1.w");
    EXPECT_TRUE(decoded.ok()) << decoded.error().message;
    changed = decoded.ok() ? decoded->groups : 0;
  }
  std::vector<std::uint8_t> codes;
  std::vector<float> scales;
  std::vector<std::uint8_t> zeros;
  std::size_t changed = 0;
};

// Also where fp16 rounded the minimum: the zero point is still to be seen.
TEST(DecodeCodes, GivesBackWhatWasEncoded) {
  for (unsigned seed = 0; seed < 60; ++seed) {
    for (const quant::Spec spec :
         {quant::Spec{4, 32, true}, quant::Spec{4, 64, false}, quant::Spec{8, 96, true}}) {
      const RandomRow row(spec.bits, 4, spec.group_size, spec.symmetric, seed);
      const GgmlType type = *BlockTypeOf(spec, 4 * spec.group_size, "w");
      std::vector<std::byte> blocks(row.codes.size() / 32 * InfoOf(type).block_bytes);
      const auto changed = EncodeCodes(type, row.view(), blocks, "w");
      ASSERT_TRUE(changed.ok());
      EXPECT_TRUE(ShareScales(InfoOf(type), blocks, spec.group_size));
      EXPECT_FALSE(ShareScales(InfoOf(type), blocks, 2 * spec.group_size));
      EXPECT_EQ(SpecOf(InfoOf(type))->bits, spec.bits);
      EXPECT_EQ(SpecOf(InfoOf(type))->symmetric, spec.symmetric);
      const DecodedRow decoded(type, blocks, row.codes.size(), spec.group_size);
      EXPECT_EQ(decoded.codes, row.codes);
      EXPECT_EQ(decoded.scales, row.scales);
      EXPECT_EQ(decoded.zeros, row.zeros);
      EXPECT_EQ(decoded.changed, changed->groups);
    }
  }
}

// One scale, two minima: not one group.
TEST(DecodeCodes, MinimaAreSharedToo) {
  const std::vector<std::uint8_t> codes(64, 3);
  const std::vector<float> scales = {0.25F, 0.25F};
  const std::vector<std::uint8_t> zeros = {4, 5};
  std::vector<std::byte> blocks(40);
  ASSERT_TRUE(EncodeCodes(GgmlType::kQ4_1, {codes, scales, zeros, 32}, blocks, "w").ok());
  EXPECT_TRUE(ShareScales(InfoOf(GgmlType::kQ4_1), blocks, 32));
  EXPECT_FALSE(ShareScales(InfoOf(GgmlType::kQ4_1), blocks, 64));
}

// A scale of 0, as blocks of equal weights have it, means the same weights with another.
TEST(DecodeCodes, GivesEqualWeightsAScale) {
  for (const float value : {0.0F, 0.25F, -3.0F}) {
    for (const GgmlType type : {GgmlType::kQ4_0, GgmlType::kQ4_1, GgmlType::kQ8_0}) {
      if (type != GgmlType::kQ4_1 && value != 0) continue;
      std::vector<std::byte> blocks(InfoOf(type).block_bytes, std::byte{0x53});
      const F16 minimum = ToF16(value);
      std::memset(blocks.data(), 0, 2);
      if (type == GgmlType::kQ4_1) std::memcpy(blocks.data() + 2, &minimum.bits, 2);
      const DecodedRow row(type, blocks, 32, 32);
      EXPECT_NE(row.scales[0], 0);
      for (const std::uint8_t code : row.codes) {
        EXPECT_EQ(static_cast<float>(code - row.zeros[0]) * row.scales[0], value);
      }
    }
  }
}

TEST(DecodeCodes, RefusesMinimaOfOtherMakers) {
  std::vector<float> values(32);
  for (std::size_t i = 0; i < 32; ++i) values[i] = 0.37F + 0.01F * static_cast<float>(i);
  std::vector<std::byte> blocks(20);
  ASSERT_TRUE(EncodeBlocks(GgmlType::kQ4_1, values, blocks, "w").ok());
  std::vector<std::uint8_t> codes(32);
  std::vector<float> scales(1);
  std::vector<std::uint8_t> zeros(1);
  const auto decoded =
      DecodeCodes(InfoOf(GgmlType::kQ4_1), blocks, {codes, scales, zeros, 32}, "blk.1.w");
  ASSERT_FALSE(decoded.ok());
  EXPECT_NE(decoded.error().message.find("blk.1.w"), std::string::npos);
  EXPECT_NE(decoded.error().message.find("no zero point"), std::string::npos);
  blocks[1] = std::byte{0x7c};  // the scale is infinite
  blocks[0] = std::byte{0};
  const auto infinite =
      DecodeCodes(InfoOf(GgmlType::kQ4_1), blocks, {codes, scales, zeros, 32}, "blk.1.w");
  ASSERT_FALSE(infinite.ok());
  EXPECT_EQ(infinite.error().code, ErrorCode::kCorrupt);
  EXPECT_FALSE(SpecOf(InfoOf(GgmlType::kQ4_K)).has_value());
}

TEST(EncodeCodes, RefusesWhatDoesNotFit) {
  EXPECT_FALSE(BlockTypeOf({4, 16, true}, 64, "w").ok());
  EXPECT_FALSE(BlockTypeOf({4, 0, true}, 172, "w").ok());
  const auto asymmetric = BlockTypeOf({8, 32, false}, 64, "blk.3.w");
  ASSERT_FALSE(asymmetric.ok());
  EXPECT_NE(asymmetric.error().message.find("blk.3.w"), std::string::npos);
  EXPECT_EQ(*BlockTypeOf({4, 0, true}, 64, "w"), GgmlType::kQ4_0);
  RandomRow row(4, 1, 32, false, 1);
  row.scales[0] = 60000;
  row.zeros[0] = 15;
  std::vector<std::byte> blocks(20);
  const auto minimum = EncodeCodes(GgmlType::kQ4_1, row.view(), blocks, "w");
  ASSERT_FALSE(minimum.ok());
  EXPECT_NE(minimum.error().message.find("minimum"), std::string::npos);
  row.scales[0] = 1e6F;
  EXPECT_FALSE(EncodeCodes(GgmlType::kQ4_0, row.view(), std::span(blocks).first(18), "w").ok());
  row.scales[0] = 0.1F;  // a float, but no fp16 number
  row.zeros[0] = 0;
  const auto rounded = EncodeCodes(GgmlType::kQ4_1, row.view(), blocks, "w");
  ASSERT_TRUE(rounded.ok());
  EXPECT_EQ(rounded->groups, 1U);
  EXPECT_EQ(rounded->minima.count, 0U);
  EXPECT_EQ(rounded->scales.count, 1U);
  // 0x1.998p-4 beside 0x1.99999ap-4: 0x1.9ap-15 apart.
  const double change = static_cast<double>(0.1F) - 0x1.998p-4;
  EXPECT_EQ(rounded->scales.largest_absolute, change);
  EXPECT_EQ(rounded->scales.largest_relative, change / static_cast<double>(0.1F));
}

}  // namespace
}  // namespace awq::pack
