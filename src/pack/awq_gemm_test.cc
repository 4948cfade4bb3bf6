#include <gtest/gtest.h>

#include <cstring>
#include <fstream>
#include <iterator>
#include <random>

#include "base/check.h"
#include "pack/format.h"
#include "testing/paths.h"

namespace awq::pack {
namespace {

constexpr int kRev[8] = {0, 4, 1, 5,
                         2, 6, 3, 7};  // column n of a word stands in nibble kRev[n % 8]

const Format& Gemm() { return *FindFormat("awq-gemm"); }

quant::QuantizedLinear Random(std::size_t out, std::size_t in, quant::Spec spec, unsigned seed) {
  std::mt19937 random(seed);
  const std::size_t group = spec.group_size == 0 ? in : spec.group_size;
  quant::QuantizedLinear linear{spec, Matrix<std::uint8_t>(out, in), Matrix<F16>(out, in / group),
                                Matrix<std::uint8_t>(out, in / group)};
  linear.spec.group_size = group;
  for (auto& code : linear.codes.span()) code = static_cast<std::uint8_t>(random() % 16);
  for (auto& zero : linear.zeros.span()) {
    zero = spec.symmetric ? 8 : static_cast<std::uint8_t>(random() % 16);
  }
  for (auto& scale : linear.scales.span()) {
    scale = F16{static_cast<std::uint16_t>(random() % 0x7c00)};
  }
  return linear;
}

std::vector<TensorView> Views(const std::vector<PackedPart>& parts) {
  std::vector<TensorView> views;
  for (const PackedPart& part : parts) {
    views.push_back({part.info.dtype, part.info.shape, part.bytes.span()});
  }
  return views;
}

std::uint32_t Word(const PackedPart& part, std::size_t index) {
  std::uint32_t word = 0;
  std::memcpy(&word, part.bytes.data() + 4 * index, sizeof(word));
  return word;
}

template <class T>
bool SameBytes(const Matrix<T>& a, const Matrix<T>& b) {
  return a.rows() == b.rows() && a.cols() == b.cols() &&
         std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0;
}

void ExpectEqual(const quant::QuantizedLinear& a, const quant::QuantizedLinear& b) {
  EXPECT_EQ(a.spec, b.spec);
  EXPECT_TRUE(SameBytes(a.codes, b.codes));
  EXPECT_TRUE(SameBytes(a.zeros, b.zeros));
  EXPECT_TRUE(SameBytes(a.scales, b.scales));
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
    const auto linear = Random(out, in, {4, group, false}, 1);
    const auto parts = Gemm().pack(linear);
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
        ASSERT_EQ(scale, linear.scales(n, g).bits);
      }
    }
  }
}

TEST(AwqGemm, UnpackIsTheInverse) {
  unsigned seed = 2;
  for (const auto& [out, in, group] : kSizes) {
    for (const bool symmetric : {false, true}) {
      SCOPED_TRACE(::testing::Message() << out << "x" << in << " group " << group);
      const quant::Spec spec{4, group, symmetric};
      const auto linear = Random(out, in, spec, ++seed);
      const auto parts = Gemm().pack(linear);
      const auto back = Gemm().unpack(Views(parts), out, in, spec, "m");
      ASSERT_TRUE(back.ok()) << back.error().message;
      ExpectEqual(linear, *back);
    }
  }
}

// Files do not align their tensors.
TEST(AwqGemm, UnpacksUnalignedBytes) {
  const quant::Spec spec{4, 32, false};
  const auto linear = Random(24, 96, spec, 7);
  const auto parts = Gemm().pack(linear);
  std::vector<std::vector<std::byte>> shifted;
  std::vector<TensorView> views = Views(parts);
  for (TensorView& view : views) {
    shifted.emplace_back(view.bytes.size() + 1);
    std::memcpy(shifted.back().data() + 1, view.bytes.data(), view.bytes.size());
    view.bytes = std::span<const std::byte>(shifted.back()).subspan(1);
  }
  const auto back = Gemm().unpack(views, 24, 96, spec, "m");
  ASSERT_TRUE(back.ok()) << back.error().message;
  ExpectEqual(linear, *back);
}

TEST(AwqGemm, PartsMatchWhatIsPacked) {
  const auto linear = Random(16, 96, {4, 32, false}, 1);
  const auto infos = Gemm().parts(16, 96, linear.spec);
  const auto parts = Gemm().pack(linear);
  ASSERT_EQ(infos.size(), parts.size());
  for (std::size_t i = 0; i < infos.size(); ++i) {
    EXPECT_EQ(infos[i].suffix, parts[i].info.suffix);
    EXPECT_EQ(infos[i].dtype, parts[i].info.dtype);
    EXPECT_EQ(infos[i].shape, parts[i].info.shape);
  }
  EXPECT_EQ(infos[0].shape, (Shape{96, 2}));
  EXPECT_EQ(infos[1].shape, (Shape{3, 2}));
  EXPECT_EQ(infos[2].shape, (Shape{3, 16}));
}

