// On-disk layouts of a QuantizedLinear, and what config.json says of them. One file and one row of
// Formats() per layout.
#pragma once

#include <awq/result.h>

#include <cstddef>
#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "io/fields.h"
#include "pack/quantization.h"
#include "quant/quantized_linear.h"
#include "tensor/tensor.h"

namespace awq::pack {

// All that a layout depends on besides the values.
struct Form {
  std::size_t out_features = 0;
  std::size_t in_features = 0;
  quant::Spec spec;  // group_size 0: the whole row

  std::size_t group_size() const { return spec.group_size == 0 ? in_features : spec.group_size; }
  std::size_t groups() const { return in_features / group_size(); }
};

// One stored tensor of a linear, e.g. suffix "qweight" for "<module>.qweight".
struct PartInfo {
  std::string_view suffix;
  DType dtype = DType::kI32;
  Shape shape;
};

std::size_t PartBytes(const PartInfo& part);  // of a part of a form that is not refused

struct PackedPart {
  PartInfo info;
  Buffer<std::byte> bytes;
};

// A linear is packed and unpacked in stripes of whole rows (output features), which begin at
// multiples of this: no word of any layout then belongs to two stripes.
inline constexpr std::size_t kStripeRows = quant::kStripeRows;

// Some rows of a QuantizedLinear, from row `first` on.
template <class Code, class Scale>
struct BasicRows {
  std::size_t first = 0;
  MatrixView<Code> codes;    // [rows, in_features]
  MatrixView<Scale> scales;  // [rows, groups]
  MatrixView<Code> zeros;    // [rows, groups]

  std::size_t count() const { return codes.rows; }
};
using Rows = BasicRows<const std::uint8_t, const float>;
using MutableRows = BasicRows<std::uint8_t, float>;

// What a row of Formats() does. It sees forms that are not refused and parts of the right size;
// PackRows and UnpackRows below have checked that. `parts` are the bytes of whole tensors, in the
// order of parts(). `module` stands in errors.
struct Format {
  std::string_view name;          // "awq-gemm"
  std::string_view codes_suffix;  // of the part that every packed linear has
  std::string_view scale_suffix;  // of the part that tells spec.scale_dtype
  // Scales are written in the dtype of the model's other weights; else always in F16.
  bool scales_follow_model = false;
  int least_zero = 0;         // smaller zero points cannot be stored
  bool scales_zeros = false;  // zero points are stored times their scale, which may not fit
  // Why this layout cannot hold such a linear ("out_features 172 is no multiple of 8"); empty if
  // it can. Emptiness, uneven groups and a spec out of range are refused before.
  std::string (*refuses)(const Form& form) = nullptr;
  std::vector<PartInfo> (*parts)(const Form& form) = nullptr;
  // Error: values that the layout cannot hold (kUnsupported).
  Status (*pack)(const Form& form, const Rows& rows, std::span<std::byte* const> parts,
                 std::string_view module) = nullptr;
  // Error: bytes that mean nothing. Scales and zeros are checked after it.
  Status (*unpack)(const Form& form, std::span<const std::byte* const> parts,
                   const MutableRows& rows, std::string_view module) = nullptr;
  // What is stored once for all rows; null where nothing is. Unpacked: group_of, empty without
  // act_order.
  void (*pack_once)(const Form& form, std::span<const std::uint32_t> group_of,
                    std::span<std::byte* const> parts) = nullptr;
  Result<std::vector<std::uint32_t>> (*unpack_once)(const Form& form,
                                                    std::span<const std::byte* const> parts,
                                                    std::string_view module) = nullptr;
  // The quantization_config of config.json; nothing where it is of another row.
  Result<std::optional<Quantization>> (*read_config)(const io::Fields& fields) = nullptr;
  nlohmann::json (*write_config)(const StoredQuantization& stored) = nullptr;
};

std::span<const Format> Formats();
const Format* FindFormat(std::string_view name);  // nullptr if there is none
std::string FormatNames();                        // "awq-gemm, gptq, ..."

// Why `format` cannot hold such a linear; empty if it can.
std::string Refuses(const Format& format, const Form& form);
// The formats that can, as FormatNames() has them; empty where none does.
std::string FormatsThatHold(const Form& form);
// Likewise of codes that are yet to be made, so that the zero points may be any; GGUF is among the
// formats.
std::string RefusesNew(const Format& format, const Form& form);
std::string FormatsThatHoldNew(const Form& form);

// Stripes: each writes its own bytes, so that many may be packed at once. `first` of the rows is a
// multiple of kStripeRows. Preconditions: not refused; `parts` are those of format.parts(), whole.
Status PackRows(const Format& format, const Form& form, const Rows& rows,
                std::span<std::byte* const> parts, std::string_view module);
// After CheckParts. Checks the values: zeros in range, scales finite and not 0.
Status UnpackRows(const Format& format, const Form& form, std::span<const TensorView> parts,
                  const MutableRows& rows, std::string_view module);

// Dtypes and shapes of the parts are those of format.parts(); the form is not refused.
Status CheckParts(const Format& format, const Form& form, std::span<const TensorView> parts,
                  std::string_view module);
// What is stored once for all rows. After CheckParts.
Result<std::vector<std::uint32_t>> UnpackOnce(const Format& format, const Form& form,
                                              std::span<const TensorView> parts,
                                              std::string_view module);
void PackOnce(const Format& format, const Form& form, std::span<const std::uint32_t> group_of,
              std::span<std::byte* const> parts);

// The whole linear at once. Precondition of Pack: not refused.
Result<std::vector<PackedPart>> Pack(const Format& format, const quant::QuantizedLinear& linear,
                                     std::string_view module);
Result<quant::QuantizedLinear> Unpack(const Format& format, std::span<const TensorView> parts,
                                      const Form& form, std::string_view module);

}  // namespace awq::pack
