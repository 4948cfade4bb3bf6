#include "tensor/ggml_type.h"

#include <algorithm>
#include <array>

#include "base/check.h"

namespace awq {
namespace {

constexpr std::array<GgmlTypeRow, 32> kRows = {{
    {0, "F32", 1, 4},         {1, "F16", 1, 2},         {2, "Q4_0", 32, 18},
    {3, "Q4_1", 32, 20},      {6, "Q5_0", 32, 22},      {7, "Q5_1", 32, 24},
    {8, "Q8_0", 32, 34},      {10, "Q2_K", 256, 84},    {11, "Q3_K", 256, 110},
    {12, "Q4_K", 256, 144},   {13, "Q5_K", 256, 176},   {14, "Q6_K", 256, 210},
    {16, "IQ2_XXS", 256, 66}, {17, "IQ2_XS", 256, 74},  {18, "IQ3_XXS", 256, 98},
    {19, "IQ1_S", 256, 50},   {20, "IQ4_NL", 32, 18},   {21, "IQ3_S", 256, 110},
    {22, "IQ2_S", 256, 82},   {23, "IQ4_XS", 256, 136}, {24, "I8", 1, 1},
    {25, "I16", 1, 2},        {26, "I32", 1, 4},        {27, "I64", 1, 8},
    {28, "F64", 1, 8},        {29, "IQ1_M", 256, 56},   {30, "BF16", 1, 2},
    {34, "TQ1_0", 256, 54},   {35, "TQ2_0", 256, 66},   {39, "MXFP4", 32, 17},
    {40, "NVFP4", 64, 36},    {41, "Q1_0", 128, 18},
}};

}  // namespace

const GgmlTypeRow* FindGgmlType(std::uint32_t number) {
  const auto row = std::find_if(kRows.begin(), kRows.end(),
                                [&](const GgmlTypeRow& each) { return each.number == number; });
  return row == kRows.end() ? nullptr : &*row;
}

const GgmlTypeRow& InfoOf(GgmlType type) {
  const GgmlTypeRow* row = FindGgmlType(static_cast<std::uint32_t>(type));
  AWQ_CHECK(row != nullptr);
  return *row;
}

std::optional<DType> ElementType(GgmlType type) {
  switch (type) {
    case GgmlType::kF32:
      return DType::kF32;
    case GgmlType::kF16:
      return DType::kF16;
    case GgmlType::kBF16:
      return DType::kBF16;
    default:
      return std::nullopt;
  }
}

}  // namespace awq
