#include "model/config.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "io/fields.h"
#include "model/arch.h"
#include "model/config_parts.h"

namespace awq::model {
namespace {

// docs/limits.md has this table for readers.
constexpr io::SizeRange kLayers{1, 1024};
constexpr io::SizeRange kHeads{1, 1024};
constexpr io::SizeRange kHeadDim{2, 1024};
constexpr io::SizeRange kWidth{1, std::size_t{1} << 20};
constexpr io::SizeRange kVocabulary{1, std::size_t{1} << 24};
constexpr io::SizeRange kPositions{1, std::size_t{1} << 26};
constexpr std::size_t kMaxEosTokens = 64;

std::string KnownTypes() {
  std::string names;
  for (const ArchSpec* arch : Architectures()) {
    names += names.empty() ? "" : ", ";
    names += arch->model_type;
  }
  return names;
}

Status ParseSizes(const io::Fields& fields, ModelConfig& config) {
  AWQ_ASSIGN(config.hidden_size, fields.Size("hidden_size", kWidth));
  AWQ_ASSIGN(config.intermediate_size, fields.Size("intermediate_size", kWidth));
  AWQ_ASSIGN(config.num_hidden_layers, fields.Size("num_hidden_layers", kLayers));
  AWQ_ASSIGN(config.num_attention_heads, fields.Size("num_attention_heads", kHeads));
  AWQ_ASSIGN(config.num_key_value_heads,
             fields.Size("num_key_value_heads", kHeads, config.num_attention_heads));
  AWQ_ASSIGN(config.head_dim, fields.Size("head_dim", kHeadDim, std::size_t{0}));
  AWQ_ASSIGN(config.vocab_size, fields.Size("vocab_size", kVocabulary));
  AWQ_ASSIGN(config.max_position_embeddings, fields.Size("max_position_embeddings", kPositions));
  return {};
}

// After the family's traits, which may have set what the file leaves out.
Status CheckHeads(const std::string& name, ModelConfig& config) {
  if (config.num_attention_heads % config.num_key_value_heads != 0) {
    return MakeError(ErrorCode::kCorrupt,
                     "{}: num_attention_heads {} is no multiple of num_key_value_heads {}", name,
                     config.num_attention_heads, config.num_key_value_heads);
  }
  if (config.head_dim == 0) {
    if (config.hidden_size % config.num_attention_heads != 0) {
      return MakeError(ErrorCode::kCorrupt,
                       "{}: hidden_size {} is no multiple of num_attention_heads {} and there is "
                       "no head_dim",
                       name, config.hidden_size, config.num_attention_heads);
    }
    config.head_dim = config.hidden_size / config.num_attention_heads;
  }
  const std::size_t dim = config.head_dim;
  if (dim < kHeadDim.least || dim > kHeadDim.most || dim % 2 != 0) {
    return MakeError(ErrorCode::kCorrupt,
                     "{}: the head dimension {} must be even and from {} to {}: rotary embeddings "
                     "turn pairs",
                     name, dim, kHeadDim.least, kHeadDim.most);
  }
  return {};
}

// A token id that the embedding has.
Result<std::int64_t> TokenId(const io::Fields& fields, const char* key, const nlohmann::json& value,
                             std::size_t vocab_size) {
  const auto id = io::AsSize(value);
  if (!id || *id >= vocab_size) {
    return MakeError(ErrorCode::kCorrupt,
                     "{}: \"{}\" holds {}; expected a token id below vocab_size {}", fields.place(),
                     key, io::Excerpt(value), vocab_size);
  }
  return static_cast<std::int64_t>(*id);
}

Status ParseTokens(const io::Fields& fields, ModelConfig& config) {
  if (const nlohmann::json* bos = fields.Find("bos_token_id"); bos != nullptr) {
    AWQ_ASSIGN(config.bos_token_id, TokenId(fields, "bos_token_id", *bos, config.vocab_size));
  }
  const nlohmann::json* eos = fields.Find("eos_token_id");
  if (eos == nullptr) return {};
  const nlohmann::json list = eos->is_array() ? *eos : nlohmann::json::array({*eos});
  if (list.size() > kMaxEosTokens) {
    return MakeError(ErrorCode::kCorrupt, "{}: eos_token_id lists {} tokens; at most {} can be",
                     fields.place(), list.size(), kMaxEosTokens);
  }
  for (const nlohmann::json& item : list) {
    AWQ_ASSIGN(const std::int64_t id, TokenId(fields, "eos_token_id", item, config.vocab_size));
    config.eos_token_ids.push_back(id);
  }
  return {};
}

}  // namespace

Result<ModelConfig> ParseConfig(const nlohmann::json& json, const std::string& name) {
  if (!json.is_object()) {
    return MakeError(ErrorCode::kCorrupt, "{}: not a JSON object", name);
  }
  const io::Fields fields(json, name);
  ModelConfig config;
  AWQ_ASSIGN(config.model_type, fields.String("model_type"));
  config.arch = FindArch(config.model_type);
  if (config.arch == nullptr) {
    return MakeError(ErrorCode::kUnsupported, "{}: the model_type \"{}\" is not supported ({} are)",
                     name, config.model_type, KnownTypes());
  }
  AWQ_ASSIGN(const std::string activation, fields.String("hidden_act", "silu"));
  if (activation != "silu") {
    return MakeError(ErrorCode::kUnsupported,
                     "{}: the hidden_act \"{}\" is not supported (silu is)", name, activation);
  }
  AWQ_TRY(ParseSizes(fields, config));
  AWQ_ASSIGN(config.rms_norm_eps, fields.Number("rms_norm_eps", 0, 1, config.rms_norm_eps));
  AWQ_ASSIGN(config.tie_word_embeddings, fields.Bool("tie_word_embeddings", false));
  config.sliding_window.assign(config.num_hidden_layers, 0);
  AWQ_TRY(config.arch->traits(json, name, config));
  AWQ_TRY(CheckHeads(name, config));
  AWQ_TRY(ParseTokens(fields, config));
  AWQ_TRY(ParseRope(fields, config));
  return config;
}

}  // namespace awq::model
