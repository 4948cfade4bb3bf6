// Whole models through GGUF and back.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "checkpoint/gguf_config.h"
#include "checkpoint/gguf_model.h"
#include "checkpoint/gguf_names.h"
#include "checkpoint/reader.h"
#include "checkpoint/stored_model.h"
#include "checkpoint/test_model.h"
#include "io/file.h"
#include "io/json.h"
#include "math/vector.h"
#include "pipeline/convert_gguf.h"
#include "pipeline/write_gguf.h"
#include "testing/paths.h"
#include "text/tokenizer.h"

namespace awq {
namespace {

namespace fs = std::filesystem;

// Pieces, as Llama 2 has them, in fewer ids than the smallest model.
void WriteTokenizer(const fs::path& directory) {
  const nlohmann::json vocab = {{"<unk>", 0}, {"<s>", 1}, {"</s>", 2}, {"▁", 3},
                                {"a", 4},     {"b", 5},   {"ab", 6},   {"▁a", 7}};
  const nlohmann::json tokenizer = {
      {"model",
       {{"type", "BPE"},
        {"byte_fallback", true},
        {"unk_token", "<unk>"},
        {"vocab", vocab},
        {"merges", {"a b", "▁ a"}}}},
      {"added_tokens",
       {{{"id", 0}, {"content", "<unk>"}, {"special", true}, {"normalized", false}},
        {{"id", 1}, {"content", "<s>"}, {"special", true}, {"normalized", false}},
        {{"id", 2}, {"content", "</s>"}, {"special", true}, {"normalized", false}}}},
      {"normalizer", {{"type", "Replace"}, {"pattern", {{"String", " "}}}, {"content", "▁"}}}};
  const nlohmann::json config = {{"bos_token", "<s>"}, {"eos_token", "</s>"}};
  ASSERT_TRUE(io::WriteFileAtomically(directory / "tokenizer.json", tokenizer.dump()).ok());
  ASSERT_TRUE(io::WriteFileAtomically(directory / "tokenizer_config.json", config.dump()).ok());
}

std::unique_ptr<checkpoint::StoredModel> Open(const fs::path& path) {
  auto model = checkpoint::OpenModel(path);
  EXPECT_TRUE(model.ok()) << model.error().message;
  return model.ok() ? std::move(*model) : nullptr;
}

std::vector<float> Floats(const TensorView& tensor) {
  std::vector<float> values(tensor.elements());
  math::Convert(tensor, std::span<float>(values));
  return values;
}

std::vector<float> Floats(const model::Linear& linear) {
  if (!linear.is_packed()) return Floats(linear.weight);
  const auto unpacked = linear.packed->Unpack();
  EXPECT_TRUE(unpacked.ok());
  Matrix<float> values(linear.out_features, linear.in_features);
  quant::Dequantize(*unpacked, 0, values);
  return {values.span().begin(), values.span().end()};
}

void ExpectSameConfig(const model::ModelConfig& a, const model::ModelConfig& b) {
  EXPECT_EQ(a.hidden_size, b.hidden_size);
  EXPECT_EQ(a.intermediate_size, b.intermediate_size);
  EXPECT_EQ(a.num_hidden_layers, b.num_hidden_layers);
  EXPECT_EQ(a.num_attention_heads, b.num_attention_heads);
  EXPECT_EQ(a.num_key_value_heads, b.num_key_value_heads);
  EXPECT_EQ(a.head_dim, b.head_dim);
  EXPECT_EQ(a.vocab_size, b.vocab_size);
  EXPECT_EQ(a.rms_norm_eps, b.rms_norm_eps);
  EXPECT_EQ(a.rope_theta, b.rope_theta);
  EXPECT_EQ(a.rope_scaling.kind, b.rope_scaling.kind);
  EXPECT_EQ(a.rope_scaling.factor, b.rope_scaling.factor);
  EXPECT_EQ(a.tie_word_embeddings, b.tie_word_embeddings);
  EXPECT_EQ(a.qkv_bias, b.qkv_bias);
  EXPECT_EQ(a.mlp_bias, b.mlp_bias);
  EXPECT_EQ(a.qk_norm, b.qk_norm);
}

// GGUF holds only what comes out of the rule; the fixture's is one that no Llama 3 has.
void UseLlama3Positions(const fs::path& path) {
  auto config = io::ReadJson(path);
  ASSERT_TRUE(config.ok());
  (*config)["rope_scaling"] = {{"rope_type", "llama3"},
                               {"factor", 8.0},
                               {"low_freq_factor", 1.0},
                               {"high_freq_factor", 4.0},
                               {"original_max_position_embeddings", 8192}};
  config->erase("rope_parameters");
  (*config)["rope_theta"] = 500000.0;
  ASSERT_TRUE(io::WriteFileAtomically(path, config->dump()).ok());
}

class GgufRoundTrip : public ::testing::TestWithParam<const char*> {};

TEST_P(GgufRoundTrip, KeepsConfigAndEveryWeight) {
  const testing::TemporaryDirectory scratch;
  const fs::path directory = scratch.path() / "model";
  fs::copy(testing::GoldenDir() / "models" / GetParam(), directory);
  WriteTokenizer(directory);
  if (GetParam() == std::string("llama3_rope")) UseLlama3Positions(directory / "config.json");
  const auto model = Open(directory);
  ASSERT_TRUE(model);
  ThreadPool pool(2);
  const fs::path path = scratch.path() / "m.gguf";
  const auto report = pipeline::WriteGguf(pool, *model, path, {GgmlType::kF32, GgmlType::kF32});
  ASSERT_TRUE(report.ok()) << report.error().message;
  EXPECT_EQ(report->file_bytes, fs::file_size(path));
  const auto read = Open(path);
  ASSERT_TRUE(read);
  ExpectSameConfig(read->config(), model->config());
  EXPECT_TRUE(read->extra_tensors().empty());
  EXPECT_EQ(Floats(*read->Embedding()), Floats(*model->Embedding()));
  EXPECT_EQ(Floats(*read->Head()), Floats(*model->Head()));
  EXPECT_EQ(Floats(*read->FinalNorm()), Floats(*model->FinalNorm()));
  for (std::size_t layer = 0; layer < model->config().num_hidden_layers; ++layer) {
    const auto want = model->Block(layer);
    const auto found = read->Block(layer);
    ASSERT_TRUE(want.ok() && found.ok());
    for (std::size_t role = 0; role < model::kRoles; ++role) {
      ASSERT_EQ(want->linears[role].has_value(), found->linears[role].has_value());
      ASSERT_EQ(want->norms[role].has_value(), found->norms[role].has_value());
      if (want->norms[role]) {
        EXPECT_EQ(Floats(*found->norms[role]), Floats(*want->norms[role]));
      }
      if (!want->linears[role]) continue;
      EXPECT_EQ(Floats(*found->linears[role]), Floats(*want->linears[role])) << role;
      ASSERT_EQ(want->linears[role]->bias.has_value(), found->linears[role]->bias.has_value());
      if (!want->linears[role]->bias) continue;
      EXPECT_EQ(Floats(*found->linears[role]->bias), Floats(*want->linears[role]->bias));
    }
  }
  const auto tokenizer = text::Tokenizer::Load(path);
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.error().message;
  EXPECT_EQ(*(*tokenizer)->Encode("ab a", false), (std::vector<std::int32_t>{6, 7}));
}

INSTANTIATE_TEST_SUITE_P(Models, GgufRoundTrip,
                         ::testing::Values("llama", "llama3_rope", "llama_bias", "llama_gqa_tied",
                                           "llama_linear_rope", "mistral_nowindow", "qwen2",
                                           "qwen3"));

// llama.cpp's rotation turns neighbours, ours a head's halves.
TEST(Gguf, RowsOfAHeadInterleave) {
  std::vector<std::size_t> places;
  for (std::size_t row = 0; row < 12; ++row) {
    places.push_back(checkpoint::InterleavedRow(row, 6));
  }
  EXPECT_EQ(places, (std::vector<std::size_t>{0, 2, 4, 1, 3, 5, 6, 8, 10, 7, 9, 11}));
}

// Those whose minimum, -scale * zero, is no fp16 number.
std::size_t GroupsThatChange(const checkpoint::StoredModel& model) {
  std::size_t groups = 0;
  for (std::size_t layer = 0; layer < model.config().num_hidden_layers; ++layer) {
    const auto block = model.Block(layer);
    EXPECT_TRUE(block.ok());
    for (const model::LinearRow& row : model.config().arch->linears) {
      const auto linear = block->linear(row.role).packed->Unpack();
      EXPECT_TRUE(linear.ok());
      for (std::size_t i = 0; i < linear->scales.size(); ++i) {
        const float minimum =
            linear->scales.data()[i] * static_cast<float>(linear->zeros.data()[i]);
        groups += RoundToF16(minimum) != minimum;
      }
    }
  }
  return groups;
}

// A quantized llama with a tokenizer.
void WriteQuantized(const fs::path& directory, bool symmetric,
                    std::optional<model::Role> in_16_bits = {}) {
  checkpoint::testing::TestModel test = checkpoint::testing::MakeModel("llama");
  test.config["quantization_config"] = {{"quant_method", "awq"},
                                        {"bits", 4},
                                        {"group_size", 32},
                                        {"zero_point", !symmetric},
                                        {"version", "gemm"}};
  for (std::size_t layer = 0; layer < 2; ++layer) {
    for (const model::LinearRow& row : model::FindArch("llama")->linears) {
      if (row.role == in_16_bits) {
        test.config["quantization_config"]["modules_to_not_convert"] = {row.name};
        continue;
      }
      test.Quantize(model::ModuleName(*model::FindArch("llama"), layer, row.name),
                    {4, 32, symmetric});
    }
  }
  test.Write(directory);
  WriteTokenizer(directory);
}

class GgufCodes : public ::testing::TestWithParam<bool> {};

TEST_P(GgufCodes, AreKept) {
  const bool symmetric = GetParam();
  const testing::TemporaryDirectory scratch;
  const fs::path directory = scratch.path() / "model";
  WriteQuantized(directory, symmetric);
  const auto model = Open(directory);
  ASSERT_TRUE(model);
  ThreadPool pool(2);
  const fs::path path = scratch.path() / "m.gguf";
  pipeline::GgufOptions options;
  const auto strict = pipeline::WriteGguf(pool, *model, path, options);
  EXPECT_EQ(strict.ok(), symmetric);
  if (symmetric) {
    fs::remove(path);
  } else {
    EXPECT_NE(strict.error().message.find("layers.0.self_attn.q_proj: scales or minima of"),
              std::string::npos)
        << strict.error().message;
    EXPECT_FALSE(fs::exists(path));
  }
  options.lossy = true;
  const auto report = pipeline::WriteGguf(pool, *model, path, options);
  ASSERT_TRUE(report.ok()) << report.error().message;
  EXPECT_GT(report->groups, 0U);
  EXPECT_EQ(report->linears, 14U);
  const auto read = Open(path);
  ASSERT_TRUE(read);
  EXPECT_TRUE(read->storage().starts_with(symmetric ? "GGUF, Q4_0" : "GGUF, Q4_1") ||
              read->storage().starts_with("GGUF, F16"));
  EXPECT_EQ(report->changed_groups, symmetric ? 0 : GroupsThatChange(*model));
  const auto want = model->Block(1);
  const auto found = read->Block(1);
  ASSERT_TRUE(want.ok() && found.ok());
  for (const model::LinearRow& row : model->config().arch->linears) {
    const std::vector<float> a = Floats(want->linear(row.role));
    const std::vector<float> b = Floats(found->linear(row.role));
    ASSERT_EQ(a.size(), b.size());
    const auto unpacked = want->linear(row.role).packed->Unpack();
    ASSERT_TRUE(unpacked.ok());
    for (std::size_t i = 0; i < a.size(); ++i) {
      const std::size_t n = i / unpacked->in_features();
      const std::size_t g = i % unpacked->in_features() / 32;
      const float minimum =
          std::fabs(unpacked->scales(n, g)) * static_cast<float>(unpacked->zeros(n, g));
      // Half a unit of fp16 in the minimum, and the float rounding of the sum.
      EXPECT_LE(std::fabs(a[i] - b[i]), symmetric ? 0 : minimum * (0x1p-11F + 0x1p-23F) + 0x1p-25F);
    }
  }
}

// Through GGUF and back: every tensor of the directory as it was.
TEST_P(GgufCodes, ComeBack) {
  const testing::TemporaryDirectory scratch;
  const fs::path directory = scratch.path() / "model";
  const fs::path file = scratch.path() / "m.gguf";
  const fs::path back = scratch.path() / "back";
  WriteQuantized(directory, GetParam());
  const auto model = checkpoint::ModelDirectory::Open(directory);
  ASSERT_TRUE(model.ok());
  ThreadPool pool(2);
  pipeline::GgufOptions there;
  there.lossy = true;
  ASSERT_TRUE(pipeline::WriteGguf(pool, **model, file, there).ok());
  const auto gguf = checkpoint::GgufModel::Open(file);
  ASSERT_TRUE(gguf.ok());
  pipeline::ConvertOptions options;
  options.format = pack::FindFormat("awq-gemm");
  options.output = back;
  // The embedding and the norms are floats there, which the directory rounds.
  const auto strict = pipeline::ConvertGguf(pool, **gguf, options);
  ASSERT_FALSE(strict.ok());
  EXPECT_FALSE(fs::exists(back));
  options.lossy = true;
  const auto report = pipeline::ConvertGguf(pool, **gguf, options);
  ASSERT_TRUE(report.ok()) << report.error().message;
  EXPECT_EQ(report->linears, 14U);
  const auto minima = std::ranges::count_if(report->changes, [](const std::string& line) {
    return line.find("minima") != std::string::npos;
  });
  EXPECT_EQ(minima, GetParam() ? 0 : 14);
  const auto read = checkpoint::ModelDirectory::Open(back);
  ASSERT_TRUE(read.ok()) << read.error().message;
  const std::vector<std::string> names = (*model)->StoredNames();
  ASSERT_EQ((*read)->StoredNames().size(), names.size());
  for (const std::string& name : names) {
    const TensorView want = (*model)->Find(name).value();
    const TensorView found = (*read)->Find(name).value();
    if (want.dtype == found.dtype) {
      EXPECT_TRUE(std::ranges::equal(found.bytes, want.bytes)) << name;
      continue;
    }
    std::vector<float> rounded = Floats(want);
    for (float& value : rounded) value = RoundToF16(value);
    EXPECT_EQ(Floats(found), rounded) << name;
  }
}

INSTANTIATE_TEST_SUITE_P(Symmetric, GgufCodes, ::testing::Bool());

// A linear that is in 16 bits is so in the GGUF, and when it has come back.
TEST(GgufDense, ComesBackBesideALinearIn16Bits) {
  const testing::TemporaryDirectory scratch;
  const fs::path directory = scratch.path() / "model";
  const fs::path file = scratch.path() / "m.gguf";
  WriteQuantized(directory, true, model::Role::kDown);
  const auto model = checkpoint::ModelDirectory::Open(directory);
  ASSERT_TRUE(model.ok()) << model.error().message;
  ThreadPool pool(2);
  ASSERT_TRUE(pipeline::WriteGguf(pool, **model, file, {}).ok());
  const auto gguf = checkpoint::GgufModel::Open(file);
  ASSERT_TRUE(gguf.ok());
  pipeline::ConvertOptions options;
  options.format = pack::FindFormat("awq-gemm");
  options.output = scratch.path() / "back";
  options.lossy = true;  // of the embedding and the norms
  const auto report = pipeline::ConvertGguf(pool, **gguf, options);
  ASSERT_TRUE(report.ok()) << report.error().message;
  EXPECT_EQ(report->linears, 12U);
  const auto back = checkpoint::ModelDirectory::Open(options.output);
  ASSERT_TRUE(back.ok()) << back.error().message;
  for (const char* kept :
       {"model.layers.1.mlp.up_proj.qweight", "model.layers.0.self_attn.q_proj.scales"}) {
    EXPECT_TRUE(std::ranges::equal((*back)->Find(kept)->bytes, (*model)->Find(kept)->bytes))
        << kept;
  }
  const std::string down = "model.layers.1.mlp.down_proj.weight";
  std::vector<float> rounded = Floats((*model)->Find(down).value());
  for (float& value : rounded) value = RoundToF16(value);
  EXPECT_EQ(Floats((*back)->Find(down).value()), rounded);
}

// A model of one block whose parts each test may change.
struct SmallFile {
  std::string arch = "llama";
  std::size_t hidden = 64;
  std::string missing = "";  // a tensor
  GgmlType type = GgmlType::kF16;
  std::function<void(io::GgufBuilder&)> more = [](io::GgufBuilder&) {};

