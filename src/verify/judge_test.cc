#include "verify/judge.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "verify/test_configs.h"

namespace awq::verify {
namespace {

TEST(Judge, TakesWhatEveryReaderTakes) {
  for (const json& model : {Model(), Awq(), Gptq(), CompressedTensors()}) {
    for (const char* reader : {"vllm", "sglang", "lmdeploy"}) {
      const Verdict verdict = JudgeConfig(reader, model);
      EXPECT_EQ(verdict.ranks, (RankList{1, 2, 4, 8, 16})) << reader << Text(verdict);
      EXPECT_TRUE(verdict.findings.empty()) << reader << Text(verdict);
    }
    EXPECT_EQ(JudgeConfig("transformers", model).ranks, RankList{1});
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

TEST(Judge, WholeRowsHaveNoOrder) {
  const json model =
      Changed(Gptq(), Both(SetQuantization("desc_act", true), SetQuantization("group_size", -1)));
  const Verdict verdict = JudgeConfig("vllm", model);
  EXPECT_TRUE(verdict.takes()) << Text(verdict);
}

// An architecture that is not known ends all: of the format nothing is advised.
TEST(Judge, NothingIsAdvisedWhereSomethingCannotBeMended) {
  const Verdict verdict = JudgeConfig(
      "lmdeploy",
      Changed(Awq(), Both(Set("model_type", "mistral"), SetQuantization("group_size", 64))));
  ASSERT_EQ(verdict.findings.size(), 2U) << Text(verdict);
  EXPECT_NE(verdict.findings[0].mend.find("none"), std::string::npos);
  EXPECT_EQ(verdict.findings[1].mend, "") << Text(verdict);
}

TEST(Judge, LlamaCppIsToldHowAGgufIsMade) {
  const auto mend = [](const json& model) {
    const Verdict verdict = JudgeConfig("llama.cpp", model);
    return verdict.findings.size() == 1 ? verdict.findings[0].mend : Text(verdict);
  };
  const auto scheme = [](int bits, bool symmetric, std::size_t group) {
    return Changed(CompressedTensors(), [=](json& model) {
      model["quantization_config"]["config_groups"]["group_0"] =
          Scheme(bits, symmetric, group, {"Linear"});
    });
  };
  EXPECT_EQ(mend(Model()), "awq convert MODEL -o OUT.gguf --format gguf");
  EXPECT_EQ(mend(Awq()), "awq convert MODEL -o OUT.gguf --format gguf --lossy");
  EXPECT_EQ(mend(Gptq()), "awq convert MODEL -o OUT.gguf --format gguf");
  const std::string quantize = "awq quantize ORIGINAL -o OUT.gguf --format gguf ";
  EXPECT_EQ(mend(scheme(4, true, 16)), quantize + "--group-size 32 --sym");
  EXPECT_EQ(mend(scheme(4, false, 16)), quantize + "--group-size 32");
  EXPECT_EQ(mend(scheme(8, false, 64)), quantize + "--group-size 64 --bits 8 --sym");
  EXPECT_EQ(mend(Changed(Gptq(), SetQuantization("desc_act", true))),
            quantize + "--group-size 128 --sym");
  // A linear of 1040 inputs, no multiple of 32, stays in 16 bits.
  EXPECT_EQ(mend(Changed(scheme(4, true, 16), Set("intermediate_size", 1040))),
            quantize + "--group-size 32 --sym");
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
