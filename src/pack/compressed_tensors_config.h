// compressed-tensors' quantization_config in config.json, as llm-compressor writes it.
#pragma once

#include "pack/format.h"

namespace awq::pack {

Result<std::optional<Quantization>> ReadCompressedTensorsConfig(const io::Fields& fields);
nlohmann::json WriteCompressedTensorsConfig(const StoredQuantization& stored);

}  // namespace awq::pack
