// Models that every reader takes, as config.json says them, and how tests change them.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "verify/judge.h"

namespace awq::verify {

using nlohmann::json;
using RankList = std::vector<std::size_t>;
using Change = std::function<void(json&)>;

inline json Model() {
  return {{"architectures", {"LlamaForCausalLM"}},
          {"model_type", "llama"},
          {"hidden_size", 2048},
          {"intermediate_size", 6144},
          {"num_hidden_layers", 2},
          {"num_attention_heads", 16},
          {"num_key_value_heads", 4},
          {"head_dim", 128},
          {"vocab_size", 40},
          {"rms_norm_eps", 1e-5},
          {"max_position_embeddings", 64},
          {"torch_dtype", "float16"}};
}

inline json Awq() {
  json model = Model();
  model["quantization_config"] = {{"quant_method", "awq"}, {"bits", 4},
                                  {"group_size", 128},     {"zero_point", true},
                                  {"version", "gemm"},     {"modules_to_not_convert", nullptr}};
  return model;
}

inline json Gptq() {
  json model = Model();
  model["quantization_config"] = {{"quant_method", "gptq"},
                                  {"bits", 4},
                                  {"group_size", 128},
                                  {"desc_act", false},
                                  {"sym", true}};
  return model;
}

inline json Scheme(int bits, bool symmetric, std::size_t group_size,
                   std::vector<std::string> targets) {
  return {{"targets", targets},
          {"format", "pack-quantized"},
          {"weights",
           {{"num_bits", bits},
            {"type", "int"},
            {"symmetric", symmetric},
            {"strategy", "group"},
            {"group_size", group_size}}}};
}

inline json CompressedTensors() {
  json model = Model();
  model["quantization_config"] = {
      {"quant_method", "compressed-tensors"},
      {"format", "pack-quantized"},
      {"ignore", {"lm_head"}},
      {"config_groups", {{"group_0", Scheme(4, false, 128, {"Linear"})}}}};
  return model;
}

inline json Symmetric(json model) {
  model["quantization_config"]["config_groups"]["group_0"]["weights"]["symmetric"] = true;
  return model;
}

inline Verdict JudgeFacts(const char* reader, const ModelFacts& facts) {
  const Reader* row = FindReader(reader);
  EXPECT_NE(row, nullptr) << reader;
  auto verdict = Judge(*row, facts);
  EXPECT_TRUE(verdict.ok()) << verdict.error().message;
  return verdict.ok() ? *verdict : Verdict{};
}

inline Verdict JudgeConfig(const char* reader, const json& config) {
  const auto facts = FactsOfConfig(config, "config.json");
  EXPECT_TRUE(facts.ok()) << facts.error().message;
  return facts.ok() ? JudgeFacts(reader, *facts) : Verdict{};
}

inline json Changed(json model, const Change& change) {
  change(model);
  return model;
}

inline Change Set(const char* key, const json& value) {
  return [=](json& model) { model[key] = value; };
}

inline Change SetQuantization(const char* key, const json& value) {
  return [=](json& model) { model["quantization_config"][key] = value; };
}

inline Change DropQuantization(const char* key) {
  return [=](json& model) { model["quantization_config"].erase(key); };
}

inline Change Both(const Change& a, const Change& b) {
  return [=](json& model) {
    a(model);
    b(model);
  };
}

inline std::string Text(const Finding& finding) {
  return finding.where + ": expects " + finding.expects + ", found " + finding.found + "; " +
         finding.mend;
}

inline std::string Text(const Verdict& verdict) {
  std::string text;
  for (const Finding& finding : verdict.findings) text += Text(finding) + "\n";
  return text;
}

}  // namespace awq::verify
