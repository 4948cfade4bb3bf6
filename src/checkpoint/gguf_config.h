// The metadata of a GGUF file <-> config.json.
#pragma once

#include <awq/result.h>

#include <cstddef>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "io/gguf.h"
#include "io/gguf_writer.h"
#include "model/config.h"

namespace awq::checkpoint {

// The config.json that says what the file's metadata and tensors say. Refused: other architectures
// than kGgufArchitectures, experts, rope scaling that is neither linear nor Llama 3's, one part of
// a model in many files.
Result<nlohmann::json> ConfigFromGguf(const io::GgufFile& file);

// The keys that a reader of GGUF wants of a model; of tensors only RopeFactors are left. Where
// windows slide, the context ends at the window: GGUF cannot say more. Error: a family that GGUF
// has no architecture for.
Status AddConfigToGguf(const model::ModelConfig& config, io::GgufBuilder& builder);

// What rope_freqs.weight holds: by how much each pair's frequency is divided [head_dim / 2]. Empty
// unless the scaling is Llama 3's.
std::vector<float> RopeFactors(const model::ModelConfig& config);

}  // namespace awq::checkpoint
