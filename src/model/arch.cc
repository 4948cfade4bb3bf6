#include "model/arch.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

namespace awq::model {

#define AWQ_ARCH(name) extern const ArchSpec kArch##name;
#include "model/arch/arch_list.inc"
#undef AWQ_ARCH

namespace {

constexpr std::array kArchitectures = {
#define AWQ_ARCH(name) &kArch##name,
#include "model/arch/arch_list.inc"
#undef AWQ_ARCH
};

}  // namespace

std::span<const ArchSpec* const> Architectures() { return kArchitectures; }

const ArchSpec* FindArch(std::string_view model_type) {
  const auto found =
      std::find_if(kArchitectures.begin(), kArchitectures.end(),
                   [&](const ArchSpec* arch) { return arch->model_type == model_type; });
  return found == kArchitectures.end() ? nullptr : *found;
}

std::size_t Width(const ModelConfig& config, Dim dim) {
  switch (dim) {
    case Dim::kHidden:
      return config.hidden_size;
    case Dim::kIntermediate:
      return config.intermediate_size;
    case Dim::kQWidth:
      return config.q_width();
    case Dim::kKvWidth:
      return config.kv_width();
    case Dim::kHeadDim:
      return config.head_dim;
  }
  return 0;
}

bool HasBias(const ModelConfig& config, const LinearRow& row) {
  return row.bias != nullptr && config.*row.bias;
}

bool IsPresent(const ModelConfig& config, const NormRow& row) {
  return row.present == nullptr || config.*row.present;
}

std::string ModuleName(const ArchSpec& arch, std::size_t layer, std::string_view name) {
  return fmt::format("{}{}.{}", arch.block_prefix, layer, name);
}

}  // namespace awq::model
