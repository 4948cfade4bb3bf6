// quantization_config of every producer -> format, spec and modules; and what is refused.
#include "pack/quantization.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

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
    return ModulePattern::Matching(text, "config.json").value();
  };
  EXPECT_TRUE(matches(expression(".*\\.q_proj$"), "model.layers.3.self_attn.q_proj"));
  EXPECT_TRUE(matches(expression("model"), "model.layers.3"));  // from the start, not to the end
  EXPECT_FALSE(matches(expression("layers"), "model.layers.3"));
  EXPECT_FALSE(ModulePattern::Matching("(", "config.json").ok());
  EXPECT_FALSE(ModulePattern::Matching(std::string(2000, 'a'), "config.json").ok());
  const auto costly = expression("(.*)*(.*)*(.*)*(.*)*[xy]").Matches(std::string(60, 'a'));
  ASSERT_FALSE(costly.ok());
  EXPECT_NE(costly.error().message.find("too many steps"), std::string::npos);
}

}  // namespace
}  // namespace awq::pack
