// AutoAWQ's "gemv" layout; docs/formats/awq_gemv.md has the bytes.
#include <algorithm>
#include <cstring>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "pack/awq_config.h"
#include "pack/awq_padding.h"
#include "pack/formats.h"
#include "pack/scales.h"
#include "pack/streams.h"

namespace awq::pack {
namespace {

constexpr int kBits = 4;
constexpr std::size_t kPerWord = 8;
constexpr std::size_t kWordBytes = sizeof(std::uint32_t);

std::string Refuses(const Form& form) {
  if (std::string why = RefusesForGemv(form, 32); !why.empty()) return why;
  return RefusesForAwq(form.spec);
}

std::vector<PartInfo> Parts(const Form& form) {
  const std::size_t padded = PaddedGroups(form);
  return {{"qweight", DType::kI32, {form.out_features, form.in_features / kPerWord}},
          {"qzeros", DType::kI32, {form.out_features, padded / kPerWord}},
          {"scales", form.spec.scale_dtype, {form.out_features, padded}}};
}

Status Pack(const Form& form, const Rows& rows, std::span<std::byte* const> parts,
            std::string_view /*module*/) {
  const std::size_t words = form.in_features / kPerWord;
  const std::size_t padded = PaddedGroups(form);
  const std::size_t zero_words = padded / kPerWord;
  PackStreams(rows.codes, kBits, words, parts[0] + rows.first * words * kWordBytes);
  std::byte* zeros = parts[1] + rows.first * zero_words * kWordBytes;
  std::memset(zeros, 0, rows.count() * zero_words * kWordBytes);
  PackStreams(rows.zeros, kBits, zero_words, zeros);
  const std::size_t scale_bytes = padded * ElementBytes(form.spec.scale_dtype);
  std::memset(parts[2] + rows.first * scale_bytes, 0, rows.count() * scale_bytes);
  StoreScales(rows.scales, rows.first, form.spec.scale_dtype, {padded, 1}, parts[2]);
  return {};
}

Status Unpack(const Form& form, std::span<const std::byte* const> parts, const MutableRows& rows,
              std::string_view module) {
  const std::size_t words = form.in_features / kPerWord;
  const std::size_t padded = PaddedGroups(form);
  const std::size_t zero_words = padded / kPerWord;
  const std::byte* zeros = parts[1] + rows.first * zero_words * kWordBytes;
  UnpackStreams(parts[0] + rows.first * words * kWordBytes, kBits, words, rows.codes);
  bool clean = UnpackStreams(zeros, kBits, zero_words, rows.zeros);
  LoadScales(parts[2], rows.first, form.spec.scale_dtype, {padded, 1}, rows.scales);
  const std::size_t used_words = StreamWords(form.groups(), kBits);
  const std::size_t scale_bytes = ElementBytes(form.spec.scale_dtype);
  for (std::size_t r = 0; r < rows.count(); ++r) {
    const std::byte* scales = parts[2] + (rows.first + r) * padded * scale_bytes;
    clean = clean && IsZero(zeros + (r * zero_words + used_words) * kWordBytes,
                            (zero_words - used_words) * kWordBytes);
    clean = clean &&
            IsZero(scales + form.groups() * scale_bytes, (padded - form.groups()) * scale_bytes);
  }
  return clean ? Status{} : PaddingError(module);
}

}  // namespace

Format AwqGemvFormat() {
  return {.name = "awq-gemv",
          .codes_suffix = "qweight",
          .scale_suffix = "scales",
          .refuses = Refuses,
          .parts = Parts,
          .pack = Pack,
          .unpack = Unpack,
          .read_config = [](const io::Fields& fields) { return ReadAwqConfig(fields, "gemv"); },
          .write_config =
              [](const StoredQuantization& stored) { return WriteAwqConfig(stored, "gemv"); }};
}

}  // namespace awq::pack
