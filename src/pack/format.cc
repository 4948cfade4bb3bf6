#include "pack/format.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "base/check.h"
#include "base/error.h"
#include "pack/formats.h"
#include "pack/ggml_blocks.h"

namespace awq::pack {
namespace {

// The bytes of every part, for the functions of a row.
std::vector<const std::byte*> Pointers(std::span<const TensorView> parts) {
  std::vector<const std::byte*> pointers;
  for (const TensorView& part : parts) pointers.push_back(part.bytes.data());
  return pointers;
}

bool AllAtMost(MatrixView<const std::uint8_t> values, int most) {
  std::uint8_t seen = 0;
  for (std::size_t r = 0; r < values.rows; ++r) {
    const std::uint8_t* row = values.row(r);
    for (std::size_t c = 0; c < values.cols; ++c) seen = std::max(seen, row[c]);
  }
  return seen <= most;
}

Status CheckValues(const Format& format, const Form& form, const MutableRows& rows,
                   std::string_view module) {
  for (std::size_t r = 0; r < rows.count(); ++r) {
    for (std::size_t g = 0; g < rows.scales.cols; ++g) {
      const float scale = rows.scales(r, g);
      if (!std::isfinite(scale) || scale == 0) {
        return MakeError(ErrorCode::kCorrupt,
                         "{}.{}: the scale of group {} of output feature {} is {}; expected a "
                         "finite number that is not 0",
                         module, format.scale_suffix, g, rows.first + r, scale);
      }
      if (form.spec.symmetric && rows.zeros(r, g) != form.spec.mid_code()) {
        return MakeError(ErrorCode::kCorrupt,
                         "{}: the zero point of group {} of output feature {} is {}; by "
                         "config.json the weights are symmetric, and every one must be {}",
                         module, g, rows.first + r, rows.zeros(r, g), form.spec.mid_code());
      }
    }
  }
  return {};
}

}  // namespace

std::size_t PartBytes(const PartInfo& part) {
  std::optional<std::size_t> bytes = ElementBytes(part.dtype);
  for (const std::size_t extent : part.shape) {
    if (bytes) bytes = CheckedProduct({*bytes, extent});
  }
  return bytes.value_or(std::numeric_limits<std::size_t>::max());
}

std::span<const Format> Formats() {
  static const std::array formats = {
      AwqGemmFormat(),           AwqGemvFormat(), AwqGemvFastFormat(), LlmAwqFormat(),
      CompressedTensorsFormat(), GptqFormat(),    GptqV2Format()};
  return formats;
}

const Format* FindFormat(std::string_view name) {
  for (const Format& format : Formats()) {
    if (format.name == name) return &format;
  }
  return nullptr;
}

std::string FormatNames() {
  std::string names;
  for (const Format& format : Formats()) {
    names += names.empty() ? "" : ", ";
    names += format.name;
  }
  return names;
}

std::string FormatsThatHold(const Form& form) {
  std::string names;
  for (const Format& format : Formats()) {
    if (!Refuses(format, form).empty()) continue;
    names += names.empty() ? "" : ", ";
    names += format.name;
  }
  return names;
}

std::string RefusesNew(const Format& format, const Form& form) {
  if (format.least_zero > 0 && !form.spec.symmetric) {
    return fmt::format("it cannot hold zero points below {}, which groups without --sym may have",
                       format.least_zero);
  }
  return Refuses(format, form);
}

std::string FormatsThatHoldNew(const Form& form) {
  std::vector<std::string_view> names;
  for (const Format& format : Formats()) {
    if (RefusesNew(format, form).empty()) names.push_back(format.name);
  }
  if (BlockTypeOf(form.spec, form.in_features, "")) names.emplace_back("gguf");
  return fmt::format("{}", fmt::join(names, ", "));
}

std::string Refuses(const Format& format, const Form& form) {
  if (form.out_features == 0 || form.in_features == 0) return "the matrix is empty";
  if (form.spec.bits < 2 || form.spec.bits > 8) {
    return fmt::format("codes have 2 to 8 bits, not {}", form.spec.bits);
  }
  const std::size_t group = form.group_size();
  if (form.in_features % group != 0) {
    return fmt::format("in_features {} is no multiple of the group size {}", form.in_features,
                       group);
  }
  return format.refuses(form);
}

Status PackRows(const Format& format, const Form& form, const Rows& rows,
                std::span<std::byte* const> parts, std::string_view module) {
  AWQ_CHECK_EQ(rows.first % kStripeRows, std::size_t{0});
  AWQ_CHECK_EQ(rows.codes.cols, form.in_features);
  AWQ_CHECK_EQ(rows.scales.cols, form.groups());
  AWQ_CHECK(AllAtMost(rows.codes, form.spec.max_code()));
  AWQ_CHECK(AllAtMost(rows.zeros, form.spec.max_code()));
  return format.pack(form, rows, parts, module);
}

Status UnpackRows(const Format& format, const Form& form, std::span<const TensorView> parts,
                  const MutableRows& rows, std::string_view module) {
  AWQ_CHECK_EQ(rows.first % kStripeRows, std::size_t{0});
  AWQ_TRY(format.unpack(form, Pointers(parts), rows, module));
  return CheckValues(format, form, rows, module);
}

Status CheckParts(const Format& format, const Form& form, std::span<const TensorView> parts,
                  std::string_view module) {
  if (const std::string why = Refuses(format, form); !why.empty()) {
    return MakeError(ErrorCode::kUnsupported, "{} cannot be in the {} format: {}", module,
                     format.name, why);
  }
  const std::vector<PartInfo> expected = format.parts(form);
  if (parts.size() != expected.size()) {
    return MakeError(ErrorCode::kCorrupt, "{}: {} packed tensors; expected {}", module,
                     parts.size(), expected.size());
  }
  for (std::size_t i = 0; i < parts.size(); ++i) {
    const PartInfo& want = expected[i];
    const TensorView& have = parts[i];
    if (have.dtype != want.dtype || have.shape != want.shape ||
        have.bytes.size() != PartBytes(want)) {
      return MakeError(ErrorCode::kCorrupt, "{}.{}: expected {} {}, found {} {} of {} bytes",
                       module, want.suffix, DTypeName(want.dtype), ShapeString(want.shape),
                       DTypeName(have.dtype), ShapeString(have.shape), have.bytes.size());
    }
  }
  return {};
}

Result<std::vector<std::uint32_t>> UnpackOnce(const Format& format, const Form& form,
                                              std::span<const TensorView> parts,
                                              std::string_view module) {
  if (format.unpack_once == nullptr) return std::vector<std::uint32_t>{};
  return format.unpack_once(form, Pointers(parts), module);
}

void PackOnce(const Format& format, const Form& form, std::span<const std::uint32_t> group_of,
              std::span<std::byte* const> parts) {
  AWQ_CHECK_EQ(group_of.size(), form.spec.act_order ? form.in_features : 0);
  if (format.pack_once != nullptr) format.pack_once(form, group_of, parts);
}

Result<std::vector<PackedPart>> Pack(const Format& format, const quant::QuantizedLinear& linear,
                                     std::string_view module) {
  const Form form{linear.out_features(), linear.in_features(), linear.spec};
  AWQ_CHECK(Refuses(format, form).empty());
  std::vector<PackedPart> packed;
  std::vector<std::byte*> pointers;
  for (PartInfo& info : format.parts(form)) {
    Buffer<std::byte> bytes(PartBytes(info));
    packed.push_back({std::move(info), std::move(bytes)});
    pointers.push_back(packed.back().bytes.data());
  }
  PackOnce(format, form, linear.group_of, pointers);
  AWQ_TRY(PackRows(format, form, {0, linear.codes, linear.scales, linear.zeros}, pointers, module));
  return packed;
}

Result<quant::QuantizedLinear> Unpack(const Format& format, std::span<const TensorView> parts,
                                      const Form& form, std::string_view module) {
  AWQ_TRY(CheckParts(format, form, parts, module));  // also bounds what is allocated next
  quant::QuantizedLinear linear{form.spec,
                                Matrix<std::uint8_t>(form.out_features, form.in_features),
                                Matrix<float>(form.out_features, form.groups()),
                                Matrix<std::uint8_t>(form.out_features, form.groups())};
  linear.spec.group_size = form.group_size();
  AWQ_ASSIGN(linear.group_of, UnpackOnce(format, form, parts, module));
  AWQ_TRY(UnpackRows(format, form, parts, {0, linear.codes, linear.scales, linear.zeros}, module));
  return linear;
}

}  // namespace awq::pack
