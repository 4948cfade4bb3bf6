// What Llama and its descendants share: pre-norm blocks of attention and a gated MLP.
#pragma once

#include <array>

#include "model/arch.h"

namespace awq::model::llama_family {

inline constexpr std::array<LinearRow, 7> kLinears = {{
    {Role::kQ, "self_attn.q_proj", Dim::kQWidth, Dim::kHidden, &ModelConfig::qkv_bias},
    {Role::kK, "self_attn.k_proj", Dim::kKvWidth, Dim::kHidden, &ModelConfig::qkv_bias},
    {Role::kV, "self_attn.v_proj", Dim::kKvWidth, Dim::kHidden, &ModelConfig::qkv_bias},
    {Role::kO, "self_attn.o_proj", Dim::kHidden, Dim::kQWidth, &ModelConfig::o_bias},
    {Role::kGate, "mlp.gate_proj", Dim::kIntermediate, Dim::kHidden, &ModelConfig::mlp_bias},
    {Role::kUp, "mlp.up_proj", Dim::kIntermediate, Dim::kHidden, &ModelConfig::mlp_bias},
    {Role::kDown, "mlp.down_proj", Dim::kHidden, Dim::kIntermediate, &ModelConfig::mlp_bias},
}};

inline constexpr std::array<NormRow, 4> kNorms = {{
    {Role::kAttentionNorm, "input_layernorm", Dim::kHidden, nullptr},
    {Role::kMlpNorm, "post_attention_layernorm", Dim::kHidden, nullptr},
    {Role::kQNorm, "self_attn.q_norm", Dim::kHeadDim, &ModelConfig::qk_norm},
    {Role::kKNorm, "self_attn.k_norm", Dim::kHeadDim, &ModelConfig::qk_norm},
}};

inline constexpr std::array kQkv = {Role::kQ, Role::kK, Role::kV};
inline constexpr std::array kO = {Role::kO};
inline constexpr std::array kGateUp = {Role::kGate, Role::kUp};
inline constexpr std::array kDown = {Role::kDown};

inline constexpr std::array<SiteRow, 4> kSites = {{
    {"qkv", Role::kAttentionNorm, Fold::kNorm, kQkv},
    {"o", Role::kV, Fold::kRows, kO},
    {"gate_up", Role::kMlpNorm, Fold::kNorm, kGateUp},
    {"down", Role::kUp, Fold::kRows, kDown},
}};

using Traits = Status (*)(const nlohmann::json&, const std::string&, ModelConfig&);

constexpr ArchSpec Spec(std::string_view model_type, Traits traits) {
  return {model_type,   "model.layers.", "model.embed_tokens",
          "model.norm", "lm_head",       kLinears,
          kNorms,       kSites,          traits};
}

// "layer_types" of config.json, true where a layer's attention slides; empty if it is absent.
Result<std::vector<bool>> SlidingLayers(const nlohmann::json& json, const std::string& name,
                                        std::size_t layers);

// Qwen's rule: windows only if use_sliding_window, then by layer_types or from max_window_layers.
Status ParseQwenWindows(const nlohmann::json& json, const std::string& name, ModelConfig& config);

}  // namespace awq::model::llama_family
