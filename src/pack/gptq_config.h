// GPTQ's quantization_config in config.json, as AutoGPTQ and GPTQModel write it.
#pragma once

#include "pack/format.h"

namespace awq::pack {

// `checkpoint_format` is "gptq" or "gptq_v2"; nothing where quant_method or format are others.
Result<std::optional<Quantization>> ReadGptqConfig(const io::Fields& fields,
                                                   std::string_view checkpoint_format);
nlohmann::json WriteGptqConfig(const StoredQuantization& stored,
                               std::string_view checkpoint_format);

}  // namespace awq::pack
