#include <nlohmann/json.hpp>

#include "base/error.h"
#include "model/config_parts.h"

namespace awq::model {
namespace {

constexpr double kMaxTheta = 1e12;
constexpr double kMaxFactor = 1e6;
constexpr std::size_t kMaxPositions = std::size_t{1} << 26;

Status ParseScaling(const io::Fields& rope, const std::string& type, ModelConfig& config) {
  RopeScaling& scaling = config.rope_scaling;
  if (type == "default") return {};
  if (type != "linear" && type != "llama3") {
    return MakeError(ErrorCode::kUnsupported,
                     "{}: the rope type \"{}\" is not supported (default, linear and llama3 are)",
                     rope.place(), type);
  }
  AWQ_ASSIGN(scaling.factor, rope.Number("factor", 0, kMaxFactor));
  if (type == "linear") {
    scaling.kind = RopeScaling::Kind::kLinear;
    return {};
  }
  scaling.kind = RopeScaling::Kind::kLlama3;
  AWQ_ASSIGN(scaling.low_freq_factor, rope.Number("low_freq_factor", 0, kMaxFactor));
  AWQ_ASSIGN(scaling.high_freq_factor, rope.Number("high_freq_factor", 0, kMaxFactor));
  AWQ_ASSIGN(scaling.original_max_position_embeddings,
             rope.Size("original_max_position_embeddings", {1, kMaxPositions},
                       config.max_position_embeddings));
  if (scaling.low_freq_factor >= scaling.high_freq_factor) {
    return MakeError(ErrorCode::kCorrupt,
                     "{}: low_freq_factor {} must be below high_freq_factor {}", rope.place(),
                     scaling.low_freq_factor, scaling.high_freq_factor);
  }
  return {};
}

// `member` is "rope_scaling" (the older spelling: only what scales) or "rope_parameters" (the newer
// one: rope_theta inside, and the type may be left out).
Status ParseRopeObject(const io::Fields& fields, const char* member, ModelConfig& config) {
  const nlohmann::json& object = *fields.Find(member);
  const std::string place = fields.place() + ": " + member;
  if (!object.is_object()) {
    return MakeError(ErrorCode::kCorrupt, "{} is {}; expected an object", place,
                     io::Excerpt(object));
  }
  const io::Fields rope(object, place);
  for (const auto& [key, value] : object.items()) {
    if (value.is_object()) {
      return MakeError(ErrorCode::kUnsupported,
                       "{}: rope parameters that differ between layers (\"{}\") are not supported",
                       place, key);
    }
  }
  AWQ_ASSIGN(config.rope_theta, rope.Number("rope_theta", 0, kMaxTheta, config.rope_theta));
  AWQ_ASSIGN(const double partial, rope.Number("partial_rotary_factor", 0, 1, 1.0));
  if (partial != 1) {
    return MakeError(ErrorCode::kUnsupported, "{}: partial_rotary_factor {} is not supported",
                     place, partial);
  }
  AWQ_ASSIGN(const std::string old_type, rope.String("type", "default"));
  AWQ_ASSIGN(const std::string type, rope.String("rope_type", old_type));
  if (type == "default" && rope.Find("factor") != nullptr) {
    return MakeError(ErrorCode::kCorrupt, "{}: has a factor but no rope_type that uses it", place);
  }
  return ParseScaling(rope, type, config);
}

}  // namespace

Status ParseRope(const io::Fields& fields, ModelConfig& config) {
  AWQ_ASSIGN(config.rope_theta, fields.Number("rope_theta", 0, kMaxTheta, config.rope_theta));
  AWQ_ASSIGN(const double partial, fields.Number("partial_rotary_factor", 0, 1, 1.0));
  if (partial != 1) {
    return MakeError(ErrorCode::kUnsupported, "{}: partial_rotary_factor {} is not supported",
                     fields.place(), partial);
  }
  const bool has_parameters = fields.Find("rope_parameters") != nullptr;
  const bool has_scaling = fields.Find("rope_scaling") != nullptr;
  if (has_parameters && has_scaling &&
      *fields.Find("rope_parameters") != *fields.Find("rope_scaling")) {
    return MakeError(ErrorCode::kCorrupt,
                     "{}: rope_parameters and rope_scaling contradict each other; keep one",
                     fields.place());
  }
  if (has_parameters) return ParseRopeObject(fields, "rope_parameters", config);
  if (has_scaling) return ParseRopeObject(fields, "rope_scaling", config);
  return {};
}

}  // namespace awq::model
