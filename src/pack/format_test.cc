// What must hold of every row of Formats().
#include "pack/format.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "base/check.h"
#include "pack/test_linear.h"

namespace awq::pack {
namespace {

using testing::ExpectEqual;
using testing::FormOf;
using testing::RandomLinear;
using testing::SameParts;
using testing::Views;

// Below, at and beyond tiles, words and stripes, with remainders in both directions.
const std::pair<std::size_t, std::size_t> kSizes[] = {
    {8, 1},  {8, 128},  {16, 96},  {24, 64},   {136, 65}, {128, 64}, {264, 192},
    {5, 77}, {136, 77}, {32, 512}, {288, 256}, {7, 32},   {32, 1056}};

// Every form with a group that divides, of every kind of spec; refused ones too.
std::vector<Form> Forms() {
  std::vector<Form> forms;
  for (const auto& [out, in] : kSizes) {
    for (const std::size_t group : {0U, 11U, 32U, 64U, 128U}) {
      if (group != 0 && in % group != 0) continue;
      for (const int bits : {2, 3, 4, 6, 8}) {
        for (const bool symmetric : {false, true}) {
          forms.push_back({out, in, {bits, group, symmetric}});
        }
        forms.push_back({out, in, {bits, group, false, DType::kBF16}});
        forms.push_back({out, in, {bits, group, true, DType::kF32, true}});
        forms.push_back({out, in, {bits, group, false, DType::kF16, true}});
      }
    }
  }
  return forms;
}

std::string Text(const Format& format, const Form& form) {
  return fmt::format("{} {}x{} {} bits group {} sym {} {} act order {}", format.name,
                     form.out_features, form.in_features, form.spec.bits, form.spec.group_size,
                     form.spec.symmetric, DTypeName(form.spec.scale_dtype), form.spec.act_order);
}

// Calls body(format, form) for whatever is not refused.
template <class Body>
void ForAll(const Body& body) {
  for (const Format& format : Formats()) {
    std::size_t held = 0;
    for (const Form& form : Forms()) {
      if (!Refuses(format, form).empty()) continue;
      SCOPED_TRACE(Text(format, form));
      ++held;
      body(format, form);
      if (::testing::Test::HasFatalFailure()) return;
    }
    EXPECT_GT(held, 5U) << format.name;
  }
}

TEST(Formats, NamesAreUniqueAndFound) {
  for (const Format& format : Formats()) EXPECT_EQ(FindFormat(format.name), &format);
  EXPECT_EQ(FindFormat("awq"), nullptr);
}

TEST(Formats, UnpackIsTheInverse) {
  unsigned seed = 1;
  ForAll([&](const Format& format, const Form& form) {
    const auto linear = RandomLinear(form, ++seed);
    const auto parts = Pack(format, linear, "m");
    ASSERT_TRUE(parts.ok()) << parts.error().message;
    const auto infos = format.parts(form);
    ASSERT_EQ(infos.size(), parts->size());
    for (std::size_t i = 0; i < infos.size(); ++i) {
      EXPECT_EQ(infos[i].suffix, (*parts)[i].info.suffix);
      EXPECT_EQ(infos[i].shape, (*parts)[i].info.shape);
    }
    const auto back = Unpack(format, Views(*parts), form, "m");
    ASSERT_TRUE(back.ok()) << back.error().message;
    ExpectEqual(linear, *back);
  });
}

// Extremes: either refused, or they come back.
TEST(Formats, WhatIsPackedComesBack) {
  unsigned seed = 1000;
  ForAll([&](const Format& format, const Form& form) {
    const auto linear = RandomLinear(form, ++seed, /*extreme=*/true);
    const auto parts = Pack(format, linear, "m");
    if (!parts.ok()) {
      EXPECT_EQ(parts.error().code, ErrorCode::kUnsupported);
      return;
    }
    const auto back = Unpack(format, Views(*parts), form, "m");
    ASSERT_TRUE(back.ok()) << back.error().message;
    ExpectEqual(linear, *back);
  });
}

// Stripe by stripe, from parts that no file aligned.
TEST(Formats, StripesMakeTheSameWhole) {
  ForAll([&](const Format& format, const Form& form) {
    const auto linear = RandomLinear(form, 7);
    const auto parts = Pack(format, linear, "m").value();
    std::vector<std::vector<std::byte>> shifted;
    std::vector<std::vector<std::byte>> packed;
    std::vector<std::byte*> pointers;
    std::vector<TensorView> views = Views(parts);
    for (TensorView& view : views) {
      packed.emplace_back(view.bytes.size());
      pointers.push_back(packed.back().data());
      shifted.emplace_back(view.bytes.size() + 1);
      std::memcpy(shifted.back().data() + 1, view.bytes.data(), view.bytes.size());
      view.bytes = std::span<const std::byte>(shifted.back()).subspan(1);
    }
    ASSERT_TRUE(CheckParts(format, form, views, "m").ok());
    PackOnce(format, form, linear.group_of, pointers);
    for (std::size_t first = 0; first < form.out_features; first += kStripeRows) {
      const std::size_t count = std::min(kStripeRows, form.out_features - first);
      Matrix<std::uint8_t> codes(count, form.in_features);
      Matrix<float> scales(count, form.groups());
      Matrix<std::uint8_t> zeros(count, form.groups());
      const MutableRows rows{first, codes, scales, zeros};
      ASSERT_TRUE(UnpackRows(format, form, views, rows, "m").ok());
      EXPECT_EQ(std::memcmp(codes.data(), linear.codes.row(first), codes.size()), 0);
      ASSERT_TRUE(PackRows(format, form, {first, codes, scales, zeros}, pointers, "m").ok());
    }
    for (std::size_t i = 0; i < parts.size(); ++i) {
      EXPECT_EQ(std::memcmp(packed[i].data(), parts[i].bytes.data(), packed[i].size()), 0);
    }
  });
}

// From any format into any other and back: equal bytes, or a refusal.
TEST(Formats, ChainsThroughAnyOtherComeBackToEqualBytes) {
  unsigned seed = 3000;
  std::size_t chains = 0;
  ForAll([&](const Format& first, const Form& form) {
    const auto parts = Pack(first, RandomLinear(form, ++seed), "m").value();
    for (const Format& second : Formats()) {
      for (const Format& third : Formats()) {
        if (form.out_features > 136) continue;
        if (!Refuses(second, form).empty() || !Refuses(third, form).empty()) continue;
        auto linear = Unpack(first, Views(parts), form, "m").value();
        for (const Format* next : {&second, &third}) {
          const auto packed = Pack(*next, linear, "m");
          ASSERT_TRUE(packed.ok()) << packed.error().message;
          linear = Unpack(*next, Views(*packed), form, "m").value();
        }
        EXPECT_TRUE(SameParts(Pack(first, linear, "m").value(), Views(parts)));
        ++chains;
      }
    }
  });
  EXPECT_GT(chains, 20U);
}

TEST(Formats, RefuseWhatNoneCanHold) {
  for (const Format& format : Formats()) {
    const Form good{128, 128, {4, 32, false}};
    EXPECT_EQ(Refuses(format, good), "") << format.name;
    EXPECT_NE(Refuses(format, {0, 128, good.spec}), "");
    EXPECT_NE(Refuses(format, {128, 0, {4, 0, false}}), "");
    EXPECT_NE(Refuses(format, {128, 128, {1, 32, false}}), "");
    EXPECT_NE(Refuses(format, {128, 128, {9, 32, false}}), "");
    EXPECT_EQ(Refuses(format, {128, 172, {4, 32, false}}),
              "in_features 172 is no multiple of the group size 32");
    EXPECT_FALSE(Unpack(format, {}, {128, 172, {4, 32, false}}, "m").ok());
  }
  EXPECT_EQ(FormatsThatHold({128, 128, {4, 32, false}}), FormatNames());
}

TEST(Formats, PackingACodeOutOfRangeIsABug) {
  for (const Format& format : Formats()) {
    auto linear = RandomLinear({128, 128, {4, 32, false}}, 1);
    linear.codes(3, 5) = 16;
    EXPECT_THROW(static_cast<void>(Pack(format, linear, "m")), InternalError);
  }
}

TEST(Formats, UnpackRefusesWrongParts) {
  for (const Format& format : Formats()) {
    SCOPED_TRACE(std::string(format.name));
    const Form form{128, 128, {4, 32, false}};
    const auto parts = Pack(format, RandomLinear(form, 1), "m").value();
    const std::vector<TensorView> good = Views(parts);
    const auto error = [&](std::span<const TensorView> views, const Form& as) {
      const auto result = Unpack(format, views, as, "model.q");
      return result.ok() ? std::string() : result.error().message;
    };
    EXPECT_EQ(error(good, form), "");
    EXPECT_NE(error(std::span(good).first(good.size() - 1), form), "");
    EXPECT_NE(error(good, {128, 64, form.spec}), "");
    EXPECT_NE(error(good, {256, 128, form.spec}), "");
    for (std::size_t i = 0; i < good.size(); ++i) {
      const std::string name = "model.q." + std::string(parts[i].info.suffix) + ": expected";
      std::vector<TensorView> wrong = good;
      wrong[i].dtype = DType::kF64;
      EXPECT_NE(error(wrong, form).find(name), std::string::npos);
      wrong = good;
      wrong[i].shape[0] += 1;
      EXPECT_NE(error(wrong, form).find(name), std::string::npos);
      wrong = good;
      wrong[i].bytes = wrong[i].bytes.first(wrong[i].bytes.size() - 2);
      EXPECT_NE(error(wrong, form).find(name), std::string::npos);
    }
  }
}

TEST(Formats, UnpackRefusesScalesThatAreNone) {
  for (const Format& format : Formats()) {
    SCOPED_TRACE(std::string(format.name));
    const Form form{128, 128, {4, 128, true}};
    for (const std::uint16_t bits :
         std::initializer_list<std::uint16_t>{0, 0x8000, 0x7c00, 0x7c01, 0xfc00, 0xffff}) {
      auto parts = Pack(format, RandomLinear(form, 1), "m").value();
      const auto scales = std::ranges::find(
          parts, format.scale_suffix, [](const PackedPart& part) { return part.info.suffix; });
      std::memcpy(scales->bytes.data(), &bits, sizeof(bits));
      const auto result = Unpack(format, Views(parts), form, "m");
      ASSERT_FALSE(result.ok());
      EXPECT_NE(result.error().message.find(fmt::format(
                    "m.{}: the scale of group 0 of output feature 0 is ", format.scale_suffix)),
                std::string::npos)
          << result.error().message;
    }
  }
}

}  // namespace
}  // namespace awq::pack
