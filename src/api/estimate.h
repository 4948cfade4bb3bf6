// Figures with intervals, from eval to the public types and to JSON.
#pragma once

#include <awq/awq.h>

#include <nlohmann/json.hpp>
#include <string>

#include "eval/bootstrap.h"

namespace awq::api {

inline Estimate ToEstimate(const eval::Figure& figure) {
  return {figure.value, figure.low, figure.high};
}

// key and key_interval
inline void AddEstimate(nlohmann::json& json, const std::string& key, const Estimate& estimate) {
  json[key] = estimate.value;
  json[key + "_interval"] = {estimate.low, estimate.high};
}

}  // namespace awq::api
