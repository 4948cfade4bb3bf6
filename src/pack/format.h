// On-disk layouts of a QuantizedLinear. One file and one row of Formats() per layout.
#pragma once

#include <awq/result.h>

#include <cstddef>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "quant/quantized_linear.h"
#include "tensor/tensor.h"

namespace awq::pack {

// One stored tensor of a linear, e.g. suffix "qweight" for "<module>.qweight".
struct PartInfo {
  std::string_view suffix;
  DType dtype = DType::kI32;
  Shape shape;
};

struct PackedPart {
  PartInfo info;
  Buffer<std::byte> bytes;
};

struct Format {
  std::string_view name;  // "awq-gemm"
  // Why this layout cannot hold such a linear ("out_features 172 is no multiple of 8"); empty if it
  // can. [out, in] and the spec are all that layouts depend on.
  std::string (*refuses)(std::size_t out_features, std::size_t in_features,
                         const quant::Spec& spec);
  // The parts, in file order. Precondition: not refused.
  std::vector<PartInfo> (*parts)(std::size_t out_features, std::size_t in_features,
                                 const quant::Spec& spec);
  // Precondition: not refused.
  std::vector<PackedPart> (*pack)(const quant::QuantizedLinear& linear);
  // `parts` in the order of parts(); checks dtypes, shapes and values (zeros in range, scales
  // finite). `module` stands in errors.
  Result<quant::QuantizedLinear> (*unpack)(std::span<const TensorView> parts,
                                           std::size_t out_features, std::size_t in_features,
                                           const quant::Spec& spec, std::string_view module);
};

std::span<const Format> Formats();
const Format* FindFormat(std::string_view name);  // nullptr if there is none

}  // namespace awq::pack
