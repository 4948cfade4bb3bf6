// What AutoAWQ's layouts share: the quantization_config of config.json, and what no version holds.
#pragma once

#include "pack/format.h"

namespace awq::pack {

// Nothing where quant_method or version are others.
Result<std::optional<Quantization>> ReadAwqConfig(const io::Fields& fields,
                                                  std::string_view version);
nlohmann::json WriteAwqConfig(const StoredQuantization& stored, std::string_view version);

// Bits are each layout's own matter.
std::string RefusesForAwq(const quant::Spec& spec);

}  // namespace awq::pack
