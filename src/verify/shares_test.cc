#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "verify/judge.h"
#include "verify/test_configs.h"

namespace awq::verify {
namespace {

// A model that some numbers of ranks cannot share.
struct Sharing {
  const char* name;
  const char* reader;
  json model;
  RankList ranks;      // that can
  const char* where;   // of the first finding; and what it expects
  RankList ruled_out;  // by it
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
  EXPECT_NE((finding.where + ": " + finding.expects).find(rule.where), std::string::npos)
      << Text(finding);
  EXPECT_EQ(finding.ranks, rule.ruled_out) << Text(verdict);
  EXPECT_NE(finding.mend.find(rule.mend), std::string::npos) << Text(finding);
}

json CompressedRows() {
  return Changed(CompressedTensors(), [](json& model) {
    json& weights = model["quantization_config"]["config_groups"]["group_0"]["weights"];
    weights["strategy"] = "channel";
    weights["group_size"] = nullptr;
  });
}

std::vector<Sharing> OfHeadsAndGroups() {
  const auto wide = [](std::size_t size) { return Changed(Awq(), Set("intermediate_size", size)); };
  const json whole_rows = Changed(Awq(), SetQuantization("group_size", -1));
  return {
      {"Heads",
       "vllm",
       Changed(Awq(), Set("num_attention_heads", 12)),
       {1, 2, 4},
       "num_attention_heads",
       {8, 16},
       "none: take fewer ranks"},
      {"KeyHeads",
       "vllm",
       Changed(Awq(), Both(Set("num_attention_heads", 24), Set("num_key_value_heads", 6))),
       {1, 2},
       "num_key_value_heads",
       {4, 8, 16},
       "none: take fewer ranks"},
      {"Hidden",
       "lmdeploy",
       Changed(Model(), Set("hidden_size", 2056)),
       {1, 2, 4, 8},
       "hidden_size",
       {16},
       "none: take fewer ranks"},
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
      {"WholeRows",
       "vllm",
       whole_rows,
       {1},
       "self_attn.o_proj",
       {2, 4, 8, 16},
       "awq convert MODEL -o OUT --format compressed-tensors"},
      {"WholeRowsOfCompressedTensors", "vllm", CompressedRows(), {1, 2, 4, 8, 16}, "", {}, ""},
      {"Words",
       "vllm",
       Changed(Gptq(), Both(SetQuantization("group_size", -1), Set("intermediate_size", 6176))),
       {1, 2, 4},
       "mlp.gate_proj",
       {8, 16},
       "--format gptq --group-size -1 --sym --tp-pad 16"},
  };
}

std::vector<Sharing> OfWordsAndTiles() {
  const json small_groups = Changed(Gptq(), SetQuantization("group_size", 32));
  return {
      // 36 outputs of k and v on a rank, which are no words; with zero points these lie in words.
      {"WordsOfZeroPoints",
       "vllm",
       Changed(CompressedRows(), Set("head_dim", 36)),
       {1, 2},
       "self_attn.k_proj",
       {4, 8},
       "--format"},
      {"WordsOfInputsAlone",
       "vllm",
       Changed(Symmetric(CompressedRows()), Set("head_dim", 36)),
       {1, 2, 4, 8},
       "self_attn.o_proj: inputs a rank that fill whole words",
       {16},
       "none: take fewer ranks"},
      // Of q, k and v together: 64 + 2 * 16 outputs of 4 ranks, 192 + 2 * 96 of 8.
      {"TilesOfQkv",
       "sglang",
       Changed(small_groups, Set("head_dim", 16)),
       {1, 2},
       "self_attn.q_proj: outputs and inputs a rank",
       {4},
       "awq"},
      {"TilesOfQkvThatFit",
       "sglang",
       Changed(small_groups, Set("head_dim", 96)),
       {1, 2, 4, 8},
       "self_attn.q_proj: outputs and inputs a rank",
       {16},
       "awq"},
      // By its own padding: from 193 groups to 2, 4, ... times as many; but not from 769 times 8.
      {"StepsOfPadding",
       "lmdeploy",
       Changed(CompressedTensors(),
               [](json& model) {
                 model["intermediate_size"] = 193 * 32;
                 model["quantization_config"]["config_groups"]["group_0"] =
                     Scheme(4, false, 32, {"Linear"});
               }),
       {1, 2, 4, 8, 16},
       "",
       {},
       ""},
      {"NoStepsOfPadding",
       "lmdeploy",
       Changed(Model(), Set("intermediate_size", 769 * 8)),
       {1, 2, 4, 8},
       "intermediate_size",
       {16},
       "--tp-pad 16"},
      {"PaddingAndSmallerGroups",
       "vllm",
       Changed(Awq(), Both(Both(Set("head_dim", 64), Set("num_key_value_heads", 16)),
                           Set("intermediate_size", 29568))),
       {1},
       "mlp.down_proj",
       {2, 4, 8},
       "--group-size 128 --tp-pad 8"},
      {"OneRank", "transformers", Changed(Awq(), Set("intermediate_size", 29568)), {1}, "", {}, ""},
  };
}

std::string NameOf(const ::testing::TestParamInfo<Sharing>& shape) { return shape.param.name; }

INSTANTIATE_TEST_SUITE_P(Groups, Shares, ::testing::ValuesIn(OfHeadsAndGroups()), NameOf);
INSTANTIATE_TEST_SUITE_P(Words, Shares, ::testing::ValuesIn(OfWordsAndTiles()), NameOf);

// What --tp-pad makes of the shape above.
TEST(Sharing, PaddedModelIsShared) {
  const json padded = Changed(Awq(), Set("intermediate_size", 30720));
  EXPECT_EQ(JudgeConfig("vllm", padded).ranks, (RankList{1, 2, 4, 8, 16}));
}

TEST(Sharing, PaddingIsNoAdviceWhereOtherThingsHinder) {
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
  EXPECT_EQ(at(16), "none: take fewer ranks");
}

TEST(Sharing, WordsOfGptqAreOfInputsAsWell) {
  const json model =
      Changed(Gptq(), Both(SetQuantization("group_size", -1), Set("intermediate_size", 6176)));
  EXPECT_NE(Text(JudgeConfig("vllm", model))
                .find("mlp.down_proj: expects inputs a rank that fill whole words, found 772"),
            std::string::npos);
}

TEST(Sharing, RanksAreThoseAskedFor) {
  const auto facts = FactsOfConfig(Changed(Model(), Set("intermediate_size", 6147)), "config.json");
  ASSERT_TRUE(facts.ok());
  const std::size_t three[] = {1, 3};
  const auto verdict = Judge(*FindReader("vllm"), *facts, three);
  ASSERT_TRUE(verdict.ok());
  EXPECT_EQ(verdict->ranks, RankList{1});
  EXPECT_EQ(verdict->findings.front().where, "num_attention_heads");
  EXPECT_EQ(verdict->findings.front().ranks, RankList{3});
}

TEST(Sharing, BlocksOfGgufAreNotCut) {
  auto facts = FactsOfConfig(Model(), "m.gguf");
  ASSERT_TRUE(facts.ok());
  facts->format = kGguf;
  for (LinearFacts& linear : facts->linears) linear.block_elements = 32;
  EXPECT_EQ(JudgeFacts("sglang", *facts).ranks, (RankList{1, 2, 4, 8, 16}));
  for (LinearFacts& linear : facts->linears) linear.block_elements = 256;
  const Verdict verdict = JudgeFacts("sglang", *facts);
  EXPECT_EQ(verdict.ranks, (RankList{1, 2, 4, 8}));
  EXPECT_NE(Text(verdict).find("self_attn.o_proj: expects inputs a rank: a multiple of 256, found "
                               "128"),
            std::string::npos)
      << Text(verdict);
  EXPECT_EQ(JudgeFacts("llama.cpp", *facts).ranks, (RankList{1, 2, 4, 8, 16}));
  EXPECT_TRUE(JudgeFacts("transformers", *facts).takes());
  for (const char* reader : {"vllm", "lmdeploy"}) {
    const Verdict refused = JudgeFacts(reader, *facts);
    EXPECT_FALSE(refused.takes());
    EXPECT_NE(Text(refused).find("awq quantize ORIGINAL"), std::string::npos) << Text(refused);
  }
}

}  // namespace
}  // namespace awq::verify
