// What GGUF calls the tensors of the Llama family, and the architectures that we read and write.
#pragma once

#include <fmt/format.h>

#include <array>
#include <cstddef>
#include <string>
#include <string_view>

#include "model/arch.h"

namespace awq::checkpoint {

inline constexpr std::string_view kGgufEmbedding = "token_embd.weight";
inline constexpr std::string_view kGgufFinalNorm = "output_norm.weight";
inline constexpr std::string_view kGgufHead = "output.weight";  // absent: tied
inline constexpr std::string_view kGgufRopeFactors = "rope_freqs.weight";

// A key of ours: the quantization_report.json of a model that awq quantized.
inline constexpr std::string_view kGgufReport = "awq.quantization_report";

// By Role.
inline constexpr std::array<std::string_view, model::kRoles> kGgufRoles = {
    "attn_q",   "attn_k",    "attn_v",   "attn_output", "ffn_gate",    "ffn_up",
    "ffn_down", "attn_norm", "ffn_norm", "attn_q_norm", "attn_k_norm",
};

// "blk.3.attn_q.weight"
inline std::string GgufName(std::size_t layer, model::Role role, std::string_view part) {
  return fmt::format("blk.{}.{}.{}", layer, kGgufRoles[static_cast<std::size_t>(role)], part);
}

// An architecture of GGUF and what it is called in config.json.
struct GgufArch {
  std::string_view name;
  std::string_view model_type;
  std::string_view class_name;  // in "architectures"
  // Rows of q and k stand in pairs (i, i + head_dim / 2), as the original Llama had them.
  bool interleaved_rows;
};

inline constexpr std::array<GgufArch, 3> kGgufArchitectures = {{
    {"llama", "llama", "LlamaForCausalLM", true},
    {"qwen2", "qwen2", "Qwen2ForCausalLM", false},
    {"qwen3", "qwen3", "Qwen3ForCausalLM", false},
}};

// nullptr: none.
inline const GgufArch* FindGgufArch(std::string_view name) {
  for (const GgufArch& arch : kGgufArchitectures) {
    if (arch.name == name) return &arch;
  }
  return nullptr;
}

// What `model_type` of config.json becomes; nullptr: none. Mistral is a llama there.
inline const GgufArch* GgufArchOf(std::string_view model_type) {
  return FindGgufArch(model_type == "mistral" ? "llama" : model_type);
}

// Whether the rows of this linear, and its bias, stand in pairs.
inline bool Interleaves(const GgufArch& arch, model::Role role) {
  return arch.interleaved_rows && (role == model::Role::kQ || role == model::Role::kK);
}

// The row of a head in GGUF for the row `row` of config.json's order.
inline std::size_t InterleavedRow(std::size_t row, std::size_t head_dim) {
  const std::size_t half = head_dim / 2;
  const std::size_t in_head = row % head_dim;
  return row - in_head + 2 * (in_head % half) + in_head / half;
}

}  // namespace awq::checkpoint
