#include "checkpoint/gguf_model.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/error.h"
#include "checkpoint/gguf_config.h"
#include "model/arch.h"
#include "pack/ggml_blocks.h"
#include "text/gguf_tokenizer.h"

namespace awq::checkpoint {

namespace fs = std::filesystem;

namespace {

// Groups that files may have been made of, largest first; 0: whole rows.
constexpr std::array<std::size_t, 7> kSharedGroups = {0, 1024, 512, 256, 128, 64, 32};

}  // namespace

Result<std::unique_ptr<GgufModel>> GgufModel::Open(const fs::path& path) {
  auto model = std::make_unique<GgufModel>();
  model->path_ = path;
  AWQ_ASSIGN(io::GgufFile file, io::GgufFile::Open(path));
  model->file_ = std::move(file);
  AWQ_ASSIGN(const nlohmann::json json, ConfigFromGguf(*model->file_));
  AWQ_ASSIGN(model->config_, model::ParseConfig(json, path.string()));
  AWQ_ASSIGN(const std::string_view arch,
             model->file_->metadata().RequireString("general.architecture"));
  model->arch_ = FindGgufArch(arch);  // ConfigFromGguf knew it
  model->config_json_ = json.dump(2) + "\n";
  for (const io::GgufTensor& tensor : model->file_->tensors()) {
    model->tensors_[tensor.name] = &tensor;
  }
  AWQ_TRY(model->CheckTensors());
  return model;
}

Status GgufModel::CheckTensor(const std::string& name, const Shape& shape, bool is_vector) {
  const auto found = tensors_.find(name);
  if (found == tensors_.end()) {
    return MakeError(ErrorCode::kNotFound, "{}: tensor {} is missing: {} is expected",
                     path_.string(), name, ShapeString(shape));
  }
  const io::GgufTensor& tensor = *found->second;
  if (tensor.shape != shape) {
    return MakeError(ErrorCode::kCorrupt, "{}: tensor {}: expected {} by the metadata, found {} {}",
                     path_.string(), name, ShapeString(shape), tensor.type->name,
                     ShapeString(tensor.shape));
  }
  const bool readable = is_vector
                            ? ElementType(static_cast<GgmlType>(tensor.type->number)).has_value()
                            : pack::CanDequantize(*tensor.type);
  if (!readable) {
    return MakeError(ErrorCode::kUnsupported,
                     "{}: tensor {}: {} cannot be read{}; llama-quantize can convert it to Q8_0",
                     path_.string(), name, tensor.type->name,
                     is_vector ? " for a vector"
                               : " (F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, "
                                 "Q8_0, Q4_K, Q5_K and Q6_K can)");
  }
  used_.insert(name);
  return {};
}

Status GgufModel::CheckLinear(std::size_t layer, const model::LinearRow& row) {
  const std::size_t out_features = model::Width(config_, row.out);
  const std::string name = GgufName(layer, row.role, "weight");
  const std::string bias = GgufName(layer, row.role, "bias");
  AWQ_TRY(CheckTensor(name, {out_features, model::Width(config_, row.in)}, false));
  gguf_names_[model::ModuleName(*config_.arch, layer, row.name)] = name;
  if (model::HasBias(config_, row)) return CheckTensor(bias, {out_features}, true);
  if (!tensors_.contains(bias)) return {};
  return MakeError(ErrorCode::kCorrupt,
                   "{}: tensor {} is there, but layer 0 or other linears have none; leaving it out "
                   "would change the model",
                   path_.string(), bias);
}

Status GgufModel::CheckTensors() {
  const model::ArchSpec& arch = *config_.arch;
  const Shape table = {config_.vocab_size, config_.hidden_size};
  AWQ_TRY(CheckTensor(std::string(kGgufEmbedding), table, false));
  gguf_names_[std::string(arch.embedding)] = kGgufEmbedding;
  AWQ_TRY(CheckTensor(std::string(kGgufFinalNorm), {config_.hidden_size}, true));
  if (!config_.tie_word_embeddings) {
    AWQ_TRY(CheckTensor(std::string(kGgufHead), table, false));
    gguf_names_[std::string(arch.head)] = kGgufHead;
  }
  for (std::size_t layer = 0; layer < config_.num_hidden_layers; ++layer) {
    for (const model::LinearRow& row : arch.linears) AWQ_TRY(CheckLinear(layer, row));
    for (const model::NormRow& row : arch.norms) {
      if (!model::IsPresent(config_, row)) continue;
      AWQ_TRY(CheckTensor(GgufName(layer, row.role, "weight"), {model::Width(config_, row.width)},
                          true));
    }
  }
  used_.insert(std::string(kGgufRopeFactors));  // ConfigFromGguf read it
  for (const auto& [name, tensor] : tensors_) {
    if (!used_.contains(name)) extra_tensors_.push_back(name);
  }
  return {};
}

bool GgufModel::Interleaved(model::Role role) const { return Interleaves(*arch_, role); }

bool GgufModel::IsConverted(const io::GgufTensor& tensor, bool interleaved) const {
  return interleaved || !ElementType(static_cast<GgmlType>(tensor.type->number));
}

std::size_t GgufModel::ConvertedBytes(const io::GgufTensor& tensor, bool interleaved) const {
  if (!IsConverted(tensor, interleaved)) return 0;
  if (ElementType(static_cast<GgmlType>(tensor.type->number))) return tensor.size_bytes;
  return tensor.size_bytes / tensor.type->block_bytes * tensor.type->block_elements * sizeof(float);
}

std::pair<TensorView, GgufModel::Memory> GgufModel::Read(const io::GgufTensor& tensor,
                                                         bool interleaved) const {
  const std::span<const std::byte> stored = file_->Bytes(tensor);
  const auto element = ElementType(static_cast<GgmlType>(tensor.type->number));
  if (!IsConverted(tensor, interleaved)) return {{*element, tensor.shape, stored}, nullptr};
  const std::size_t rows = tensor.shape[0];
  const std::size_t stored_row = stored.size() / rows;
  const std::size_t bytes = ConvertedBytes(tensor, interleaved);
  auto memory = std::make_shared<Buffer<std::byte>>(bytes);
  for (std::size_t row = 0; row < rows; ++row) {
    const std::size_t from = interleaved ? InterleavedRow(row, config_.head_dim) : row;
    const std::span<const std::byte> source = stored.subspan(from * stored_row, stored_row);
    std::byte* to = memory->data() + row * (bytes / rows);
    if (element) {
      std::memcpy(to, source.data(), source.size());
    } else {
      pack::DequantizeBlocks(*tensor.type, source,
                             {reinterpret_cast<float*>(to), bytes / rows / sizeof(float)});
    }
  }
  return {{element.value_or(DType::kF32), tensor.shape, memory->span()}, memory};
}

model::Linear GgufModel::WithoutWeight(std::size_t layer, const model::LinearRow& row) const {
  model::Linear linear;
  linear.name = model::ModuleName(*config_.arch, layer, row.name);
  linear.out_features = model::Width(config_, row.out);
  linear.in_features = model::Width(config_, row.in);
  if (model::HasBias(config_, row)) {
    auto [bias, memory] = Read(Tensor(GgufName(layer, row.role, "bias")), Interleaved(row.role));
    linear.bias = std::move(bias);
    linear.bias_memory = std::move(memory);
  }
  return linear;
}

void GgufModel::ReadWeight(std::size_t layer, const model::LinearRow& row,
                           model::Linear& linear) const {
  std::tie(linear.weight, linear.memory) =
      Read(Tensor(GgufName(layer, row.role, "weight")), Interleaved(row.role));
}

Result<model::BlockWeights> GgufModel::WithoutWeights(std::size_t layer) const {
  AWQ_TRY(CheckLayer(layer));
  model::BlockWeights block;
  for (const model::LinearRow& row : config_.arch->linears) {
    block.linears[static_cast<std::size_t>(row.role)] = WithoutWeight(layer, row);
  }
  for (const model::NormRow& row : config_.arch->norms) {
    if (!model::IsPresent(config_, row)) continue;
    block.norms[static_cast<std::size_t>(row.role)] =
        Read(Tensor(GgufName(layer, row.role, "weight")), false).first;
  }
  return block;
}

Result<model::BlockWeights> GgufModel::Block(std::size_t layer) const {
  AWQ_ASSIGN(model::BlockWeights block, WithoutWeights(layer));
  for (const model::LinearRow& row : config_.arch->linears) {
    ReadWeight(layer, row, block.linear(row.role));
  }
  return block;
}

TensorView GgufModel::Table(std::string_view name, Memory& memory) const {
  const io::GgufTensor& tensor = *tensors_.find(name)->second;
  const std::lock_guard lock(mutex_);
  if (memory) return {DType::kF32, tensor.shape, memory->span()};
  auto [view, made] = Read(tensor, false);
  memory = std::move(made);
  return view;
}

Result<TensorView> GgufModel::Embedding() const { return Table(kGgufEmbedding, embedding_); }

Result<TensorView> GgufModel::FinalNorm() const {
  return Read(Tensor(std::string(kGgufFinalNorm)), false).first;
}

Result<TensorView> GgufModel::Head() const {
  return config_.tie_word_embeddings ? Embedding() : Table(kGgufHead, head_);
}

bool GgufModel::ShareScales(std::size_t group_size) const {
  for (std::size_t layer = 0; layer < config_.num_hidden_layers; ++layer) {
    for (const model::LinearRow& row : config_.arch->linears) {
      if (IsOfFloats(layer, row.role)) continue;
      const io::GgufTensor& tensor = Tensor(GgufName(layer, row.role, "weight"));
      const std::size_t columns = tensor.shape[1];
      if (group_size != 0 && columns % group_size != 0) return false;
      const std::span<const std::byte> blocks = file_->Bytes(tensor);
      if (!pack::ShareScales(*tensor.type, blocks, group_size == 0 ? columns : group_size)) {
        return false;
      }
    }
    Release(layer);
  }
  return true;
}

bool GgufModel::IsOfFloats(std::size_t layer, model::Role role) const {
  const io::GgufTensor& tensor = Tensor(GgufName(layer, role, "weight"));
  return ElementType(static_cast<GgmlType>(tensor.type->number)).has_value();
}

Result<quant::Spec> GgufModel::BlocksSpec() const {
  const io::GgufTensor* first = nullptr;
  for (std::size_t layer = 0; layer < config_.num_hidden_layers; ++layer) {
    for (const model::LinearRow& row : config_.arch->linears) {
      const io::GgufTensor& tensor = Tensor(GgufName(layer, row.role, "weight"));
      if (IsOfFloats(layer, row.role)) continue;
      if (first == nullptr) first = &tensor;
      if (tensor.type == first->type && pack::SpecOf(*tensor.type)) continue;
      return MakeError(
          ErrorCode::kUnsupported,
          "{}: tensor {} is {}{}: only where all linears are Q4_0, or all Q4_1, or all "
          "Q8_0 are there codes that another format holds; awq quantize makes some "
          "of the weights",
          path_.string(), tensor.name, tensor.type->name,
          tensor.type == first->type
              ? std::string()
              : fmt::format(" and {} is {}", first->name, first->type->name));
    }
  }
  if (first != nullptr) return *pack::SpecOf(*first->type);
  return MakeError(ErrorCode::kUnsupported,
                   "{}: all linears are floats: there are no codes that another format could hold; "
                   "awq quantize makes some of the weights",
                   path_.string());
}

Result<quant::Spec> GgufModel::CodesSpec() const {
  AWQ_ASSIGN(quant::Spec spec, BlocksSpec());
  for (const std::size_t size : kSharedGroups) {
    if (!ShareScales(size)) continue;
    spec.group_size = size;
    break;
  }
  return spec;
}

Result<GgufModel::Codes> GgufModel::CodesOf(ThreadPool& pool, std::size_t layer,
                                            const model::LinearRow& row,
                                            const quant::Spec& spec) const {
  const io::GgufTensor& tensor = Tensor(GgufName(layer, row.role, "weight"));
  const std::span<const std::byte> blocks = file_->Bytes(tensor);
  const std::size_t rows = tensor.shape[0];
  const std::size_t columns = tensor.shape[1];
  const std::size_t group_size = spec.group_size == 0 ? columns : spec.group_size;
  const std::size_t groups = columns / group_size;
  const bool interleaved = Interleaved(row.role);
  const std::string name = fmt::format("{} of {}", tensor.name, path_.string());  // in errors
  Codes codes{{spec, {rows, columns}, {rows, groups}, {rows, groups}}, {}};
  codes.linear.spec.group_size = group_size;
  std::vector<pack::RowChanges> changes(pool.size());
  AWQ_TRY(TryParallelFor(pool, rows, [&](std::size_t r, std::size_t worker) -> Status {
    const std::size_t from = interleaved ? InterleavedRow(r, config_.head_dim) : r;
    AWQ_ASSIGN(
        const pack::RowChanges row_changes,
        pack::DecodeCodes(*tensor.type,
                          blocks.subspan(from * (blocks.size() / rows), blocks.size() / rows),
                          {{codes.linear.codes.row(r), columns},
                           {codes.linear.scales.row(r), groups},
                           {codes.linear.zeros.row(r), groups},
                           group_size},
                          name));
    changes[worker].Add(row_changes);
    return {};
  }));
  for (const pack::RowChanges& each : changes) codes.changes.Add(each);
  return codes;
}

void GgufModel::Release(std::size_t layer) const {
  const std::string prefix = fmt::format("blk.{}.", layer);
  for (auto entry = tensors_.lower_bound(prefix);
       entry != tensors_.end() && entry->first.starts_with(prefix); ++entry) {
    file_->file()->Release(file_->Bytes(*entry->second));
  }
}

void GgufModel::ReleaseAll() const { file_->file()->Release(file_->file()->bytes()); }

std::size_t GgufModel::weight_bytes() const {
  std::size_t bytes = 0;
  for (const io::GgufTensor& tensor : file_->tensors()) bytes += tensor.size_bytes;
  return bytes;
}

std::optional<StoredModel::StoredForm> GgufModel::ConvertedForm(std::string_view module) const {
  const auto name = gguf_names_.find(module);
  if (name == gguf_names_.end()) return std::nullopt;
  const io::GgufTensor& tensor = Tensor(name->second);
  const pack::BlockForm form = pack::FormOf(*tensor.type);
  return StoredForm{form.bits, form.group_size, tensor.size_bytes, tensor.type->block_elements};
}

std::size_t GgufModel::converted_bytes() const {
  std::size_t tables = ConvertedBytes(Tensor(std::string(kGgufEmbedding)), false);
  if (!config_.tie_word_embeddings) tables += ConvertedBytes(Tensor(std::string(kGgufHead)), false);
  std::size_t most = 0;
  for (std::size_t layer = 0; layer < config_.num_hidden_layers; ++layer) {
    std::size_t block = 0;
    for (const model::LinearRow& row : config_.arch->linears) {
      block += ConvertedBytes(Tensor(GgufName(layer, row.role, "weight")), Interleaved(row.role));
    }
    most = std::max(most, block);
  }
  return tables + most;
}

std::string GgufModel::storage() const {
  std::map<std::string_view, std::size_t> bytes_of;
  for (const auto& [module, name] : gguf_names_) {
    const io::GgufTensor& tensor = Tensor(name);
    bytes_of[tensor.type->name] += tensor.size_bytes;
  }
  std::vector<std::pair<std::size_t, std::string_view>> types;
  for (const auto& [type, bytes] : bytes_of) types.emplace_back(bytes, type);
  std::sort(types.rbegin(), types.rend());
  std::string text = "GGUF";
  for (const auto& [bytes, type] : types) text += fmt::format(", {}", type);
  return text;
}

Result<std::optional<std::string>> GgufModel::SmallFile(std::string_view name) const {
  if (name == "config.json") return std::optional(config_json_);
  if (name == "quantization_report.json") {
    AWQ_ASSIGN(const auto report, file_->metadata().String(kGgufReport));
    return report ? std::optional<std::string>(*report) : std::nullopt;
  }
  const bool is_config = name == "tokenizer_config.json";
  if (name != "tokenizer.json" && !is_config) return std::optional<std::string>();
  AWQ_ASSIGN(text::TokenizerFiles files, text::TokenizerFromGguf(file_->metadata()));
  return std::optional(is_config ? std::move(files.config) : std::move(files.tokenizer));
}

}  // namespace awq::checkpoint
