// Small model directories, built in memory so that tests can spoil them before writing them.
#pragma once

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <vector>

#include "io/file.h"
#include "io/safetensors.h"
#include "model/arch.h"
#include "model/config.h"
#include "pack/format.h"

namespace awq::checkpoint::testing {

struct TestTensor {
  DType dtype = DType::kF32;
  Shape shape;
  std::string bytes;
};

struct TestModel {
  nlohmann::json config;
  std::map<std::string, TestTensor> tensors;

  void Add(const std::string& name, DType dtype, Shape shape) {
    std::size_t size_bytes = ElementBytes(dtype);
    for (const std::size_t extent : shape) size_bytes *= extent;
    TestTensor tensor{dtype, std::move(shape), std::string(size_bytes, '\0')};
    // Bytes below 0x3c make every kind of float finite.
    std::mt19937 random(static_cast<unsigned>(tensors.size()));
    for (char& byte : tensor.bytes) byte = static_cast<char>(random() % 0x3c);
    tensors[name] = std::move(tensor);
  }

  // Replaces "<module>.weight" by the parts of a random quantized linear, which is returned.
  quant::QuantizedLinear Quantize(const std::string& module, const quant::Spec& spec) {
    const Shape shape = tensors.at(module + ".weight").shape;
    const std::size_t groups = shape[1] / spec.group_size;
    quant::QuantizedLinear linear{spec, Matrix<std::uint8_t>(shape[0], shape[1]),
                                  Matrix<float>(shape[0], groups),
                                  Matrix<std::uint8_t>(shape[0], groups, 8)};
    std::mt19937 random(static_cast<unsigned>(module.size()));
    for (auto& scale : linear.scales.span()) {
      scale = RoundToF16(0.005F + 1e-5F * static_cast<float>(random() % 1000));
    }
    for (auto& zero : linear.zeros.span()) {
      if (!spec.symmetric) zero = static_cast<std::uint8_t>(random() % 16);
    }
    for (auto& code : linear.codes.span()) code = static_cast<std::uint8_t>(random() % 16);
    tensors.erase(module + ".weight");
    const auto parts = pack::Pack(*pack::FindFormat("awq-gemm"), linear, module).value();
    for (const pack::PackedPart& part : parts) {
      tensors[module + "." + std::string(part.info.suffix)] = {
          part.info.dtype, part.info.shape,
          std::string(reinterpret_cast<const char*>(part.bytes.data()), part.bytes.size())};
    }
    return linear;
  }

  // One file of the tensors whose index is `rest` modulo `shards`.
  void WriteShard(const std::filesystem::path& path, std::size_t shards = 1,
                  std::size_t rest = 0) const {
    std::vector<io::TensorInfo> infos;
    std::string data;
    std::size_t index = 0;
    for (const auto& [name, tensor] : tensors) {
      if (index++ % shards != rest) continue;
      infos.push_back({name, tensor.dtype, tensor.shape, 0, tensor.bytes.size()});
      data += tensor.bytes;
    }
    const std::string header = io::BuildSafetensorsHeader(infos);
    ASSERT_TRUE(io::WriteFileAtomically(path, header + data).ok());
  }

  void Write(const std::filesystem::path& directory) const {
    std::filesystem::create_directories(directory);
    ASSERT_TRUE(io::WriteFileAtomically(directory / "config.json", config.dump()).ok());
    WriteShard(directory / "model.safetensors");
  }

  // The same as several files and an index, which is returned too.
  nlohmann::json WriteSharded(const std::filesystem::path& directory, std::size_t shards) const {
    std::filesystem::create_directories(directory);
    EXPECT_TRUE(io::WriteFileAtomically(directory / "config.json", config.dump()).ok());
    nlohmann::json index;
    for (std::size_t shard = 0; shard < shards; ++shard) {
      const std::string file = fmt::format("part-{}.safetensors", shard);
      WriteShard(directory / file, shards, shard);
      std::size_t i = 0;
      for (const auto& [name, tensor] : tensors) {
        if (i++ % shards == shard) index["weight_map"][name] = file;
      }
    }
    EXPECT_TRUE(
        io::WriteFileAtomically(directory / "model.safetensors.index.json", index.dump()).ok());
    return index;
  }
};

// A model of two layers with every tensor that the architecture names.
inline TestModel MakeModel(const std::string& model_type, bool tied = false) {
  TestModel model;
  model.config = {{"model_type", model_type},
                  {"hidden_size", 64},
                  {"intermediate_size", 96},
                  {"num_hidden_layers", 2},
                  {"num_attention_heads", 4},
                  {"num_key_value_heads", 2},
                  {"head_dim", 16},
                  {"vocab_size", 40},
                  {"rms_norm_eps", 1e-5},
                  {"max_position_embeddings", 64},
                  {"tie_word_embeddings", tied}};
  const auto parsed = model::ParseConfig(model.config, "config.json");
  EXPECT_TRUE(parsed.ok());
  const model::ModelConfig& config = *parsed;
  const model::ArchSpec& arch = *config.arch;
  const Shape table = {config.vocab_size, config.hidden_size};
  model.Add(std::string(arch.embedding) + ".weight", DType::kF16, table);
  model.Add(std::string(arch.final_norm) + ".weight", DType::kF32, {config.hidden_size});
  if (!tied) model.Add(std::string(arch.head) + ".weight", DType::kBF16, table);
  for (std::size_t layer = 0; layer < config.num_hidden_layers; ++layer) {
    for (const model::LinearRow& row : arch.linears) {
      const std::string module = model::ModuleName(arch, layer, row.name);
      const std::size_t out = model::Width(config, row.out);
      model.Add(module + ".weight", DType::kBF16, {out, model::Width(config, row.in)});
      if (model::HasBias(config, row)) model.Add(module + ".bias", DType::kF16, {out});
    }
    for (const model::NormRow& row : arch.norms) {
      if (!model::IsPresent(config, row)) continue;
      model.Add(model::ModuleName(arch, layer, row.name) + ".weight", DType::kBF16,
                {model::Width(config, row.width)});
    }
  }
  return model;
}

// All linears of all layers packed in groups of 32.
inline TestModel MakeQuantizedModel(const std::string& model_type) {
  TestModel model = MakeModel(model_type);
  model.config["quantization_config"] = {
      {"quant_method", "awq"}, {"bits", 4},         {"group_size", 32},
      {"zero_point", true},    {"version", "gemm"}, {"modules_to_not_convert", nullptr}};
  for (std::size_t layer = 0; layer < 2; ++layer) {
    for (const model::LinearRow& row : model::FindArch(model_type)->linears) {
      model.Quantize(model::ModuleName(*model::FindArch(model_type), layer, row.name),
                     {4, 32, false});
    }
  }
  return model;
}

}  // namespace awq::checkpoint::testing