  std::string Error() const {
    const testing::TemporaryDirectory scratch;
    const fs::path path = scratch.path() / "m.gguf";
    io::GgufBuilder builder;
    builder.AddString("general.architecture", arch);
    for (const auto& [key, value] : {std::pair{"embedding_length", 64U},
                                     {"block_count", 1U},
                                     {"context_length", 64U},
                                     {"feed_forward_length", 64U},
                                     {"attention.head_count", 2U}}) {
      builder.AddU32(arch + "." + key, value);
    }
    builder.AddF32(arch + ".attention.layer_norm_rms_epsilon", 1e-5F);
    more(builder);
    const auto add = [&](std::string name, GgmlType of, Shape shape) {
      if (name == missing) return;
      EXPECT_TRUE(builder.AddTensor(std::move(name), of, shape).ok());
    };
    add("token_embd.weight", type, {32, hidden});
    add("output_norm.weight", GgmlType::kF32, {64});
    for (const char* name :
         {"attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"}) {
      add(fmt::format("blk.0.{}.weight", name), type, {64, 64});
    }
    for (const char* name : {"attn_norm", "ffn_norm"}) {
      add(fmt::format("blk.0.{}.weight", name), GgmlType::kF32, {64});
    }
    std::string file = builder.Finish();
    file.resize(builder.tensors().back().offset_bytes + builder.tensors().back().size_bytes, '\0');
    EXPECT_TRUE(io::WriteFileAtomically(path, file).ok());
    const auto model = checkpoint::OpenModel(path);
    return model.ok() ? "" : model.error().message;
  }
};

TEST(GgufModel, RefusesWhatItCannotRun) {
  EXPECT_EQ(SmallFile{}.Error(), "");
  const auto has = [](const SmallFile& file, std::string_view expected) {
    const std::string error = file.Error();
    EXPECT_NE(error.find(expected), std::string::npos) << expected << "\n -> " << error;
  };
  has({.arch = "gemma"}, "the architecture gemma is not supported (llama, qwen2, qwen3 are)");
  has({.missing = "token_embd.weight"}, "token_embd.weight");
  has({.missing = "blk.0.ffn_up.weight"}, "blk.0.ffn_up.weight is missing");
  has({.missing = "output_norm.weight"}, "output_norm.weight is missing");
  has({.hidden = 32}, "expected [32, 64]");
  const auto with = [&](std::string_view expected, std::function<void(io::GgufBuilder&)> more) {
    has({.more = std::move(more)}, expected);
  };
  with("experts", [](io::GgufBuilder& b) { b.AddU32("llama.expert_count", 8); });
  with("llama-gguf-split", [](io::GgufBuilder& b) { b.AddU32("split.count", 3); });
  with("rope scaling yarn",
       [](io::GgufBuilder& b) { b.AddString("llama.rope.scaling.type", "yarn"); });
  with("heads have 32 dimensions",
       [](io::GgufBuilder& b) { b.AddU32("llama.rope.dimension_count", 16); });
  with("num_key_value_heads",
       [](io::GgufBuilder& b) { b.AddU32("llama.attention.head_count_kv", 0); });
  with("\"head_dim\" is 0", [](io::GgufBuilder& b) { b.AddU32("llama.attention.key_length", 0); });
  with("blk.0.attn_k.bias is missing", [](io::GgufBuilder& b) {
    EXPECT_TRUE(b.AddTensor("blk.0.attn_q.bias", GgmlType::kF32, {64}).ok());
  });
  with("expected F32 [16]", [](io::GgufBuilder& b) {
    EXPECT_TRUE(b.AddTensor("rope_freqs.weight", GgmlType::kF32, {4}).ok());
  });
  with("of Llama 3's rule only", [](io::GgufBuilder& b) {
    EXPECT_TRUE(b.AddTensor("rope_freqs.weight", GgmlType::kF32, {16}).ok());
  });
  with("bos_token_id", [](io::GgufBuilder& b) { b.AddU32("tokenizer.ggml.bos_token_id", 99); });
}

TEST(WriteGguf, RefusesWhatGgufCannotHold) {
  const testing::TemporaryDirectory scratch;
  const fs::path directory = scratch.path() / "model";
  fs::copy(testing::GoldenDir() / "models" / "llama", directory);
  ThreadPool pool(1);
  const auto model = Open(directory);
  ASSERT_TRUE(model);
  const auto error = [&](const pipeline::GgufOptions& options) {
    const auto report = pipeline::WriteGguf(pool, *model, scratch.path() / "m.gguf", options);
    return report.ok() ? "" : report.error().message;
  };
  EXPECT_NE(error({}).find("no tokenizer.json"), std::string::npos);
  EXPECT_NE(error({GgmlType::kQ6_K, GgmlType::kF16}).find("Q6_K"), std::string::npos);
  EXPECT_NE(error({GgmlType::kF16, GgmlType::kQ8_0}).find("Q8_0"), std::string::npos);
  WriteTokenizer(directory);
  EXPECT_EQ(error({}), "");
  EXPECT_NE(error({}).find("exists already"), std::string::npos);
}

}  // namespace
}  // namespace awq
