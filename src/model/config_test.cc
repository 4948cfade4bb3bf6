#include "model/config.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "model/arch.h"

namespace awq::model {
namespace {

using nlohmann::json;

// A complete small config of the family; `patch` replaces members (RFC 7386: null removes one).
json Config(const char* model_type, const json& patch = json::object()) {
  json config = {{"model_type", model_type},   {"hidden_size", 64},
                 {"intermediate_size", 176},   {"num_hidden_layers", 4},
                 {"num_attention_heads", 8},   {"num_key_value_heads", 2},
                 {"vocab_size", 512},          {"max_position_embeddings", 256},
                 {"rms_norm_eps", 1e-5},       {"rope_theta", 5e5},
                 {"hidden_act", "silu"},       {"bos_token_id", 1},
                 {"eos_token_id", 2},          {"torch_dtype", "float16"},
                 {"tie_word_embeddings", true}};
  config.merge_patch(patch);
  return config;
}

// The error of a patched Llama config, or nothing.
std::string ErrorOf(const json& patch, const char* model_type = "llama") {
  const auto result = ParseConfig(Config(model_type, patch), "dir/config.json");
  if (result.ok()) return "";
  EXPECT_TRUE(result.error().message.starts_with("dir/config.json: ")) << result.error().message;
  return result.error().message;
}

ModelConfig Parse(const json& text) {
  const auto result = ParseConfig(text, "config.json");
  EXPECT_TRUE(result.ok()) << result.error().message;
  return result.ok() ? *result : ModelConfig{};
}

TEST(Config, ReadsALlama) {
  const ModelConfig config = Parse(Config("llama"));
  ASSERT_NE(config.arch, nullptr);
  EXPECT_EQ(config.arch->model_type, "llama");
  EXPECT_EQ(config.head_dim, 8U);
  EXPECT_EQ(config.q_width(), 64U);
  EXPECT_EQ(config.kv_width(), 16U);
  EXPECT_EQ(config.rope_theta, 5e5);
  EXPECT_EQ(config.rms_norm_eps, 1e-5);
  EXPECT_EQ(config.rope_scaling.kind, RopeScaling::Kind::kNone);
  EXPECT_TRUE(config.tie_word_embeddings);
  EXPECT_FALSE(config.qkv_bias || config.o_bias || config.mlp_bias || config.qk_norm);
  EXPECT_EQ(config.sliding_window, std::vector<std::size_t>(4, 0));
  EXPECT_EQ(config.bos_token_id, 1);
  EXPECT_EQ(config.eos_token_ids, std::vector<std::int64_t>{2});
}

TEST(Config, FillsWhatALlamaLeavesOut) {
  const ModelConfig config = Parse(Config("llama", {{"num_key_value_heads", nullptr},
                                                    {"rms_norm_eps", nullptr},
                                                    {"rope_theta", nullptr},
                                                    {"hidden_act", nullptr},
                                                    {"bos_token_id", nullptr},
                                                    {"eos_token_id", nullptr},
                                                    {"tie_word_embeddings", nullptr}}));
  EXPECT_EQ(config.num_key_value_heads, 8U);
  EXPECT_EQ(config.rms_norm_eps, 1e-6);
  EXPECT_EQ(config.rope_theta, 10000);
  EXPECT_FALSE(config.tie_word_embeddings);
  EXPECT_FALSE(config.bos_token_id.has_value());
  EXPECT_TRUE(config.eos_token_ids.empty());
}

TEST(Config, LlamaBiasesAndHeadDim) {
  const ModelConfig config =
      Parse(Config("llama", {{"attention_bias", true}, {"mlp_bias", true}, {"head_dim", 32}}));
  EXPECT_TRUE(config.qkv_bias && config.o_bias && config.mlp_bias);
  EXPECT_EQ(config.q_width(), 256U);
  EXPECT_EQ(ErrorOf({{"head_dim", 32}, {"hidden_size", 63}}), "");  // then it need not divide
}

TEST(Config, RefusesImpossibleSizes) {
  const std::pair<json, const char*> cases[] = {
      {{{"num_attention_heads", 0}}, "num_attention_heads"},
      {{{"num_key_value_heads", 0}}, "num_key_value_heads"},
      {{{"num_key_value_heads", 3}}, "no multiple of num_key_value_heads 3"},
      {{{"num_key_value_heads", 16}}, "no multiple of num_key_value_heads 16"},
      {{{"head_dim", 0}}, "head_dim"},
      {{{"head_dim", 7}}, "even"},
      {{{"head_dim", 2048}}, "head_dim"},
      {{{"hidden_size", 72}}, "must be even"},
      {{{"hidden_size", 60}}, "no multiple of num_attention_heads"},
      {{{"hidden_size", 0}}, "hidden_size"},
      {{{"hidden_size", -64}}, "hidden_size"},
      {{{"hidden_size", 64.0}}, "hidden_size"},
      {{{"hidden_size", "64"}}, "hidden_size"},
      {{{"hidden_size", nullptr}}, "\"hidden_size\" is missing"},
      {{{"hidden_size", 1 << 21}}, "hidden_size"},
      {{{"intermediate_size", nullptr}}, "intermediate_size"},
      {{{"intermediate_size", std::uint64_t{1} << 63}}, "intermediate_size"},
      {{{"num_hidden_layers", std::uint64_t{1} << 31}}, "num_hidden_layers"},
      {{{"num_hidden_layers", 0}}, "num_hidden_layers"},
      {{{"vocab_size", 0}}, "vocab_size"},
      {{{"vocab_size", 1 << 25}}, "vocab_size"},
      {{{"max_position_embeddings", 0}}, "max_position_embeddings"},
      {{{"rms_norm_eps", 0}}, "rms_norm_eps"},
      {{{"rms_norm_eps", -1e-6}}, "rms_norm_eps"},
      {{{"rms_norm_eps", "1e-6"}}, "rms_norm_eps"},
      {{{"rope_theta", 0}}, "rope_theta"},
      {{{"rope_theta", -1}}, "rope_theta"},
      {{{"rope_theta", 1e300}}, "rope_theta"},
      {{{"tie_word_embeddings", 1}}, "tie_word_embeddings"},
      {{{"attention_bias", "no"}}, "attention_bias"},
      {{{"bos_token_id", 512}}, "bos_token_id"},
      {{{"bos_token_id", -1}}, "bos_token_id"},
      {{{"eos_token_id", {1, 512}}}, "eos_token_id"},
      {{{"eos_token_id", {{1}}}}, "eos_token_id"},
      {{{"eos_token_id", std::vector<int>(65, 1)}}, "eos_token_id"},
      {{{"partial_rotary_factor", 0.5}}, "partial_rotary_factor"},
  };
  for (const auto& [patch, expected] : cases) {
    EXPECT_NE(ErrorOf(patch).find(expected), std::string::npos)
        << patch << "\n -> " << ErrorOf(patch);
  }
  EXPECT_FALSE(ParseConfig(json::array(), "x").ok());
  EXPECT_FALSE(ParseConfig(json::object(), "x").ok());
}

TEST(Config, RefusesByName) {
  const auto expect = [](const json& patch, const char* name) {
    const auto result = ParseConfig(Config("llama", patch), "x");
    ASSERT_FALSE(result.ok()) << patch;
    EXPECT_EQ(result.error().code, ErrorCode::kUnsupported);
    EXPECT_NE(result.error().message.find(name), std::string::npos) << result.error().message;
  };
  expect({{"model_type", "mamba"}}, "\"mamba\"");
  expect({{"model_type", "mamba"}}, "llama, mistral, qwen2, qwen3");
  expect({{"hidden_act", "gelu"}}, "\"gelu\"");
  for (const char* type : {"yarn", "longrope", "dynamic", "mrope"}) {
    expect({{"rope_scaling", {{"rope_type", type}, {"factor", 2.0}}}}, type);
    expect({{"rope_scaling", {{"type", type}, {"factor", 2.0}}}}, type);
    expect({{"rope_parameters", {{"rope_type", type}, {"rope_theta", 1e4}}}}, type);
  }
}

TEST(Config, ReadsRopeInEverySpelling) {
  const json llama3 = {{"factor", 8.0},
                       {"low_freq_factor", 1.0},
                       {"high_freq_factor", 4.0},
                       {"original_max_position_embeddings", 128}};
  for (const char* member : {"rope_scaling", "rope_parameters"}) {
    for (const char* key : {"type", "rope_type"}) {
      json scaling = llama3;
      scaling[key] = "llama3";
      scaling["rope_theta"] = 7000;
      const ModelConfig config = Parse(Config("llama", {{member, scaling}}));
      EXPECT_EQ(config.rope_scaling.kind, RopeScaling::Kind::kLlama3);
      EXPECT_EQ(config.rope_scaling.factor, 8);
      EXPECT_EQ(config.rope_scaling.low_freq_factor, 1);
      EXPECT_EQ(config.rope_scaling.high_freq_factor, 4);
      EXPECT_EQ(config.rope_scaling.original_max_position_embeddings, 128U);
      EXPECT_EQ(config.rope_theta, 7000);
    }
  }
  const ModelConfig linear =
      Parse(Config("llama", {{"rope_scaling", {{"type", "linear"}, {"factor", 2}}}}));
  EXPECT_EQ(linear.rope_scaling.kind, RopeScaling::Kind::kLinear);
  EXPECT_EQ(linear.rope_scaling.factor, 2);
  const ModelConfig newer = Parse(
      Config("llama", {{"rope_theta", nullptr},
                       {"rope_parameters", {{"rope_theta", 1e6}, {"rope_type", "default"}}}}));
  EXPECT_EQ(newer.rope_theta, 1e6);
  EXPECT_EQ(newer.rope_scaling.kind, RopeScaling::Kind::kNone);
}

TEST(Config, RefusesBadRope) {
  const std::pair<json, const char*> cases[] = {
      {{{"rope_scaling", 2}}, "expected an object"},
      {{{"rope_scaling", {{"factor", 2.0}}}}, "no rope_type"},
      {{{"rope_scaling", {{"type", 3}}}}, "\"type\""},
      {{{"rope_scaling", {{"type", "linear"}}}}, "\"factor\" is missing"},
      {{{"rope_scaling", {{"type", "linear"}, {"factor", 0}}}}, "factor"},
      {{{"rope_scaling", {{"type", "linear"}, {"factor", -2}}}}, "factor"},
      {{{"rope_scaling",
         {{"type", "llama3"}, {"factor", 8}, {"low_freq_factor", 4}, {"high_freq_factor", 4}}}},
       "below high_freq_factor"},
      {{{"rope_scaling", {{"type", "llama3"}, {"factor", 8}, {"low_freq_factor", 1}}}},
       "high_freq_factor"},
      {{{"rope_parameters", {{"full_attention", {{"rope_theta", 1e4}}}}}}, "full_attention"},
      {{{"rope_parameters", {{"rope_theta", 1e4}, {"partial_rotary_factor", 0.25}}}}, "partial"},
      {{{"rope_parameters", {{"rope_theta", 1e4}}}, {"rope_scaling", {{"type", "linear"}}}},
       "contradict"},
  };
  for (const auto& [patch, expected] : cases) {
    EXPECT_NE(ErrorOf(patch).find(expected), std::string::npos)
        << patch << "\n -> " << ErrorOf(patch);
  }
}

TEST(Config, MistralWindows) {
  using Windows = std::vector<std::size_t>;
  EXPECT_EQ(Parse(Config("mistral", {{"sliding_window", 32}})).sliding_window, Windows(4, 32));
  json null_window = Config("mistral");
  null_window["sliding_window"] = nullptr;
  EXPECT_EQ(Parse(null_window).sliding_window, Windows(4, 0));
  EXPECT_EQ(Parse(Config("mistral")).sliding_window, Windows(4, 4096));  // MistralConfig's default
  EXPECT_FALSE(Parse(Config("mistral", {{"attention_bias", true}})).qkv_bias);
  EXPECT_NE(ErrorOf({{"sliding_window", 0}}, "mistral"), "");
  EXPECT_NE(
      ErrorOf({{"sliding_window", 8},
               {"layer_types",
                {"full_attention", "sliding_attention", "full_attention", "sliding_attention"}}},
              "mistral"),
      "");
}

TEST(Config, QwenBiasesNormsAndWindows) {
  using Windows = std::vector<std::size_t>;
  for (const char* type : {"qwen2", "qwen3"}) {
    const bool is_qwen2 = std::string(type) == "qwen2";
    const json head_dim = {{"head_dim", 8}};
    const auto parse = [&](json patch) {
      patch.merge_patch(head_dim);
      return Parse(Config(type, patch));
    };
    const ModelConfig plain = parse({{"sliding_window", 32}, {"max_window_layers", 0}});
    EXPECT_EQ(plain.sliding_window, Windows(4, 0));
    EXPECT_EQ(plain.qkv_bias, is_qwen2);
    EXPECT_FALSE(plain.o_bias);
    EXPECT_EQ(plain.qk_norm, !is_qwen2);
    const ModelConfig biased = parse({{"attention_bias", true}});
    EXPECT_EQ(biased.o_bias, !is_qwen2);  // Qwen2 does not know the member
    EXPECT_TRUE(biased.qkv_bias);
    const json use = {{"use_sliding_window", true}, {"sliding_window", 32}};
    json by_index = use;
    by_index["max_window_layers"] = 3;
    EXPECT_EQ(parse(by_index).sliding_window, (Windows{0, 0, 0, 32}));
    json by_list = use;
    by_list["layer_types"] = {"full_attention", "sliding_attention", "full_attention",
                              "sliding_attention"};
    EXPECT_EQ(parse(by_list).sliding_window, (Windows{0, 32, 0, 32}));
    json no_window = by_list;
    no_window["use_sliding_window"] = false;
    EXPECT_NE(ErrorOf(no_window, type).find("no sliding_window in use"), std::string::npos);
    json short_list = use;
    short_list["layer_types"] = {"full_attention"};
    EXPECT_NE(ErrorOf(short_list, type).find("one a layer"), std::string::npos);
    json unknown = use;
    unknown["layer_types"] = {"linear_attention", "x", "y", "z"};
    EXPECT_NE(ErrorOf(unknown, type).find("linear_attention"), std::string::npos);
  }
  EXPECT_EQ(Parse(Config("qwen3")).head_dim, 128U);  // Qwen3Config's default
}

}  // namespace
}  // namespace awq::model
