#include <gtest/gtest.h>

#include <cstring>
#include <fstream>
#include <iterator>

#include "pack/format.h"
#include "pack/test_linear.h"
#include "testing/paths.h"

namespace awq::pack {
namespace {

using testing::RandomLinear;
using testing::SameParts;

constexpr int kRev[8] = {0, 4, 1, 5,
                         2, 6, 3, 7};  // column n of a word stands in nibble kRev[n % 8]

const Format& Gemm() { return *FindFormat("awq-gemm"); }

std::uint32_t Word(const PackedPart& part, std::size_t index) {
  std::uint32_t word = 0;
  std::memcpy(&word, part.bytes.data() + 4 * index, sizeof(word));
  return word;
}

struct Size {
  std::size_t out, in, group;
};
// Below, at and beyond the 16-word and 64-code tiles, with remainders in both directions.
const Size kSizes[] = {{8, 1, 1},     {8, 128, 128},  {16, 96, 32},   {24, 64, 0},   {136, 65, 13},
                       {128, 64, 32}, {264, 192, 64}, {1000, 77, 11}, {512, 257, 0}, {8, 172, 43}};

// Every nibble against the definition, element by element.
TEST(AwqGemm, PacksByTheDefinition) {
  for (const auto& [out, in, group] : kSizes) {
    SCOPED_TRACE(::testing::Message() << out << "x" << in << " group " << group);
    const auto linear = RandomLinear({out, in, {4, group, false}}, 1, /*extreme=*/true);
    const auto parts = Pack(Gemm(), linear, "m").value();
    ASSERT_EQ(parts.size(), 3U);
    const std::size_t words = out / 8;
    for (std::size_t n = 0; n < out; ++n) {
      const int shift = 4 * kRev[n % 8];
      for (std::size_t k = 0; k < in; ++k) {
        ASSERT_EQ(Word(parts[0], k * words + n / 8) >> shift & 15, linear.codes(n, k));
      }
      for (std::size_t g = 0; g < linear.groups(); ++g) {
        ASSERT_EQ(Word(parts[1], g * words + n / 8) >> shift & 15, linear.zeros(n, g));
        std::uint16_t scale = 0;
        std::memcpy(&scale, parts[2].bytes.data() + 2 * (g * out + n), sizeof(scale));
        ASSERT_EQ(ToFloat(F16{scale}), linear.scales(n, g));
      }
    }
  }
}

TEST(AwqGemm, RefusesWhatItCannotHold) {
  const auto refuses = [](std::size_t out, std::size_t in, const quant::Spec& spec) {
    return Refuses(Gemm(), {out, in, spec});
  };
  EXPECT_EQ(refuses(8, 128, {4, 128, false}), "");
  EXPECT_EQ(refuses(8, 100, {4, 0, false}), "");
  EXPECT_EQ(refuses(172, 64, {4, 64, false}), "out_features 172 is no multiple of 8");
  EXPECT_EQ(refuses(64, 172, {4, 32, false}),
            "in_features 172 is no multiple of the group size 32");
  EXPECT_EQ(refuses(64, 64, {4, 128, false}),
            "in_features 64 is no multiple of the group size 128");
  EXPECT_NE(refuses(64, 64, {3, 64, false}).find("not 3-bit"), std::string::npos);
  EXPECT_NE(refuses(0, 64, {4, 64, false}), "");
  EXPECT_NE(refuses(8, 0, {4, 0, false}), "");
}

template <class T>
std::vector<T> Golden(const char* name) {
  std::ifstream file(awq::testing::GoldenDir() / "pack" / "awq_gemm" / name, std::ios::binary);
  const std::string bytes((std::istreambuf_iterator<char>(file)), {});
  EXPECT_FALSE(bytes.empty()) << name;
  std::vector<T> values(bytes.size() / sizeof(T));
  std::memcpy(values.data(), bytes.data(), values.size() * sizeof(T));
  return values;
}

// Random words decoded by tools/make_pack_golden.py, which knows nothing of this code.
TEST(AwqGemm, AgreesWithAnIndependentDecoder) {
  constexpr std::size_t kOut = 24, kIn = 96, kGroups = 3;
  const quant::Spec spec{4, 32, false};
  const auto qweight = Golden<std::uint32_t>("qweight.i32");
  const auto qzeros = Golden<std::uint32_t>("qzeros.i32");
  const auto scales = Golden<std::uint16_t>("scales.f16");
  const auto weights = Golden<float>("weights.f32");  // [out, in], dequantized
  ASSERT_EQ(weights.size(), kOut * kIn);
  const std::vector<TensorView> parts = {
      {DType::kI32, {kIn, kOut / 8}, std::as_bytes(std::span(qweight))},
      {DType::kI32, {kGroups, kOut / 8}, std::as_bytes(std::span(qzeros))},
      {DType::kF16, {kGroups, kOut}, std::as_bytes(std::span(scales))}};
  const auto linear = Unpack(Gemm(), parts, {kOut, kIn, spec}, "golden");
  ASSERT_TRUE(linear.ok()) << linear.error().message;
  for (std::size_t n = 0; n < kOut; ++n) {
    for (std::size_t k = 0; k < kIn; ++k) {
      const int steps = linear->codes(n, k) - linear->zeros(n, k / 32);
      // Exact: a small integer times a half is a float.
      EXPECT_EQ(static_cast<float>(steps) * linear->scales(n, k / 32), weights[n * kIn + k]);
    }
  }
  EXPECT_TRUE(SameParts(Pack(Gemm(), *linear, "m").value(), parts));
}

}  // namespace
}  // namespace awq::pack
