// quantization_config of every producer -> format, spec and modules; and what is refused.
#include "pack/quantization.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "pack/format.h"

namespace awq::pack {
namespace {

using nlohmann::json;

Quantization Parse(const json& quantization) {
  auto read = ReadQuantization({{"quantization_config", quantization}}, "config.json");
  EXPECT_TRUE(read.ok()) << read.error().message;
  EXPECT_TRUE(read.ok() && read->has_value());
  return **read;
}

std::string ErrorOf(const json& quantization) {
  const auto read = ReadQuantization({{"quantization_config", quantization}}, "config.json");
  return read.ok() ? "" : read.error().message;
}

// `base` with some members set to something else; each case must name what is wrong.
void ExpectRefused(const json& base, const std::vector<std::pair<json, const char*>>& cases) {
  EXPECT_EQ(ErrorOf(base), "");
  for (const auto& [patch, expected] : cases) {
    json changed = base;
    for (const auto& [path, value] : patch.items()) changed[json::json_pointer(path)] = value;
    const std::string error = ErrorOf(changed);
    EXPECT_NE(error.find(expected), std::string::npos) << patch << "\n -> " << error;
  }
}

bool IsQuantized(const Quantization& quantization, std::string_view module) {
  const auto spec = quantization.SpecOf(module);
  EXPECT_TRUE(spec.ok()) << spec.error().message;
  return *spec != nullptr;
}

TEST(Quantization, NothingWhereThereIsNone) {
  const auto read = ReadQuantization({{"model_type", "llama"}}, "config.json");
  ASSERT_TRUE(read.ok());
  EXPECT_FALSE(read->has_value());
  EXPECT_NE(ErrorOf(4), "");
  EXPECT_NE(ErrorOf({{"quant_method", nullptr}}).find("quant_method"), std::string::npos);
  const std::string unknown = ErrorOf({{"quant_method", "awq"}, {"version", "marlin"}});
  EXPECT_NE(unknown.find("\"awq\", version \"marlin\" is not supported; these formats are: "),
            std::string::npos)
      << unknown;
}

const json kAwq = {{"quant_method", "awq"}, {"bits", 4},
                   {"group_size", 128},     {"zero_point", true},
                   {"version", "gemm"},     {"modules_to_not_convert", nullptr}};

TEST(Quantization, ReadsAutoAwq) {
  const Quantization plain = Parse(kAwq);
  EXPECT_EQ(plain.format->name, "awq-gemm");
  ASSERT_NE(plain.spec(), nullptr);
  EXPECT_EQ(*plain.spec(), (quant::Spec{4, 128, false}));
  EXPECT_TRUE(IsQuantized(plain, "model.layers.0.mlp.gate_proj"));

  const Quantization other = Parse({{"quant_method", "awq"},
                                    {"w_bit", 4},
                                    {"q_group_size", -1},
                                    {"zero_point", false},
                                    {"version", "GEMM"},
                                    {"modules_to_not_convert", {"lm_head", "gate"}}});
  EXPECT_EQ(*other.spec(), (quant::Spec{4, 0, true}));
  EXPECT_FALSE(IsQuantized(other, "model.layers.0.mlp.gate_proj"));
  EXPECT_TRUE(IsQuantized(other, "model.layers.0.mlp.up_proj"));
  ExpectRefused(kAwq, {{{{"/bits", 0}}, "bits"},
                       {{{"/bits", 9}}, "bits"},
                       {{{"/bits", nullptr}}, "bits"},
                       {{{"/group_size", 0}}, "group_size"},
                       {{{"/group_size", -2}}, "group_size"},
                       {{{"/group_size", 1 << 21}}, "group_size"},
                       {{{"/group_size", nullptr}}, "group_size"},
                       {{{"/zero_point", 1}}, "zero_point"},
                       {{{"/modules_to_not_convert", "lm_head"}}, "modules_to_not_convert"},
                       {{{"/modules_to_not_convert", {1}}}, "modules_to_not_convert"},
                       {{{"/modules_to_not_convert", std::vector<std::string>(20000, "x")}},
                        "modules_to_not_convert"}});
}

// As llm-compressor 0.14 writes it.
const json kCompressed = {
    {"quant_method", "compressed-tensors"},
    {"format", "pack-quantized"},
    {"quantization_status", "compressed"},
    {"global_compression_ratio", nullptr},
    {"kv_cache_scheme", nullptr},
    {"ignore", {"lm_head", "re:.*mlp\\.gate$", "model.layers.0.mlp.down_proj"}},
    {"version", "0.19.0"},
    {"sparsity_config", json::object()},
    {"transform_config", json::object()},
    {"config_groups",
     {{"group_0",
       {{"format", "pack-quantized"},
        {"input_activations", nullptr},
        {"output_activations", nullptr},
        {"targets", {"Linear"}},
        {"weights",
         {{"actorder", nullptr},
          {"block_structure", nullptr},
          {"dynamic", false},
          {"group_size", 128},
          {"num_bits", 4},
          {"observer", "minmax"},
          {"observer_kwargs", json::object()},
          {"scale_dtype", nullptr},
          {"strategy", "group"},
          {"symmetric", false},
          {"type", "int"},
          {"zp_dtype", "torch.int8"}}}}}}}};

TEST(Quantization, ReadsCompressedTensors) {
  const Quantization plain = Parse(kCompressed);
  EXPECT_EQ(plain.format->name, "compressed-tensors");
  EXPECT_EQ(*plain.spec(), (quant::Spec{4, 128, false}));
  EXPECT_TRUE(IsQuantized(plain, "model.layers.0.mlp.gate_proj"));
  EXPECT_FALSE(IsQuantized(plain, "model.layers.0.mlp.gate"));
  EXPECT_FALSE(IsQuantized(plain, "model.layers.0.mlp.down_proj"));
  EXPECT_TRUE(IsQuantized(plain, "model.layers.1.mlp.down_proj"));

  json channel = kCompressed;
  json& weights = channel["config_groups"]["group_0"]["weights"];
  weights.update({{"strategy", "channel"}, {"group_size", nullptr}, {"actorder", "static"}});
  EXPECT_EQ(*Parse(channel).spec(), (quant::Spec{4, 0, false}));
  weights["group_size"] = -1;
  EXPECT_EQ(*Parse(channel).spec(), (quant::Spec{4, 0, false}));
  weights.update({{"strategy", "group"}, {"group_size", 32}, {"actorder", "group"}});
  EXPECT_EQ(*Parse(channel).spec(), (quant::Spec{4, 32, false, DType::kF16, true}));

  json mixed = kCompressed;
  mixed["config_groups"]["group_1"] = mixed["config_groups"]["group_0"];
  mixed["config_groups"]["group_1"]["weights"]["num_bits"] = 8;
  mixed["config_groups"]["group_0"]["targets"] = {"re:.*q_proj$"};
  const Quantization two = Parse(mixed);
  EXPECT_EQ(two.spec(), nullptr);
  EXPECT_EQ((*two.SpecOf("model.layers.0.self_attn.q_proj"))->bits, 4);
  EXPECT_EQ((*two.SpecOf("model.layers.0.self_attn.k_proj"))->bits, 8);
}

TEST(Quantization, ReadsWhatOlderReleasesCalledCompressedTensors) {
  json older = kCompressed;
  older["quantization_status"] = "frozen";
  older["sparsity_config"] = {{"format", "dense"}, {"registry_requires_subclass", false}};
  EXPECT_EQ((*Parse(older).SpecOf("model.layers.0.self_attn.q_proj"))->bits, 4);
}

TEST(Quantization, RefusesOtherCompressedTensors) {
  const std::string group = "/config_groups/group_0";
  const std::string weights = group + "/weights";
  const json object = {{"a", 1}};
  ExpectRefused(kCompressed,
                {{{{"/format", "int-quantized"}}, "is not supported"},
                 {{{"/quantization_status", "calibration"}}, "quantization_status"},
                 {{{"/sparsity_config", {{"format", "sparse-24-bitmask"}}}}, "sparsity_config"},
                 {{{"/kv_cache_scheme", object}}, "kv_cache_scheme"},
                 {{{"/transform_config", object}}, "transform_config"},
                 {{{"/sparsity_config", object}}, "sparsity_config"},
                 {{{"/ignore", {1}}}, "ignore"},
                 {{{"/ignore", {"re:("}}}, "ignore"},
                 {{{"/ignore", std::vector<std::string>(65, "re:x")}}, "ignore"},
                 {{{"/config_groups", json::object()}}, "config_groups"},
                 {{{group, 4}}, "group_0"},
                 {{{group + "/targets", json::array()}}, "targets"},
                 {{{group + "/input_activations", object}}, "input_activations"},
                 {{{group + "/format", "nvfp4-pack-quantized"}}, "format"},
                 {{{weights, nullptr}}, "weights"},
                 {{{weights + "/type", "float"}}, "type"},
                 {{{weights + "/num_bits", 9}}, "num_bits"},
                 {{{weights + "/group_size", 0}}, "group_size"},
                 {{{weights + "/group_size", nullptr}}, "group_size"},
                 {{{weights + "/strategy", "channel"}}, "group_size"},
                 {{{weights + "/strategy", "block"}}, "strategy"},
                 {{{weights + "/actorder", "sideways"}}, "actorder"},
                 {{{weights + "/block_structure", {1, 2}}}, "block_structure"},
                 {{{weights + "/dynamic", true}}, "dynamic"}});
}

const json kGptq = {
    {"quant_method", "gptq"},   {"checkpoint_format", "gptq"}, {"bits", 4},
    {"group_size", 128},        {"desc_act", false},           {"sym", true},
    {"lm_head", false},         {"pack_dtype", "int32"},       {"dynamic", nullptr},
    {"damp_percent", 0.01},     {"true_sequential", true},     {"static_groups", false},
    {"is_marlin_format", false}};

TEST(Quantization, ReadsGptq) {
  EXPECT_EQ(Parse(kGptq).format->name, "gptq");
  EXPECT_EQ(*Parse(kGptq).spec(), (quant::Spec{4, 128, true}));
  const Quantization old =
      Parse({{"quant_method", "gptq"}, {"bits", 3}, {"group_size", -1}, {"desc_act", true}});
  EXPECT_EQ(*old.spec(), (quant::Spec{3, 0, true, DType::kF16, true}));
  json second = kGptq;
  second.update({{"checkpoint_format", "gptq_v2"},
                 {"sym", false},
                 {"dynamic", {{"-:.*\\.layers\\.0\\..*", json::object()}}}});
  const Quantization v2 = Parse(second);
  EXPECT_EQ(v2.format->name, "gptq-v2");
  EXPECT_FALSE(IsQuantized(v2, "model.layers.0.mlp.up_proj"));
  EXPECT_TRUE(IsQuantized(v2, "model.layers.10.mlp.up_proj"));
  const json bits = {{"bits", 8}};
  ExpectRefused(kGptq, {{{{"/checkpoint_format", "marlin"}}, "is not supported"},
                        {{{"/is_marlin_format", true}}, "is_marlin_format"},
                        {{{"/lm_head", true}}, "lm_head"},
                        {{{"/pack_dtype", "int16"}}, "pack_dtype"},
                        {{{"/bits", 0}}, "bits"},
                        {{{"/group_size", 0}}, "group_size"},
                        {{{"/sym", 1}}, "sym"},
                        {{{"/desc_act", "yes"}}, "desc_act"},
                        {{{"/dynamic", {{"+:.*mlp.*", bits}}}}, "other settings"},
                        {{{"/dynamic", {{"-:(", bits}}}}, "regular expression"}});
}

// What is written is read as what it was; for every format.
TEST(Quantization, WhatIsWrittenIsRead) {
  const StoredQuantization stored{{4, 64, false},
                                  {"model.layers.0.mlp.down_proj", "model.layers.1.mlp.down_proj"},
                                  {"mlp.down_proj"}};
  for (const Format& format : Formats()) {
    SCOPED_TRACE(std::string(format.name));
    for (const std::size_t group : {0U, 64U}) {
      for (const bool symmetric : {false, true}) {
        StoredQuantization written = stored;
        written.spec.group_size = group;
        written.spec.symmetric = symmetric;
        const Quantization read = Parse(format.write_config(written));
        EXPECT_EQ(read.format, &format);
        ASSERT_NE(read.spec(), nullptr);
        EXPECT_EQ(*read.spec(), written.spec);
        EXPECT_FALSE(IsQuantized(read, "model.layers.1.mlp.down_proj"));
        EXPECT_TRUE(IsQuantized(read, "model.layers.1.mlp.up_proj"));
        EXPECT_TRUE(IsQuantized(read, "model.layers.1.self_attn.q_proj"));
        written.excluded_modules.clear();
        written.excluded_endings.clear();
        const Quantization all = Parse(format.write_config(written));
        EXPECT_TRUE(IsQuantized(all, "model.layers.1.mlp.down_proj"));
      }
    }
  }
}

TEST(ModulePattern, MatchesAsTheProducersDo) {
  const auto matches = [](const ModulePattern& pattern, std::string_view module) {
    return pattern.Matches(module).value();
  };
  EXPECT_TRUE(matches(ModulePattern::Named("a.b"), "a.b"));
  EXPECT_FALSE(matches(ModulePattern::Named("a.b"), "a.b.c"));
  EXPECT_TRUE(matches(ModulePattern::Containing("b"), "a.b.c"));
  const auto expression = [](std::string_view text) {
    return PatternBudget().Matching(text, "config.json").value();
  };
  EXPECT_TRUE(matches(expression(".*\\.q_proj$"), "model.layers.3.self_attn.q_proj"));
  EXPECT_TRUE(matches(expression("model"), "model.layers.3"));  // from the start, not to the end
  EXPECT_FALSE(matches(expression("layers"), "model.layers.3"));
  EXPECT_FALSE(PatternBudget().Matching("(", "config.json").ok());
  EXPECT_FALSE(PatternBudget().Matching(std::string(2000, 'a'), "config.json").ok());
  const auto costly = expression("(.*)*(.*)*(.*)*(.*)*[xy]").Matches(std::string(60, 'a'));
  ASSERT_FALSE(costly.ok());
  EXPECT_NE(costly.error().message.find("too many steps"), std::string::npos);
}

// What holds for one list holds for all of them together.
TEST(Quantization, BoundsAllListsTogether) {
  const auto with_lists = [](const json& ignore, const json& targets) {
    json changed = kCompressed;
    changed["ignore"] = ignore;
    json& groups = changed["config_groups"];
    groups["group_0"]["targets"] = targets;
    groups["group_1"] = groups["group_0"];
    return ErrorOf(changed);
  };
  const auto times = [](std::size_t count, const char* name) {
    return std::vector<std::string>(count, name);
  };
  EXPECT_EQ(with_lists(times(22, "re:x"), times(21, "re:x")), "");
  const std::string expressions = with_lists(times(23, "re:x"), times(21, "re:x"));
  EXPECT_NE(expressions.find("group_1: targets: the lists of modules have more than 64 regular "
                             "expressions together"),
            std::string::npos)
      << expressions;
  EXPECT_EQ(with_lists(times(384, "x"), times(8000, "x")), "");
  const std::string names = with_lists(times(385, "x"), times(8000, "x"));
  EXPECT_NE(names.find("more than 16384 names together"), std::string::npos) << names;
}

TEST(Quantization, BoundsTheStepsOfAllModulesTogether) {
  const auto first_refused = [](std::string_view expression) {
    json config = kCompressed;
    config["ignore"] = std::vector<std::string>(64, "re:" + std::string(expression));
    const Quantization quantization = Parse(config);
    for (std::size_t layer = 0; layer < 2000; ++layer) {
      const auto spec = quantization.SpecOf(fmt::format("model.layers.{}.mlp.down_proj", layer));
      if (spec.ok()) continue;
      EXPECT_NE(spec.error().message.find("too many steps together"), std::string::npos)
          << spec.error().message;
      return layer;
    }
    return std::size_t{2000};
  };
  // A few hundred steps each, and 64 of them a module: 2^28 steps are some 2000 modules less.
  EXPECT_LT(first_refused("(*NO_START_OPT)(*NO_AUTO_POSSESS).*.*[xy]z"), 2000U);
  // What lists have.
  EXPECT_EQ(first_refused(".*self_attn\\.q_proj$"), 2000U);
}

}  // namespace
}  // namespace awq::pack