TEST(AwqGemm, RefusesWhatItCannotHold) {
  const auto refuses = [](std::size_t out, std::size_t in, const quant::Spec& spec) {
    return Gemm().refuses(out, in, spec);
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
  const auto linear = Random(8, 64, {4, 32, false}, 1);
  EXPECT_FALSE(Gemm().unpack(Views(Gemm().pack(linear)), 8, 64, {3, 32, false}, "m").ok());
}

TEST(AwqGemm, PackingACodeOutOfRangeIsABug) {
  auto linear = Random(8, 64, {4, 32, false}, 1);
  linear.codes(3, 5) = 16;
  EXPECT_THROW(Gemm().pack(linear), InternalError);
}

TEST(AwqGemm, UnpackRefusesWrongParts) {
  const quant::Spec spec{4, 32, false};
  const auto parts = Gemm().pack(Random(16, 96, spec, 1));
  const auto error = [&](std::vector<TensorView> views, std::size_t out, std::size_t in) {
    const auto result = Gemm().unpack(views, out, in, spec, "model.q");
    return result.ok() ? std::string() : result.error().message;
  };
  const std::vector<TensorView> good = Views(parts);
  EXPECT_EQ(error(good, 16, 96), "");
  EXPECT_NE(error({good[0], good[1]}, 16, 96), "");
  EXPECT_NE(error({good[1], good[0], good[2]}, 16, 96), "");
  EXPECT_NE(error(good, 16, 64), "");
  EXPECT_NE(error(good, 24, 96), "");
  std::vector<TensorView> wrong = good;
  wrong[0].dtype = DType::kF32;
  EXPECT_EQ(error(wrong, 16, 96),
            "model.q.qweight: expected I32 [96, 2], found F32 [96, 2] of 768 bytes");
  wrong = good;
  wrong[2].bytes = wrong[2].bytes.first(wrong[2].bytes.size() - 2);
  EXPECT_NE(error(wrong, 16, 96).find("model.q.scales: expected F16 [3, 16]"), std::string::npos);
}

TEST(AwqGemm, UnpackRefusesWrongValues) {
  const quant::Spec spec{4, 32, true};
  const auto linear = Random(16, 96, spec, 1);
  for (const std::uint16_t bits :
       std::initializer_list<std::uint16_t>{0x7c00, 0x7c01, 0xfc00, 0xffff}) {
    auto parts = Gemm().pack(linear);
    std::memcpy(parts[2].bytes.data() + 2 * (1 * 16 + 5), &bits, sizeof(bits));
    const auto result = Gemm().unpack(Views(parts), 16, 96, spec, "m");
    ASSERT_FALSE(result.ok());
    EXPECT_EQ(result.error().message,
              "m.scales: the scale of group 1 of output feature 5 is not finite");
  }
  auto parts = Gemm().pack(linear);
  parts[1].bytes[0] ^= std::byte{1};
  EXPECT_FALSE(Gemm().unpack(Views(parts), 16, 96, spec, "m").ok());
  EXPECT_TRUE(Gemm().unpack(Views(parts), 16, 96, {4, 32, false}, "m").ok());
}

template <class T>
std::vector<T> Golden(const char* name) {
  std::ifstream file(testing::GoldenDir() / "pack" / "awq_gemm" / name, std::ios::binary);
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
  const auto linear = Gemm().unpack(parts, kOut, kIn, spec, "golden");
  ASSERT_TRUE(linear.ok()) << linear.error().message;
  for (std::size_t n = 0; n < kOut; ++n) {
    for (std::size_t k = 0; k < kIn; ++k) {
      const int steps = linear->codes(n, k) - linear->zeros(n, k / 32);
      // Exact: a small integer times a half is a float.
      EXPECT_EQ(static_cast<float>(steps) * ToFloat(linear->scales(n, k / 32)),
                weights[n * kIn + k]);
    }
  }
  const auto packed = Gemm().pack(*linear);
  for (std::size_t i = 0; i < packed.size(); ++i) {
    ASSERT_EQ(packed[i].bytes.size(), parts[i].bytes.size());
    EXPECT_EQ(std::memcmp(packed[i].bytes.data(), parts[i].bytes.data(), parts[i].bytes.size()), 0);
  }
}

TEST(Formats, NamesAreUniqueAndFound) {
  for (const Format& format : Formats()) EXPECT_EQ(FindFormat(format.name), &format);
  EXPECT_EQ(FindFormat("awq-gemv"), nullptr);
}

}  // namespace
}  // namespace awq::pack
