// An architecture is a table: its tensors, and which producer feeds which readers. One file per
// family under arch/, one line in arch/arch_list.inc.
#pragma once

#include <cstddef>
#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <span>
#include <string>
#include <string_view>

#include "model/config.h"

namespace awq::model {

// What a tensor of a decoder block is for; the forward pass asks by role, files by name.
enum class Role : std::uint8_t {
  kQ,  // linears, to kDown
  kK,
  kV,
  kO,
  kGate,
  kUp,
  kDown,
  kAttentionNorm,  // norms
  kMlpNorm,
  kQNorm,
  kKNorm,
  kCount,
};
inline constexpr std::size_t kRoles = static_cast<std::size_t>(Role::kCount);

enum class Dim : std::uint8_t { kHidden, kIntermediate, kQWidth, kKvWidth, kHeadDim };
std::size_t Width(const ModelConfig& config, Dim dim);

// A linear of every block: "<block>.<name>.weight" [out, in] and, where `bias` says so, ".bias".
struct LinearRow {
  Role role;
  std::string_view name;  // "self_attn.q_proj"
  Dim out;
  Dim in;
  bool ModelConfig::*bias;  // nullptr: never
};

struct NormRow {
  Role role;
  std::string_view name;  // "input_layernorm"
  Dim width;
  bool ModelConfig::*present;  // nullptr: always
};

bool HasBias(const ModelConfig& config, const LinearRow& row);
bool IsPresent(const ModelConfig& config, const NormRow& row);

// How a scale per channel can be taken out of what feeds a site.
enum class Fold : std::uint8_t {
  kNorm,  // producer is a norm: its weight is divided by s
  kRows,  // producer is a linear: its rows (and bias) are divided by s; widths must be equal
};

// A site: linears that read the same input. EVERY reader of the producer's output is listed.
struct SiteRow {
  std::string_view name;  // "qkv", "o", "gate_up", "down"
  Role producer;
  Fold fold;
  std::span<const Role> readers;
};

struct ArchSpec {
  std::string_view model_type;
  std::string_view block_prefix;  // "model.layers." followed by the index
  std::string_view embedding;     // "model.embed_tokens"
  std::string_view final_norm;    // "model.norm"
  std::string_view head;          // "lm_head"; absent from the file when tied
  std::span<const LinearRow> linears;
  std::span<const NormRow> norms;
  std::span<const SiteRow> sites;
  // Fills what differs between families (biases, windows, q/k norms) from config.json.
  Status (*traits)(const nlohmann::json& json, const std::string& name, ModelConfig& config);
};

std::span<const ArchSpec* const> Architectures();
const ArchSpec* FindArch(std::string_view model_type);  // nullptr if there is none

// "model.layers.3.self_attn.q_proj"
std::string ModuleName(const ArchSpec& arch, std::size_t layer, std::string_view name);

}  // namespace awq::model
