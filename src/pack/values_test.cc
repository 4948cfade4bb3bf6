// Values that mean nothing in one format or another, and values that it cannot hold.
#include <gtest/gtest.h>

#include "pack/format.h"
#include "pack/test_linear.h"

namespace awq::pack {
namespace {

using testing::RandomLinear;
using testing::Views;

const Form kForm{128, 128, {4, 32, false}};

// Packs a random linear, spoils one part, and gives what reading it says.
template <class Spoil>
std::string ErrorOf(std::string_view name, const Form& form, std::string_view suffix,
                    const Spoil& spoil) {
  const Format& format = *FindFormat(name);
  auto parts = Pack(format, RandomLinear(form, 1), "m").value();
  for (PackedPart& part : parts) {
    if (part.info.suffix == suffix) spoil(part.bytes.data());
  }
  const auto read = Unpack(format, Views(parts), form, "m");
  return read.ok() ? "" : read.error().message;
}

template <class T>
auto Set(std::size_t index, T value) {
  return [=](std::byte* bytes) { std::memcpy(bytes + index * sizeof(T), &value, sizeof(T)); };
}

template <class T>
auto Swap(std::size_t a, std::size_t b) {
  return [=](std::byte* bytes) {
    std::swap_ranges(bytes + a * sizeof(T), bytes + (a + 1) * sizeof(T), bytes + b * sizeof(T));
  };
}

std::string PackErrorOf(std::string_view name, const quant::QuantizedLinear& linear) {
  const auto packed = Pack(*FindFormat(name), linear, "m");
  if (packed.ok()) return "";
  EXPECT_EQ(packed.error().code, ErrorCode::kUnsupported);
  return packed.error().message;
}

void ExpectHas(const std::string& text, std::string_view part) {
  EXPECT_NE(text.find(part), std::string::npos) << text << "\n lacks: " << part;
}

TEST(Values, ZeroPointsOfGptqsFirstVersion) {
  ExpectHas(ErrorOf("gptq", kForm, "qzeros", Set<std::uint32_t>(17, 0x7777777f)),
            "m.qzeros: the zero point of group 1 of output feature 8 is stored as 15");
  EXPECT_EQ(ErrorOf("gptq-v2", kForm, "qzeros", Set<std::uint32_t>(17, 0x7777777f)), "");
  auto linear = RandomLinear(kForm, 1);
  linear.zeros(9, 2) = 0;
  ExpectHas(PackErrorOf("gptq", linear),
            "m: the zero point of group 2 of output feature 9 is 0, which GPTQ's first version");
  EXPECT_EQ(PackErrorOf("gptq-v2", linear), "");
}

TEST(Values, GroupIndices) {
  const Form ordered{128, 128, {4, 32, false, DType::kF16, true}};
  for (const auto& [name, part] :
       {std::pair("gptq", "g_idx"), std::pair("compressed-tensors", "weight_g_idx")}) {
    EXPECT_EQ(ErrorOf(name, ordered, part, Swap<std::int32_t>(5, 127)), "");
    ExpectHas(ErrorOf(name, ordered, part, Set<std::int32_t>(5, 3)),
              "puts 31 input features into group 1; group_size makes it 32");
    ExpectHas(ErrorOf(name, ordered, part, Set<std::int32_t>(5, 4)),
              "puts input feature 5 into group 4; there are 4 groups");
    ExpectHas(ErrorOf(name, ordered, part, Set<std::int32_t>(0, -1)),
              "puts input feature 0 into group -1; there are 4 groups");
  }
  ExpectHas(ErrorOf("gptq", kForm, "g_idx", Set<std::int32_t>(5, 3)),
            "config.json speaks of no act order");
  EXPECT_EQ(Refuses(*FindFormat("awq-gemm"), ordered),
            "it has no place for a group index (act order)");
  EXPECT_EQ(FormatsThatHold(ordered), "compressed-tensors, gptq, gptq-v2");
}

TEST(Values, ZeroPointsOfSymmetricWeights) {
  const Form symmetric{128, 128, {4, 32, true}};
  for (const char* name : {"awq-gemm", "awq-gemv", "gptq", "gptq-v2"}) {
    const std::uint32_t fives = 0x5555;  // no more than four groups
    ExpectHas(ErrorOf(name, symmetric, "qzeros", Set<std::uint32_t>(0, fives)),
              "by config.json the weights are symmetric");
  }
}

TEST(Values, BitsAndTablesThatNothingNeeds) {
  const Form odd{40, 77, {4, 0, false}};
  ExpectHas(ErrorOf("compressed-tensors", odd, "weight_packed", Set<std::uint8_t>(39, 1)),
            "of another packing");
  ExpectHas(ErrorOf("compressed-tensors", {20, 64, {4, 32, false}}, "weight_zero_point",
                    Set<std::uint32_t>(5, 0xffffffff)),
            "of another packing");
  ExpectHas(ErrorOf("compressed-tensors", kForm, "weight_shape", Set<std::int64_t>(1, 64)),
            "m.weight_shape: expected [128, 128], found [128, 64]");
  for (const char* name : {"awq-gemv", "awq-gemv-fast", "llm-awq"}) {
    const bool turned = std::string_view(name) != "awq-gemv";
    ExpectHas(ErrorOf(name, kForm, "scales", Set<std::uint16_t>(turned ? 4 * 128 : 4, 1)),
              "beyond the last group are not 0");
  }
  ExpectHas(ErrorOf("awq-gemv", kForm, "qzeros", Set<std::uint32_t>(0, 0x00080000)),
            "beyond the last group are not 0");
}

TEST(Values, ScaledZeros) {
  for (const auto& [name, part] :
       {std::pair("awq-gemv-fast", "qzeros"), std::pair("llm-awq", "scaled_zeros")}) {
    for (const std::uint16_t bits :
         std::initializer_list<std::uint16_t>{0x0000, 0x7e00, 0xfc00, 0x3c00, 0xbc00}) {
      ExpectHas(ErrorOf(name, kForm, part, Set<std::uint16_t>(3, bits)),
                "the scaled zero point of group 0 of output feature 3 is ");
    }
    auto linear = RandomLinear(kForm, 1);
    linear.scales(2, 1) = 60000;
    linear.zeros(2, 1) = 2;
    ExpectHas(PackErrorOf(name, linear), "which F16 cannot hold");
  }
}

TEST(Values, WhatEachFormatRefuses) {
  const auto refuses = [](const char* name, const Form& form) {
    return Refuses(*FindFormat(name), form);
  };
  EXPECT_EQ(refuses("awq-gemv", {8, 32, {4, 16, false}}),
            "its groups have 32, 64, 128 or more input features, not 16");
  EXPECT_EQ(refuses("awq-gemv", {12, 32, {4, 32, false}}), "out_features 12 is no multiple of 8");
  EXPECT_EQ(refuses("awq-gemv-fast", {8, 96, {4, 32, false}}),
            "in_features 96 is no multiple of 64");
  EXPECT_EQ(refuses("llm-awq", {8, 128, {4, 32, false, DType::kBF16}}),
            "its scales are F16, not BF16");
  EXPECT_EQ(refuses("gptq", {64, 64, {5, 32, false}}),
            "it holds codes of 2, 3, 4 and 8 bits, not 5");
  EXPECT_EQ(refuses("gptq", {12, 64, {4, 32, false}}),
            "12 output and 64 input features of 4 bits do not both fill whole words");
  EXPECT_EQ(refuses("compressed-tensors", {13, 77, {3, 0, false, DType::kF32}}), "");
  EXPECT_EQ(FormatsThatHold({128, 128, {3, 32, false}}), "compressed-tensors, gptq, gptq-v2");
  // Codes yet to be made may have any zero point, unless they are symmetric; and GGUF is a format.
  EXPECT_EQ(FormatsThatHoldNew({128, 128, {3, 32, false}}), "compressed-tensors, gptq-v2, gguf");
  EXPECT_EQ(FormatsThatHoldNew({128, 128, {3, 32, true}}),
            "compressed-tensors, gptq, gptq-v2, gguf");
  EXPECT_EQ(FormatsThatHoldNew({128, 128, {8, 32, false}}), "compressed-tensors, gptq-v2");
  EXPECT_EQ(FormatsThatHoldNew({128, 128, {8, 32, true}}),
            "compressed-tensors, gptq, gptq-v2, gguf");
  EXPECT_EQ(FormatsThatHoldNew({128, 128, {5, 16, true}}), "compressed-tensors");
  EXPECT_NE(RefusesNew(*FindFormat("gptq"), {128, 128, {4, 32, false}}).find("--sym"),
            std::string::npos);
}

}  // namespace
}  // namespace awq::pack
