// The small files of an output directory: config.json with its quantization_config, and copies.
#pragma once

#include <awq/result.h>

#include <nlohmann/json_fwd.hpp>
#include <string_view>

#include "checkpoint/stored_model.h"
#include "checkpoint/writer.h"
#include "pack/format.h"

namespace awq::pipeline {

// What quantizing writes beside codes, and says of it.
inline constexpr std::string_view kQuantizedDtype = "float16";

// The model's config.json as the output has it. `torch_dtype` as below.
Result<nlohmann::json> QuantizedConfig(const checkpoint::StoredModel& model,
                                       const pack::Format& format,
                                       const pack::StoredQuantization& stored,
                                       std::string_view torch_dtype);

// `torch_dtype` is what the tensors in 16 bits are; empty: as the model's config.json says.
Status WriteDirectoryFiles(checkpoint::DirectoryWriter& writer,
                           const checkpoint::StoredModel& model, const pack::Format& format,
                           const pack::StoredQuantization& stored, std::string_view torch_dtype);

}  // namespace awq::pipeline
