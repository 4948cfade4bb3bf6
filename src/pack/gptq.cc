// GPTQ's layouts, first and second version; docs/formats/gptq.md has the bytes.
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "pack/formats.h"
#include "pack/gptq_config.h"
#include "pack/group_index.h"
#include "pack/scales.h"
#include "pack/streams.h"

namespace awq::pack {
namespace {

enum : std::size_t { kCodes, kZeros, kScales, kGroups };

std::string Refuses(const Form& form) {
  const int bits = form.spec.bits;
  if (bits != 2 && bits != 3 && bits != 4 && bits != 8) {
    return fmt::format("it holds codes of 2, 3, 4 and 8 bits, not {}", bits);
  }
  const auto is_whole = [&](std::size_t codes) {
    return codes * static_cast<std::size_t>(bits) % 32 == 0;
  };
  if (!is_whole(form.out_features) || !is_whole(form.in_features)) {
    return fmt::format("{} output and {} input features of {} bits do not both fill whole words",
                       form.out_features, form.in_features, bits);
  }
  if (!IsHalf(form.spec.scale_dtype)) {
    return fmt::format("its scales have 16 bits, not {}", DTypeName(form.spec.scale_dtype));
  }
  return "";
}

std::vector<PartInfo> Parts(const Form& form) {
  const int bits = form.spec.bits;
  return {{"qweight", DType::kI32, {StreamWords(form.in_features, bits), form.out_features}},
          {"qzeros", DType::kI32, {form.groups(), StreamWords(form.out_features, bits)}},
          {"scales", form.spec.scale_dtype, {form.groups(), form.out_features}},
          {"g_idx", DType::kI32, {form.in_features}}};
}

// The zeros' words that belong to rows before `first`, in bytes.
std::size_t ZeroOffset(const Form& form, std::size_t first) {
  return StreamWords(first, form.spec.bits) * sizeof(std::uint32_t);
}

// What the file says of a zero point z is z - kBias.
template <int kBias>
Status Pack(const Form& form, const Rows& rows, std::span<std::byte* const> parts,
            std::string_view module) {
  const int bits = form.spec.bits;
  Matrix<std::uint8_t> zeros = Transposed(rows.zeros);
  for (std::size_t g = 0; g < zeros.rows(); ++g) {
    for (std::size_t r = 0; r < zeros.cols(); ++r) {
      if (zeros(g, r) < kBias) {
        return MakeError(ErrorCode::kUnsupported,
                         "{}: the zero point of group {} of output feature {} is 0, which GPTQ's "
                         "first version, storing one less, cannot hold; gptq-v2 can",
                         module, g, rows.first + r);
      }
      zeros(g, r) = static_cast<std::uint8_t>(zeros(g, r) - kBias);
    }
  }
  PackStreamsAcross(rows.codes, bits, form.out_features,
                    parts[kCodes] + rows.first * sizeof(std::uint32_t));
  PackStreams(zeros, bits, StreamWords(form.out_features, bits),
              parts[kZeros] + ZeroOffset(form, rows.first));
  StoreScales(rows.scales, rows.first, form.spec.scale_dtype, {1, form.out_features},
              parts[kScales]);
  return {};
}

template <int kBias>
Status Unpack(const Form& form, std::span<const std::byte* const> parts, const MutableRows& rows,
              std::string_view module) {
  const int bits = form.spec.bits;
  UnpackStreamsAcross(parts[kCodes] + rows.first * sizeof(std::uint32_t), bits, form.out_features,
                      rows.codes);
  Matrix<std::uint8_t> zeros(form.groups(), rows.count());
  UnpackStreams(parts[kZeros] + ZeroOffset(form, rows.first), bits,
                StreamWords(form.out_features, bits), zeros);
  for (std::size_t g = 0; g < zeros.rows(); ++g) {
    for (std::size_t r = 0; r < zeros.cols(); ++r) {
      const int zero = zeros(g, r) + kBias;
      if (zero > form.spec.max_code()) {
        return MakeError(ErrorCode::kCorrupt,
                         "{}.qzeros: the zero point of group {} of output feature {} is stored as "
                         "{}, which some programs take for {} and others for 0; have its maker "
                         "write the format gptq_v2",
                         module, g, rows.first + r, zeros(g, r), zero);
      }
      rows.zeros(r, g) = static_cast<std::uint8_t>(zero);
    }
  }
  LoadScales(parts[kScales], rows.first, form.spec.scale_dtype, {1, form.out_features},
             rows.scales);
  return {};
}

void PackOnce(const Form& form, std::span<const std::uint32_t> group_of,
              std::span<std::byte* const> parts) {
  StoreGroupIndex(form, group_of, parts[kGroups]);
}

Result<std::vector<std::uint32_t>> UnpackOnce(const Form& form,
                                              std::span<const std::byte* const> parts,
                                              std::string_view module) {
  return LoadGroupIndex(form, parts[kGroups], fmt::format("{}.g_idx", module));
}

Format Base() {
  Format format;
  format.codes_suffix = "qweight";
  format.scale_suffix = "scales";
  format.refuses = Refuses;
  format.parts = Parts;
  format.pack_once = PackOnce;
  format.unpack_once = UnpackOnce;
  return format;
}

}  // namespace

Format GptqFormat() {
  Format format = Base();
  format.name = "gptq";
  format.least_zero = 1;
  format.pack = Pack<1>;
  format.unpack = Unpack<1>;
  format.read_config = [](const io::Fields& fields) { return ReadGptqConfig(fields, "gptq"); };
  format.write_config = [](const StoredQuantization& stored) {
    return WriteGptqConfig(stored, "gptq");
  };
  return format;
}

Format GptqV2Format() {
  Format format = Base();
  format.name = "gptq-v2";
  format.pack = Pack<0>;
  format.unpack = Unpack<0>;
  format.read_config = [](const io::Fields& fields) { return ReadGptqConfig(fields, "gptq_v2"); };
  format.write_config = [](const StoredQuantization& stored) {
    return WriteGptqConfig(stored, "gptq_v2");
  };
  return format;
}

}  // namespace awq::pack
