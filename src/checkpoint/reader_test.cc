#include "checkpoint/reader.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cstring>

#include "checkpoint/test_model.h"
#include "testing/paths.h"

namespace awq::checkpoint {
namespace {

namespace fs = std::filesystem;
using awq::testing::TemporaryDirectory;
using testing::MakeModel;
using testing::MakeQuantizedModel;
using testing::TestModel;

constexpr const char* kQ0 = "model.layers.0.self_attn.q_proj";
constexpr const char* kUp1 = "model.layers.1.mlp.up_proj";

// What Open says to a directory, or nothing.
std::string ErrorOf(const fs::path& directory) {
  const auto opened = ModelDirectory::Open(directory);
  return opened.ok() ? "" : opened.error().message;
}

std::string ErrorOf(const TestModel& model) {
  const TemporaryDirectory directory;
  model.Write(directory.path());
  return ErrorOf(directory.path());
}

bool Holds(const TensorView& view, const testing::TestTensor& tensor) {
  return view.dtype == tensor.dtype && view.shape == tensor.shape &&
         view.bytes.size() == tensor.bytes.size() &&
         std::memcmp(view.bytes.data(), tensor.bytes.data(), tensor.bytes.size()) == 0;
}

void ExpectServesEverything(const ModelDirectory& directory, const TestModel& model) {
  const model::ModelConfig& config = directory.config();
  EXPECT_TRUE(Holds(*directory.Embedding(), model.tensors.at("model.embed_tokens.weight")));
  EXPECT_TRUE(Holds(*directory.FinalNorm(), model.tensors.at("model.norm.weight")));
  const char* head = config.tie_word_embeddings ? "model.embed_tokens.weight" : "lm_head.weight";
  EXPECT_TRUE(Holds(*directory.Head(), model.tensors.at(head)));
  for (std::size_t layer = 0; layer < config.num_hidden_layers; ++layer) {
    const auto block = directory.Block(layer);
    ASSERT_TRUE(block.ok()) << block.error().message;
    for (const model::LinearRow& row : config.arch->linears) {
      const model::Linear& linear = block->linear(row.role);
      EXPECT_EQ(linear.name, model::ModuleName(*config.arch, layer, row.name));
      EXPECT_FALSE(linear.is_packed());
      EXPECT_TRUE(Holds(linear.weight, model.tensors.at(linear.name + ".weight")));
      const bool has_bias = model.tensors.contains(linear.name + ".bias");
      ASSERT_EQ(linear.bias.has_value(), has_bias);
      if (has_bias) {
        EXPECT_TRUE(Holds(*linear.bias, model.tensors.at(linear.name + ".bias")));
      }
    }
    for (const model::NormRow& row : config.arch->norms) {
      const std::string name = model::ModuleName(*config.arch, layer, row.name) + ".weight";
      ASSERT_EQ(block->norm(row.role).has_value(), model.tensors.contains(name)) << name;
      if (block->norm(row.role)) {
        EXPECT_TRUE(Holds(*block->norm(row.role), model.tensors.at(name)));
      }
    }
  }
}

TEST(Reader, ServesEveryArchitecture) {
  for (const model::ArchSpec* arch : model::Architectures()) {
    SCOPED_TRACE(std::string(arch->model_type));
    for (const bool tied : {false, true}) {
      for (const std::size_t shards : {0U, 1U, 3U}) {
        const TestModel model = MakeModel(std::string(arch->model_type), tied);
        const TemporaryDirectory directory;
        if (shards == 0) {
          model.Write(directory.path());
        } else {
          model.WriteSharded(directory.path(), shards);
        }
        const auto opened = ModelDirectory::Open(directory.path());
        ASSERT_TRUE(opened.ok()) << opened.error().message;
        ExpectServesEverything(**opened, model);
        EXPECT_TRUE((*opened)->extra_tensors().empty());
        for (std::size_t layer = 0; layer < 2; ++layer) (*opened)->Release(layer);
        (*opened)->ReleaseAll();
        ExpectServesEverything(**opened, model);  // released is not gone
        std::size_t bytes = 0;
        for (const auto& [name, tensor] : model.tensors) bytes += tensor.bytes.size();
        EXPECT_EQ((*opened)->weight_bytes(), bytes);
        EXPECT_FALSE((*opened)->Block(2).ok());
      }
    }
  }
}

TEST(Reader, ListsWhatTheArchitectureDoesNotName) {
  TestModel model = MakeModel("llama", /*tied=*/true);
  model.Add("model.layers.0.self_attn.rotary_emb.inv_freq", DType::kF32, {8});
  model.Add("lm_head.weight", DType::kF16, {40, 64});  // the embedding is the head
  const TemporaryDirectory directory;
  model.Write(directory.path());
  const auto opened = ModelDirectory::Open(directory.path());
  ASSERT_TRUE(opened.ok()) << opened.error().message;
  EXPECT_EQ(
      (*opened)->extra_tensors(),
      (std::vector<std::string>{"lm_head.weight", "model.layers.0.self_attn.rotary_emb.inv_freq"}));
  ExpectServesEverything(**opened, model);
}

// As some quantizers write them.
TEST(Reader, BiasesOfZerosAreNoneBiasesOfOthersAreRefused) {
  TestModel model = MakeModel("llama");
  const std::string name = std::string(kQ0) + ".bias";
  model.Add(name, DType::kF16, {64});
  EXPECT_NE(ErrorOf(model).find(name + " is there and not zero"), std::string::npos)
      << ErrorOf(model);
  std::string& bytes = model.tensors.at(name).bytes;
  bytes.assign(bytes.size(), '\0');
  const TemporaryDirectory directory;
  model.Write(directory.path());
  const auto opened = ModelDirectory::Open(directory.path());
  ASSERT_TRUE(opened.ok()) << opened.error().message;
  EXPECT_EQ((*opened)->extra_tensors(), std::vector<std::string>{name});
  EXPECT_FALSE((*opened)->Block(0)->linear(model::Role::kQ).bias.has_value());
}

TEST(Reader, UnpacksQuantizedLinears) {
  TestModel model = MakeModel("qwen2");
  model.config["quantization_config"] = {
      {"quant_method", "awq"}, {"bits", 4},         {"group_size", 32},
      {"zero_point", true},    {"version", "gemm"}, {"modules_to_not_convert", {"layers.1.mlp"}}};
  std::map<std::string, quant::QuantizedLinear> expected;
  for (std::size_t layer = 0; layer < 2; ++layer) {
    for (const model::LinearRow& row : model::FindArch("qwen2")->linears) {
      const std::string module = model::ModuleName(*model::FindArch("qwen2"), layer, row.name);
      if (module.find("layers.1.mlp") != std::string::npos) continue;
      expected.emplace(module, model.Quantize(module, {4, 32, false}));
    }
  }
  const TemporaryDirectory directory;
  model.WriteSharded(directory.path(), 3);  // the parts of a linear are in different files
  std::vector<model::Linear> linears;
  {
    const auto opened = ModelDirectory::Open(directory.path());
    ASSERT_TRUE(opened.ok()) << opened.error().message;
    for (std::size_t layer = 0; layer < 2; ++layer) {
      const auto block = (*opened)->Block(layer);
      ASSERT_TRUE(block.ok()) << block.error().message;
      for (const model::LinearRow& row : model::FindArch("qwen2")->linears) {
        linears.push_back(block->linear(row.role));
      }
    }
  }
  std::size_t packed = 0;
  for (const model::Linear& linear : linears) {  // the directory is closed, the packed ones live
    const auto entry = expected.find(linear.name);
    ASSERT_EQ(linear.is_packed(), entry != expected.end()) << linear.name;
    if (!linear.is_packed()) continue;
    ++packed;
    const auto unpacked = linear.packed->Unpack();
    ASSERT_TRUE(unpacked.ok()) << unpacked.error().message;
    EXPECT_EQ(unpacked->out_features(), linear.out_features);
    EXPECT_EQ(unpacked->in_features(), linear.in_features);
    EXPECT_EQ(
        std::memcmp(unpacked->codes.data(), entry->second.codes.data(), unpacked->codes.size()), 0);
  }
  EXPECT_EQ(packed, expected.size());
}

TEST(Reader, WholeRowGroups) {
  TestModel model = MakeModel("llama");
  model.config["quantization_config"] = {
      {"quant_method", "awq"}, {"bits", 4}, {"group_size", -1}, {"version", "gemm"}};
  for (std::size_t layer = 0; layer < 2; ++layer) {
    for (const model::LinearRow& row : model::FindArch("llama")->linears) {
      const std::string module = model::ModuleName(*model::FindArch("llama"), layer, row.name);
      model.Quantize(module, {4, model.tensors.at(module + ".weight").shape[1], false});
    }
  }
  const TemporaryDirectory directory;
  model.Write(directory.path());
  const auto opened = ModelDirectory::Open(directory.path());
  ASSERT_TRUE(opened.ok()) << opened.error().message;
  const auto block = (*opened)->Block(0);
  EXPECT_EQ(block->linear(model::Role::kDown).packed->spec().group_size, 96U);
  EXPECT_EQ(block->linear(model::Role::kDown).packed->stored_bytes(),
            96U * 64 / 2 + 64 / 2 + 64 * 2);
  const auto down = block->linear(model::Role::kDown).packed->Unpack();
  ASSERT_TRUE(down.ok()) << down.error().message;
  EXPECT_EQ(down->spec.group_size, 96U);
  EXPECT_EQ(down->groups(), 1U);
}

TEST(Reader, RefusesTensorsThatContradictTheConfig) {
  const auto expect = [](const TestModel& model, const std::string& expected) {
    const std::string error = ErrorOf(model);
    EXPECT_NE(error.find(expected), std::string::npos) << expected << "\n -> " << error;
  };
  const TestModel good = MakeModel("qwen3");
  EXPECT_EQ(ErrorOf(good), "");
  // Every tensor, one after another, missing, of another shape and of another type.
  for (const auto& [name, tensor] : good.tensors) {
    TestModel missing = good;
    missing.tensors.erase(name);
    expect(missing, "tensor " + name + " is missing: F32 or F16 or BF16 " +
                        ShapeString(tensor.shape) + " is expected");
    TestModel other_shape = good;
    Shape shape = tensor.shape;
    shape.back() += 1;
    other_shape.Add(name, tensor.dtype, shape);
    expect(other_shape, "tensor " + name + ": expected F32 or F16 or BF16 " +
                            ShapeString(tensor.shape) + " by config.json, found " +
                            std::string(DTypeName(tensor.dtype)) + " " + ShapeString(shape));
    TestModel other_type = good;
    other_type.Add(name, DType::kI8, tensor.shape);
    expect(other_type, "found I8");
  }
  TestModel flat = good;
  flat.Add(std::string(kQ0) + ".weight", DType::kF16, {64 * 64});
  expect(flat, "found F16 [4096]");
}

TEST(Reader, RefusesQuantizedDirectoriesThatContradictThemselves) {
  const TestModel good = MakeQuantizedModel("llama");
  EXPECT_EQ(ErrorOf(good), "");
  const std::string q = kQ0;
  const std::string up = kUp1;
  std::vector<std::pair<TestModel, std::string>> cases;
  const auto add = [&](const std::string& expected) -> TestModel& {
    cases.emplace_back(good, expected);
    return cases.back().first;
  };
  add("config.json has no quantization_config").config.erase("quantization_config");
  add(q + ".qweight is there, but modules_to_not_convert")
      .config["quantization_config"]["modules_to_not_convert"] = {"q_proj"};
  add(q + ".qweight: expected I32 [64, 8] by config.json, found F32 [64, 8]")
      .Add(q + ".qweight", DType::kF32, {64, 8});
  add(up + ".scales: expected F16 [2, 96] by config.json, found F16 [96, 2]")
      .Add(up + ".scales", DType::kF16, {96, 2});
  add(up + ".qzeros is missing: I32 [2, 12]").tensors.erase(up + ".qzeros");
  add(up + ".qweight is missing: I32 [64, 12]").tensors.erase(up + ".qweight");
  add("q_proj.qzeros: expected I32 [1, 8] by config.json, found I32 [2, 8]")
      .config["quantization_config"]["group_size"] = 64;
  add("in_features 64 is no multiple of the group size 128")
      .config["quantization_config"]["group_size"] = 128;
  add("not 8-bit").config["quantization_config"]["bits"] = 8;
  add(up + " is there as " + up + ".weight and as " + up + ".qweight")
      .Add(up + ".weight", DType::kF16, {96, 64});
  TestModel& dense = add(up + " is not quantized, but modules_to_not_convert");
  for (const char* part : {".qweight", ".qzeros", ".scales"}) dense.tensors.erase(up + part);
  dense.Add(up + ".weight", DType::kF16, {96, 64});
  for (const auto& [model, expected] : cases) {
    const std::string error = ErrorOf(model);
    EXPECT_NE(error.find(expected), std::string::npos) << expected << "\n -> " << error;
  }
}

TEST(Reader, RefusesATensorOfTwoFiles) {
  const TestModel model = MakeModel("llama");
  const TemporaryDirectory directory;
  const nlohmann::json index = model.WriteSharded(directory.path(), 2);
  EXPECT_EQ(ErrorOf(directory.path()), "");
  model.WriteShard(directory.path() / "part-1.safetensors");  // all of them
  const std::string error = ErrorOf(directory.path());
  EXPECT_NE(error.find("part-1.safetensors: tensor lm_head.weight is there, but"),
            std::string::npos)
      << error;
  EXPECT_NE(error.find("says that it is in part-0.safetensors"), std::string::npos) << error;
}

TEST(Reader, ABadScaleNamesItsFile) {
  TestModel model = MakeQuantizedModel("llama");
  const std::string up = "model.layers.1.mlp.up_proj";
  std::string& scales = model.tensors.at(up + ".scales").bytes;
  scales[0] = scales[1] = 0;
  const TemporaryDirectory directory;
  model.Write(directory.path());
  const auto opened = ModelDirectory::Open(directory.path());
  ASSERT_TRUE(opened.ok()) << opened.error().message;
  const auto packed = (*opened)->Block(1)->linear(model::Role::kUp).packed;
  const std::string expected =
      (directory.path() / "model.safetensors").string() + ": " + up + ".scales: the scale of ";
  const auto unpacked = packed->Unpack();
  ASSERT_FALSE(unpacked.ok());
  EXPECT_TRUE(unpacked.error().message.starts_with(expected)) << unpacked.error().message;
  quant::QuantizedLinear rows{packed->spec(), Matrix<std::uint8_t>(32, 64), Matrix<float>(32, 2),
                              Matrix<std::uint8_t>(32, 2)};
  const Status stripe = packed->UnpackRows(0, rows);
  ASSERT_FALSE(stripe.ok());
  EXPECT_TRUE(stripe.error().message.starts_with(expected)) << stripe.error().message;
}

// In pieces that end within parts and go on in the next.
TEST(Reader, WhatIsFetchedUnpacksAsWhatIsMapped) {
  const TestModel model = MakeQuantizedModel("llama");
  const TemporaryDirectory directory;
  model.Write(directory.path());
  const auto opened = ModelDirectory::Open(directory.path());
  ASSERT_TRUE(opened.ok()) << opened.error().message;
  const auto packed = (*opened)->Block(1)->linear(model::Role::kUp).packed;
  const auto whole = packed->Unpack();
  ASSERT_TRUE(whole.ok()) << whole.error().message;
  for (const std::size_t at_a_time : {std::size_t{7}, std::size_t{1000}, SIZE_MAX}) {
    std::vector<std::byte> fetched(packed->fetched_bytes());
    ASSERT_EQ(fetched.size(), packed->stored_bytes());
    for (std::size_t first = 0, count = 0; first < fetched.size(); first += count) {
      count = std::min(at_a_time, fetched.size() - first);
      ASSERT_TRUE(packed->Fetch(first, std::span(fetched).subspan(first, count)).ok());
    }
    quant::QuantizedLinear rows{packed->spec(),
                                {whole->out_features(), whole->in_features()},
                                {whole->out_features(), whole->groups()},
                                {whole->out_features(), whole->groups()}};
    ASSERT_TRUE(packed->UnpackFetched(fetched, 0, rows).ok());
    EXPECT_TRUE(std::ranges::equal(rows.codes.span(), whole->codes.span())) << at_a_time;
    EXPECT_TRUE(std::ranges::equal(rows.scales.span(), whole->scales.span())) << at_a_time;
    EXPECT_TRUE(std::ranges::equal(rows.zeros.span(), whole->zeros.span())) << at_a_time;
  }
}

// AutoGPTQ and AutoAWQ had a file of their own before config.json told it.
TEST(Reader, TakesOlderQuantizationFiles) {
  TestModel model = MakeQuantizedModel("llama");
  nlohmann::json stated = model.config["quantization_config"];
  model.config.erase("quantization_config");
  stated.erase("quant_method");
  const TemporaryDirectory directory;
  model.Write(directory.path());
  const auto write = [&](const char* name, const nlohmann::json& json) {
    ASSERT_TRUE(io::WriteFileAtomically(directory.path() / name, json.dump()).ok());
  };
  write("quant_config.json",
        {{"zero_point", true}, {"q_group_size", 32}, {"w_bit", 4}, {"version", "GEMM"}});
  const auto opened = ModelDirectory::Open(directory.path());
  ASSERT_TRUE(opened.ok()) << opened.error().message;
  EXPECT_EQ((*opened)->quantization()->format->name, "awq-gemm");
  EXPECT_TRUE((*opened)->Block(1)->linear(model::Role::kUp).is_packed());
  // Without a producer's name: GPTQ, whose tensors have other shapes.
  write("quantize_config.json", {{"bits", 4}, {"group_size", 32}, {"desc_act", false}});
  EXPECT_NE(ErrorOf(directory.path()).find("qweight: expected I32"), std::string::npos)
      << ErrorOf(directory.path());
  write("quantize_config.json", {{"bits", 40}});
  EXPECT_NE(ErrorOf(directory.path()).find("quantize_config.json"), std::string::npos);
  // config.json goes first.
  model.config["quantization_config"] = stated;
  model.config["quantization_config"]["quant_method"] = "awq";
  write("config.json", model.config);
  EXPECT_EQ(ErrorOf(directory.path()), "");
}

TEST(Reader, RefusesDamagedFiles) {
  const TestModel model = MakeModel("llama");
  const TemporaryDirectory directory;
  model.Write(directory.path());
  const fs::path weights = directory.path() / "model.safetensors";
  const auto size = fs::file_size(weights);
  for (const std::uintmax_t cut : {std::uintmax_t{1}, size / 2, size - 10, size - 4, size}) {
    fs::resize_file(weights, size - cut);
    const std::string error = ErrorOf(directory.path());
    EXPECT_NE(error.find("model.safetensors: "), std::string::npos) << cut << " -> " << error;
    model.Write(directory.path());
  }
  EXPECT_EQ(ErrorOf(directory.path()), "");
}

TEST(Reader, RefusesWhatIsNotAModelDirectory) {
  const TemporaryDirectory directory;
  const fs::path& path = directory.path();
  const TestModel model = MakeModel("llama");
  EXPECT_NE(ErrorOf(path / "absent").find("No such file"), std::string::npos);
  EXPECT_NE(ErrorOf(path).find("found no config.json"), std::string::npos);
  ASSERT_TRUE(io::WriteFileAtomically(path / "config.json", "{").ok());
  EXPECT_NE(ErrorOf(path).find("config.json: not valid JSON"), std::string::npos);
  EXPECT_NE(ErrorOf(path / "config.json").find("not a directory"), std::string::npos);
  ASSERT_TRUE(io::WriteFileAtomically(path / "config.json", model.config.dump()).ok());
  EXPECT_NE(ErrorOf(path).find("neither model.safetensors nor"), std::string::npos);
  ASSERT_TRUE(io::WriteFileAtomically(path / "pytorch_model.bin", "pickle").ok());
  EXPECT_NE(ErrorOf(path).find("only pickled weights (pytorch_model.bin)"), std::string::npos);
  fs::create_symlink(path / "model.safetensors", path / "model.safetensors");
  EXPECT_NE(ErrorOf(path).find("model.safetensors: cannot open it"), std::string::npos);
  fs::remove(path / "model.safetensors");
  fs::create_directory(path / "model.safetensors");
  EXPECT_NE(ErrorOf(path).find("Is a directory"), std::string::npos);
  fs::remove(path / "config.json");
  ASSERT_EQ(mkfifo((path / "config.json").c_str(), 0600), 0);
  EXPECT_NE(ErrorOf(path).find("config.json: not a regular file"), std::string::npos);
  fs::remove(path / "config.json");
  fs::create_symlink(path / "config.json", path / "config.json");
  EXPECT_NE(ErrorOf(path).find("config.json: cannot open it"), std::string::npos);
}

TEST(Reader, FollowsLinksToFiles) {  // the hub's cache keeps files elsewhere
  const TemporaryDirectory directory;
  MakeModel("llama").Write(directory.path() / "blobs");
  fs::create_directory(directory.path() / "snapshot");
  for (const char* name : {"config.json", "model.safetensors"}) {
    fs::create_symlink(directory.path() / "blobs" / name, directory.path() / "snapshot" / name);
  }
  EXPECT_EQ(ErrorOf(directory.path() / "snapshot"), "");
}

TEST(Reader, RefusesBadIndexes) {
  const TemporaryDirectory directory;
  const fs::path& path = directory.path();
  const TestModel model = MakeModel("llama");
  const nlohmann::json good = model.WriteSharded(path / "model", 2);
  MakeModel("llama").Write(path);  // a whole model where an escaping index could find it
  const std::string name = std::string(kQ0) + ".weight";
  const auto error_with = [&](const nlohmann::json& index) {
    EXPECT_TRUE(
        io::WriteFileAtomically(path / "model" / "model.safetensors.index.json", index.dump())
            .ok());
    return ErrorOf(path / "model");
  };
  EXPECT_EQ(error_with(good), "");
  for (const std::string& escape :
       {std::string("../model.safetensors"), (path / "model.safetensors").string(),
        std::string("x/../../model.safetensors"), std::string(".."), std::string(""),
        std::string("a\\b.safetensors"), std::string("model.bin"),
        std::string("part-0.safetensors\0x", 20), std::string("nul\0.safetensors", 16)}) {
    nlohmann::json index = good;
    index["weight_map"][name] = escape;
    EXPECT_NE(error_with(index).find("must be the plain name"), std::string::npos) << escape;
  }
  nlohmann::json absent = good;
  absent["weight_map"][name] = "part-9.safetensors";
  EXPECT_NE(error_with(absent).find("part-9.safetensors: cannot open it"), std::string::npos);
  nlohmann::json moved = good;
  const bool is_first = good["weight_map"][name] == "part-0.safetensors";
  moved["weight_map"][name] = is_first ? "part-1.safetensors" : "part-0.safetensors";
  EXPECT_NE(error_with(moved).find("which does not hold it"), std::string::npos);
  nlohmann::json unnamed = good;
  unnamed["weight_map"].erase(name);
  EXPECT_NE(error_with(unnamed).find(name + " is missing"), std::string::npos);
  EXPECT_NE(error_with({{"weight_map", nlohmann::json::array()}}), "");
  EXPECT_NE(error_with(nlohmann::json::array()), "");
}

TEST(Reader, RefusesOneFileOfTwoNames) {
  const TemporaryDirectory directory;
  const fs::path& path = directory.path();
  nlohmann::json index = MakeModel("llama").WriteSharded(path, 2);
  fs::create_symlink("part-0.safetensors", path / "part-2.safetensors");
  index["weight_map"]["extra"] = "part-2.safetensors";
  ASSERT_TRUE(io::WriteFileAtomically(path / "model.safetensors.index.json", index.dump()).ok());
  const std::string error = ErrorOf(path);
  EXPECT_NE(error.find("part-2.safetensors and part-0.safetensors are one and the same file"),
            std::string::npos)
      << error;
}

TEST(Reader, BoundsTheHeadersOfAllShardsTogether) {
  const TemporaryDirectory directory;
  const fs::path& path = directory.path();
  MakeModel("llama").WriteSharded(path, 2);
  constexpr std::size_t kHeaderBytes = 50'000'001;  // two are more than the limit, by one
  std::string length(8, '\0');
  for (std::size_t i = 0; i < length.size(); ++i) {
    length[i] = static_cast<char>(kHeaderBytes >> (8 * i) & 0xff);
  }
  const std::string blank = length + "{" + std::string(kHeaderBytes - 2, ' ') + "}";
  ASSERT_TRUE(io::WriteFileAtomically(path / "a.safetensors", blank).ok());
  ASSERT_TRUE(io::WriteFileAtomically(path / "b.safetensors", blank).ok());
  const nlohmann::json index = {{"weight_map", {{"a", "a.safetensors"}, {"b", "b.safetensors"}}}};
  ASSERT_TRUE(io::WriteFileAtomically(path / "model.safetensors.index.json", index.dump()).ok());
  const std::string error = ErrorOf(path);
  EXPECT_NE(
      error.find("b.safetensors: not a whole safetensors file: the header length is 50000001"),
      std::string::npos)
      << error;
  EXPECT_NE(error.find("49999999 is the most allowed here: the headers of all shards"),
            std::string::npos)
      << error;
}

TEST(Reader, OpensTheGoldenModels) {
  const fs::path models = awq::testing::GoldenDir() / "models";
  std::size_t count = 0;
  for (const fs::directory_entry& entry : fs::directory_iterator(models)) {
    SCOPED_TRACE(entry.path().string());
    const auto opened = ModelDirectory::Open(entry.path());
    ASSERT_TRUE(opened.ok()) << opened.error().message;
    EXPECT_TRUE((*opened)->extra_tensors().empty());
    for (std::size_t layer = 0; layer < (*opened)->config().num_hidden_layers; ++layer) {
      EXPECT_TRUE((*opened)->Block(layer).ok());
    }
    ++count;
  }
  EXPECT_GE(count, 1U);
}

TEST(Reader, OpensRealModels) {
  AWQ_NEEDS_DATA("models");
  for (const char* name : {"stories15M", "stories260K", "minimind2-small"}) {
    const auto opened = ModelDirectory::Open(awq::testing::DataDir() / "models" / name);
    ASSERT_TRUE(opened.ok()) << opened.error().message;
    EXPECT_TRUE((*opened)->Block(0).ok());
  }
}

}  // namespace
}  // namespace awq::checkpoint
