#include "verify/judge.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace awq::verify {
namespace {

using nlohmann::json;
using Ranks = std::vector<std::size_t>;
using Change = std::function<void(json&)>;

json Model() {
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

json Awq() {
  json model = Model();
  model["quantization_config"] = {{"quant_method", "awq"}, {"bits", 4},
                                  {"group_size", 128},     {"zero_point", true},
                                  {"version", "gemm"},     {"modules_to_not_convert", nullptr}};
  return model;
}

json Gptq() {
  json model = Model();
  model["quantization_config"] = {{"quant_method", "gptq"},
                                  {"bits", 4},
                                  {"group_size", 128},
                                  {"desc_act", false},
                                  {"sym", true}};
  return model;
}

json Scheme(int bits, bool symmetric, std::size_t group_size, std::vector<std::string> targets) {
  return {{"targets", targets},
          {"format", "pack-quantized"},
          {"weights",
           {{"num_bits", bits},
            {"type", "int"},
            {"symmetric", symmetric},
            {"strategy", "group"},
            {"group_size", group_size}}}};
}

json CompressedTensors() {
  json model = Model();
  model["quantization_config"] = {
      {"quant_method", "compressed-tensors"},
      {"format", "pack-quantized"},
      {"ignore", {"lm_head"}},
      {"config_groups", {{"group_0", Scheme(4, false, 128, {"Linear"})}}}};
  return model;
}

Verdict JudgeFacts(const char* reader, const ModelFacts& facts) {
  const Reader* row = FindReader(reader);
  EXPECT_NE(row, nullptr) << reader;
  auto verdict = Judge(*row, facts);
  EXPECT_TRUE(verdict.ok()) << verdict.error().message;
  return verdict.ok() ? *verdict : Verdict{};
}

Verdict JudgeConfig(const char* reader, const json& config) {
  const auto facts = FactsOfConfig(config, "config.json");
  EXPECT_TRUE(facts.ok()) << facts.error().message;
  return facts.ok() ? JudgeFacts(reader, *facts) : Verdict{};
}

json Changed(json model, const Change& change) {
  change(model);
  return model;
}

Change Set(const char* key, const json& value) {
  return [=](json& model) { model[key] = value; };
}

Change SetQuantization(const char* key, const json& value) {
  return [=](json& model) { model["quantization_config"][key] = value; };
}

Change DropQuantization(const char* key) {
  return [=](json& model) { model["quantization_config"].erase(key); };
}

Change Both(const Change& a, const Change& b) {
  return [=](json& model) {
    a(model);
    b(model);
  };
}

std::string Text(const Finding& finding) {
  return finding.where + ": expects " + finding.expects + ", found " + finding.found + "; " +
         finding.mend;
}

std::string Text(const Verdict& verdict) {
  std::string text;
  for (const Finding& finding : verdict.findings) text += Text(finding) + "\n";
  return text;
}

TEST(Judge, TakesWhatEveryReaderTakes) {
  for (const json& model : {Model(), Awq(), Gptq(), CompressedTensors()}) {
    for (const char* reader : {"vllm", "sglang", "lmdeploy"}) {
      const Verdict verdict = JudgeConfig(reader, model);
      EXPECT_EQ(verdict.ranks, (Ranks{1, 2, 4, 8, 16})) << reader << Text(verdict);
      EXPECT_TRUE(verdict.findings.empty()) << reader << Text(verdict);
    }
    EXPECT_EQ(JudgeConfig("transformers", model).ranks, Ranks{1});
    EXPECT_FALSE(JudgeConfig("llama.cpp", model).takes());
  }
}

// A model that differs from one that is taken by what breaks one rule.
struct Refusal {
  const char* name;
  const char* reader;
  json model;        // taken
  Change change;     // no longer
  const char* says;  // where: expects
  const char* found;
  const char* mend;
};

class Refuses : public ::testing::TestWithParam<Refusal> {};

TEST_P(Refuses, ForThatRuleAlone) {
  const Refusal& rule = GetParam();
  const Verdict before = JudgeConfig(rule.reader, rule.model);
  EXPECT_TRUE(before.takes()) << Text(before);
  const Verdict after = JudgeConfig(rule.reader, Changed(rule.model, rule.change));
  EXPECT_FALSE(after.takes());
  ASSERT_EQ(after.findings.size(), 1U) << Text(after);
  const Finding& finding = after.findings.front();
  EXPECT_NE((finding.where + ": " + finding.expects).find(rule.says), std::string::npos)
      << Text(finding);
  EXPECT_EQ(finding.found, rule.found);
  EXPECT_NE(finding.mend.find(rule.mend), std::string::npos) << Text(finding);
  EXPECT_TRUE(finding.ranks.empty());
}

const Change kBf16 = Set("torch_dtype", "bfloat16");
// "v_proj" alone would name "qkv_proj", too.
const json kQkvParts = {"attn.q_proj", "attn.k_proj", "attn.v_proj"};

std::vector<Refusal> OfTheModel() {
  return {
      {"Architecture", "lmdeploy", Model(), Set("model_type", "mistral"),
       "model_type: llama, qwen2, qwen3", "mistral", "none"},
      {"HeadDim", "lmdeploy", Model(), Set("head_dim", 96), "head_dim: 64, 128, 192, 256", "96",
       "none"},
      {"Architectures", "vllm", Model(), [](json& model) { model.erase("architectures"); },
       "config.json: architectures", "nothing", "original model's config.json"},
      {"Format", "vllm", Awq(), SetQuantization("version", "gemv"), "the format: floats, awq-gemm",
       "awq-gemv", "awq convert MODEL -o OUT --format awq-gemm"},
      {"GptqVersion", "lmdeploy", Gptq(), SetQuantization("checkpoint_format", "gptq_v2"),
       "the format", "gptq-v2", "--format awq-gemm"},
  };
}

std::vector<Refusal> OfNumbers() {
  return {
      {"Bits", "vllm", Gptq(), SetQuantization("bits", 3), "q_proj: 4, 8 bits symmetric",
       "3 bits, symmetric", "--format compressed-tensors"},
      {"ZeroPoints", "vllm", Gptq(), SetQuantization("sym", false), "4, 8 bits symmetric",
       "4 bits, with zero points", "--format awq-gemm"},
      {"GroupSize", "vllm", Awq(), SetQuantization("group_size", 256), "group_size -1, 32, 64, 128",
       "256", "--format compressed-tensors"},
      {"GroupSizeAndNoOtherFormat", "lmdeploy", Awq(), SetQuantization("group_size", 64),
       "group_size 128", "64", "awq quantize ORIGINAL -o OUT --format awq-gemm --group-size 128"},
      {"ActOrder", "vllm", Gptq(), SetQuantization("desc_act", true), "groups of neighbours",
       "act order", "awq quantize ORIGINAL"},
      {"SeveralSpecs", "lmdeploy", CompressedTensors(),
       [](json& model) {
         model["quantization_config"]["config_groups"] = {
             {"group_0", Scheme(4, false, 128, {"re:.*(proj)$"})},
             {"group_", Scheme(4, false, 32, {"re:.*(o|down)_proj$"})}};
       },
       "the bits and groups of", "4 bits, with zero points, group_size 32",
       "awq quantize ORIGINAL"},
      {"OutMultiple", "transformers", Changed(Awq(), SetQuantization("version", "gemv")),
       Both(Set("head_dim", 96), Set("num_key_value_heads", 1)),
       "k_proj: out_features a multiple of 64", "96", "--format awq-gemm"},
      {"Bfloat16", "sglang", Changed(Awq(), SetQuantization("zero_point", false)), kBf16,
       "torch_dtype: float16", "bfloat16", "--dtype float16"},
  };
}

std::vector<Refusal> OfKeys() {
  return {
      {"ZeroPointKey", "vllm", Awq(), DropQuantization("zero_point"), "zero_point", "nothing",
       "write \"zero_point\": true"},
      {"VersionKey", "lmdeploy", Awq(), DropQuantization("version"), "version", "nothing",
       "write \"version\": \"gemm\""},
      {"SymKey", "vllm", Gptq(), DropQuantization("sym"), "sym", "nothing", "write \"sym\": true"},
      {"DescActKey", "sglang", Gptq(), DropQuantization("desc_act"), "desc_act", "nothing",
       "write \"desc_act\": false"},
      {"NameOfTheGroup", "lmdeploy", CompressedTensors(),
       [](json& model) {
         json& groups = model["quantization_config"]["config_groups"];
         groups = {{"config_group_0", groups["group_0"]}};
       },
       "config_groups.group_0.format", "nothing", "pack-quantized"},
  };
}

std::vector<Refusal> OfNames() {
  const auto excluding = [](const json& names) {
    return SetQuantization("modules_to_not_convert", names);
  };
  const json rule = json::object();
  return {
      {"PartOfGateUp", "vllm", Changed(Awq(), excluding({"gate_proj", "up_proj"})),
       excluding({"gate_proj"}), "up_proj: as model.layers.0.mlp.gate_proj",
       "4 bits in groups of 128", "awq quantize ORIGINAL"},
      {"PartOfQkv", "vllm", Changed(Awq(), excluding(kQkvParts)), excluding({"v_proj"}),
       "v_proj: as model.layers.0.self_attn.q_proj", "in 16 bits", "awq quantize ORIGINAL"},
      {"PartOfQkvOfGptq", "lmdeploy", Gptq(), SetQuantization("dynamic", {{"-:.*v_proj", rule}}),
       "v_proj: as model.layers.0.self_attn.q_proj", "in 16 bits", "awq"},
      {"NameOfTheFused", "sglang",
       Changed(Awq(), excluding({"attn.q_proj", "attn.k_proj", "attn.v_proj", "qkv_proj"})),
       excluding(kQkvParts),
       "modules_to_not_convert: something that names model.layers.0.self_attn.qkv_proj",
       "the names of its parts", "add \"qkv_proj\""},
      {"RuleOfTheFused", "sglang",
       Changed(Gptq(), SetQuantization("dynamic", {{"-:.*mlp.(gate|up|gate_up)_proj", rule}})),
       SetQuantization("dynamic", {{"-:.*mlp.(gate|up)_proj", rule}}),
       "dynamic: something that names model.layers.0.mlp.gate_up_proj", "the names of its parts",
       "add \"-:.*gate_up_proj$\""},
      {"PartOfAName", "transformers", Changed(Awq(), excluding({"mlp.down_proj"})),
       excluding({"down"}), "mlp.down_proj: a quantized linear by modules_to_not_convert",
       "in 16 bits", "\"mlp.down_proj\""},
      {"RulesOfOptimum", "transformers",
       Changed(Gptq(), Both(SetQuantization("dynamic", {{"-:.*down_proj", rule}}),
                            SetQuantization("modules_in_block_to_quantize",
                                            {{"q_proj", "k_proj", "v_proj", "o_proj"},
                                             {"mlp.gate_proj", "mlp.up_proj"}}))),
       DropQuantization("modules_in_block_to_quantize"),
       "mlp.down_proj: a quantized linear by modules_in_block_to_quantize", "in 16 bits",
       "[[\"self_attn.q_proj\""},
  };
}

std::vector<Refusal> OfShapes() {
  return {
      {"WholeRowsOffTheTiles", "sglang", Changed(Awq(), SetQuantization("group_size", -1)),
       Set("intermediate_size", 6144 + 64),
       "down_proj: outputs and inputs a rank: multiples of 64 and 128", "2048 and 6208",
       "awq convert MODEL -o OUT --format compressed-tensors"},
      {"OffTheTiles", "sglang", Changed(Gptq(), SetQuantization("group_size", 32)),
       Set("intermediate_size", 6144 + 32),
       "down_proj: outputs and inputs a rank: multiples of 64 and 128, or 128 and 64",
       "2048 and 6176", "awq"},
  };
}

std::string NameOf(const ::testing::TestParamInfo<Refusal>& info) { return info.param.name; }

INSTANTIATE_TEST_SUITE_P(Model, Refuses, ::testing::ValuesIn(OfTheModel()), NameOf);
INSTANTIATE_TEST_SUITE_P(Numbers, Refuses, ::testing::ValuesIn(OfNumbers()), NameOf);
INSTANTIATE_TEST_SUITE_P(Keys, Refuses, ::testing::ValuesIn(OfKeys()), NameOf);
INSTANTIATE_TEST_SUITE_P(Names, Refuses, ::testing::ValuesIn(OfNames()), NameOf);
INSTANTIATE_TEST_SUITE_P(Shapes, Refuses, ::testing::ValuesIn(OfShapes()), NameOf);

// A model that some numbers of ranks cannot share.
struct Sharing {
  const char* name;
  const char* reader;
  json model;
  Ranks ranks;        // that can
  const char* where;  // of the first finding
  Ranks ruled_out;    // by it
  const char* mend;
};

class Shares : public ::testing::TestWithParam<Sharing> {};

TEST_P(Shares, RuleOutThoseRanksAlone) {
  const Sharing& rule = GetParam();
  const Verdict verdict = JudgeConfig(rule.reader, rule.model);
  EXPECT_EQ(verdict.ranks, rule.ranks) << Text(verdict);
  if (rule.ruled_out.empty()) {
    EXPECT_TRUE(verdict.findings.empty()) << Text(verdict);
    return;
  }
  ASSERT_FALSE(verdict.findings.empty());
  const Finding& finding = verdict.findings.front();
  EXPECT_NE(finding.where.find(rule.where), std::string::npos) << Text(finding);
  EXPECT_EQ(finding.ranks, rule.ruled_out) << Text(verdict);
  EXPECT_NE(finding.mend.find(rule.mend), std::string::npos) << Text(finding);
}

std::vector<Sharing> Shapes() {
  const auto wide = [](std::size_t size) { return Changed(Awq(), Set("intermediate_size", size)); };
  const json whole_rows = Changed(Awq(), SetQuantization("group_size", -1));
  const json ct_rows = Changed(CompressedTensors(), [](json& model) {
    json& weights = model["quantization_config"]["config_groups"]["group_0"]["weights"];
    weights["strategy"] = "channel";
    weights["group_size"] = nullptr;
  });
  return {
      {"Heads",
       "vllm",
       Changed(Awq(), Set("num_attention_heads", 12)),
       {1, 2, 4},
       "num_attention_heads",
       {8, 16},
       "padding cannot mend it"},
      {"KeyHeads",
       "vllm",
       Changed(Awq(), Both(Set("num_attention_heads", 24), Set("num_key_value_heads", 6))),
       {1, 2},
       "num_key_value_heads",
       {4, 8, 16},
       "padding cannot mend it"},
      {"Hidden",
       "lmdeploy",
       Changed(Model(), Set("hidden_size", 2056)),
       {1, 2, 4, 8},
       "hidden_size",
       {16},
       "padding cannot mend it"},
      {"HiddenElsewhere",
       "vllm",
       Changed(Model(), Set("hidden_size", 2056)),
       {1, 2, 4, 8, 16},
       "",
       {},
       ""},
      {"Intermediate",
       "vllm",
       Changed(Model(), Set("intermediate_size", 6148)),
       {1, 2, 4},
       "intermediate_size",
       {8, 16},
       "--tp-pad 16"},
      // 29568 / 128 = 231 groups, as Qwen2.5-VL-72B has.
      {"GroupsOfDown", "vllm", wide(29568), {1}, "mlp.down_proj", {2, 4, 8, 16}, "--tp-pad 16"},
      {"GroupsOfDownElsewhere",
       "sglang",
       wide(29568),
       {1},
       "mlp.down_proj",
       {2, 4, 8, 16},
       "--tp-pad 16"},
      {"GroupsThatAreFilledUp", "lmdeploy", wide(29568), {1, 2, 4, 8, 16}, "", {}, ""},
      {"GroupsOfAttention",
       "vllm",
       Changed(Awq(), Both(Set("head_dim", 64), Set("num_key_value_heads", 16))),
       {1, 2, 4, 8},
       "self_attn.o_proj",
       {16},
       "--group-size 64"},
      {"WholeRows", "vllm", whole_rows, {1}, "self_attn.o_proj", {2, 4, 8, 16}, "--group-size"},
      {"WholeRowsOfCompressedTensors", "vllm", ct_rows, {1, 2, 4, 8, 16}, "", {}, ""},
      {"Words",
       "vllm",
       Changed(Gptq(), Both(SetQuantization("group_size", -1), Set("intermediate_size", 6176))),
       {1, 2, 4},
       "mlp.gate_proj",
       {8, 16},
       "--tp-pad 16"},
      {"OneRank", "transformers", wide(29568), {1}, "", {}, ""},
  };
}

INSTANTIATE_TEST_SUITE_P(All, Shares, ::testing::ValuesIn(Shapes()),
                         [](const auto& shape) { return shape.param.name; });

// Of the names that AutoAWQ, by containing them, takes out of "model.layers.1.mlp.down_proj".
TEST(Judge, TransformersMatchesNamesInItsOwnWay) {
  const auto takes = [](const json& names) {
    return JudgeConfig("transformers",
                       Changed(Awq(), SetQuantization("modules_to_not_convert", names)))
        .takes();
  };
  EXPECT_TRUE(takes({"model.layers.1"}));
  EXPECT_TRUE(takes({"model.layers.1."}));
  EXPECT_TRUE(takes({"model.layers.1.mlp.down_proj"}));
  EXPECT_TRUE(takes({"down_proj"}));
  EXPECT_FALSE(takes({"layers.1.mlp"}));
  EXPECT_FALSE(takes({"down_pro"}));
  EXPECT_FALSE(takes({"model.layers.1.mlp.down"}));
  EXPECT_FALSE(takes({"model.*down_proj"}));  // which AutoAWQ takes for no name of ours
}

// What --tp-pad makes of the shape above.
TEST(Judge, PaddedModelIsShared) {
  const json padded = Changed(Awq(), Set("intermediate_size", 30720));
  EXPECT_EQ(JudgeConfig("vllm", padded).ranks, (Ranks{1, 2, 4, 8, 16}));
}

TEST(Judge, PaddingIsNoAdviceWhereOtherThingsHinder) {
  const json model =
      Changed(Model(), Both(Set("intermediate_size", 6148), Set("num_attention_heads", 8)));
  const Verdict verdict = JudgeConfig("vllm", model);
  const auto at = [&](std::size_t ranks) {
    std::string text;
    for (const Finding& finding : verdict.findings) {
      if (finding.where == "intermediate_size" && std::ranges::count(finding.ranks, ranks) > 0) {
        text += finding.mend;
      }
    }
    return text;
  };
  EXPECT_NE(at(8).find("--tp-pad 8"), std::string::npos) << Text(verdict);
  EXPECT_NE(at(16).find("but not the rest"), std::string::npos) << Text(verdict);
}

TEST(Judge, BlocksOfGgufAreNotCut) {
  auto facts = FactsOfConfig(Model(), "m.gguf");
  ASSERT_TRUE(facts.ok());
  facts->format = kGguf;
  for (LinearFacts& linear : facts->linears) linear.block_elements = 32;
  EXPECT_EQ(JudgeFacts("sglang", *facts).ranks, (Ranks{1, 2, 4, 8, 16}));
  for (LinearFacts& linear : facts->linears) linear.block_elements = 256;
  const Verdict verdict = JudgeFacts("sglang", *facts);
  EXPECT_EQ(verdict.ranks, (Ranks{1, 2, 4, 8}));
  EXPECT_NE(Text(verdict).find("self_attn.o_proj: expects inputs a rank: a multiple of 256, found "
                               "128"),
            std::string::npos)
      << Text(verdict);
  EXPECT_EQ(JudgeFacts("llama.cpp", *facts).ranks, (Ranks{1, 2, 4, 8, 16}));
  EXPECT_TRUE(JudgeFacts("transformers", *facts).takes());
  for (const char* reader : {"vllm", "lmdeploy"}) {
    const Verdict refused = JudgeFacts(reader, *facts);
    EXPECT_FALSE(refused.takes());
    EXPECT_NE(Text(refused).find("awq quantize ORIGINAL"), std::string::npos) << Text(refused);
  }
}

// Every row names formats that exist, and each reader's rows have what its terms need.
TEST(Readers, RowsAreSound) {
  for (const Reader& reader : Readers()) {
    EXPECT_EQ(FindReader(reader.name), &reader);
    EXPECT_FALSE(reader.version.empty());
    for (const std::string_view type : reader.model_types) {
      EXPECT_NE(model::FindArch(type), nullptr) << type;
    }
    for (const Terms& terms : reader.terms) {
      if (terms.format == kPlain || terms.format == kGguf) continue;
      EXPECT_NE(pack::FindFormat(terms.format), nullptr) << terms.format;
      EXPECT_FALSE(terms.symmetric_bits.empty() && terms.asymmetric_bits.empty());
    }
  }
}

}  // namespace
}  // namespace awq::verify
