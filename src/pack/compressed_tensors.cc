// compressed-tensors' "pack-quantized" layout; docs/formats/compressed_tensors.md has the bytes.
#include <algorithm>
#include <array>
#include <cstring>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "pack/compressed_tensors_config.h"
#include "pack/formats.h"
#include "pack/group_index.h"
#include "pack/scales.h"
#include "pack/streams.h"

namespace awq::pack {
namespace {

// Places of the parts that every linear has; then zero points, then the group index.
enum : std::size_t { kCodes, kScales, kShape, kRest };

std::string Refuses(const Form& form) {
  const DType dtype = form.spec.scale_dtype;
  if (IsHalf(dtype) || dtype == DType::kF32) return "";
  return fmt::format("its scales are F16, BF16 or F32, not {}", DTypeName(dtype));
}

std::vector<PartInfo> Parts(const Form& form) {
  const int bits = form.spec.bits;
  std::vector<PartInfo> parts = {
      {"weight_packed", DType::kI32, {form.out_features, StreamWords(form.in_features, bits)}},
      {"weight_scale", form.spec.scale_dtype, {form.out_features, form.groups()}},
      {"weight_shape", DType::kI64, {2}}};
  if (!form.spec.symmetric) {
    parts.push_back(
        {"weight_zero_point", DType::kI32, {StreamWords(form.out_features, bits), form.groups()}});
  }
  if (form.spec.act_order) parts.push_back({"weight_g_idx", DType::kI32, {form.in_features}});
  return parts;
}

// Words of the zero points that belong to rows before `first`.
std::size_t ZeroOffset(const Form& form, std::size_t first) {
  return StreamWords(first, form.spec.bits) * form.groups() * sizeof(std::uint32_t);
}

Status Pack(const Form& form, const Rows& rows, std::span<std::byte* const> parts,
            std::string_view /*module*/) {
  const std::size_t words = StreamWords(form.in_features, form.spec.bits);
  PackStreams(rows.codes, form.spec.bits, words,
              parts[kCodes] + rows.first * words * sizeof(std::uint32_t));
  StoreScales(rows.scales, rows.first, form.spec.scale_dtype, {form.groups(), 1}, parts[kScales]);
  if (form.spec.symmetric) return {};
  PackStreamsAcross(Transposed(rows.zeros), form.spec.bits, form.groups(),
                    parts[kRest] + ZeroOffset(form, rows.first));
  return {};
}

Status Unpack(const Form& form, std::span<const std::byte* const> parts, const MutableRows& rows,
              std::string_view module) {
  const int bits = form.spec.bits;
  const std::size_t words = StreamWords(form.in_features, bits);
  bool clean = UnpackStreams(parts[kCodes] + rows.first * words * sizeof(std::uint32_t), bits,
                             words, rows.codes);
  LoadScales(parts[kScales], rows.first, form.spec.scale_dtype, {form.groups(), 1}, rows.scales);
  if (form.spec.symmetric) {
    for (std::size_t r = 0; r < rows.count(); ++r) {
      std::fill_n(rows.zeros.row(r), form.groups(),
                  static_cast<std::uint8_t>(form.spec.mid_code()));
    }
  } else {
    Matrix<std::uint8_t> turned(form.groups(), rows.count());
    clean = UnpackStreamsAcross(parts[kRest] + ZeroOffset(form, rows.first), bits, form.groups(),
                                turned) &&
            clean;
    for (std::size_t r = 0; r < rows.count(); ++r) {
      for (std::size_t g = 0; g < form.groups(); ++g) rows.zeros(r, g) = turned(g, r);
    }
  }
  if (clean) return {};
  return MakeError(ErrorCode::kCorrupt,
                   "{}: bits beyond the last code or zero point are not 0; the tensors are of "
                   "another packing",
                   module);
}

void PackOnce(const Form& form, std::span<const std::uint32_t> group_of,
              std::span<std::byte* const> parts) {
  const std::array<std::int64_t, 2> shape = {static_cast<std::int64_t>(form.out_features),
                                             static_cast<std::int64_t>(form.in_features)};
  std::memcpy(parts[kShape], shape.data(), sizeof(shape));
  if (form.spec.act_order) StoreGroupIndex(form, group_of, parts.back());
}

Result<std::vector<std::uint32_t>> UnpackOnce(const Form& form,
                                              std::span<const std::byte* const> parts,
                                              std::string_view module) {
  std::array<std::int64_t, 2> shape{};
  std::memcpy(shape.data(), parts[kShape], sizeof(shape));
  if (shape[0] != static_cast<std::int64_t>(form.out_features) ||
      shape[1] != static_cast<std::int64_t>(form.in_features)) {
    return MakeError(ErrorCode::kCorrupt, "{}.weight_shape: expected [{}, {}], found [{}, {}]",
                     module, form.out_features, form.in_features, shape[0], shape[1]);
  }
  if (!form.spec.act_order) return std::vector<std::uint32_t>{};
  return LoadGroupIndex(form, parts.back(), fmt::format("{}.weight_g_idx", module));
}

}  // namespace

Format CompressedTensorsFormat() {
  return {.name = "compressed-tensors",
          .codes_suffix = "weight_packed",
          .scale_suffix = "weight_scale",
          .scales_follow_model = true,
          .refuses = Refuses,
          .parts = Parts,
          .pack = Pack,
          .unpack = Unpack,
          .pack_once = PackOnce,
          .unpack_once = UnpackOnce,
          .read_config = ReadCompressedTensorsConfig,
          .write_config = WriteCompressedTensorsConfig};
}

}  // namespace awq::pack
