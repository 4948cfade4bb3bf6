#include "pipeline/write_gguf.h"

#include <algorithm>
#include <array>
#include <optional>
#include <utility>
#include <vector>

#include "base/error.h"
#include "checkpoint/gguf_config.h"
#include "checkpoint/gguf_names.h"
#include "io/gguf_writer.h"
#include "math/vector.h"
#include "pack/ggml_blocks.h"
#include "pipeline/convert.h"
#include "pipeline/directory_files.h"
#include "pipeline/report.h"
#include "text/gguf_tokenizer.h"

namespace awq::pipeline {
namespace {

using model::Role;

constexpr std::size_t kPieceElements = std::size_t{1} << 22;  // encoded before they are written
constexpr std::uint32_t kQuantizationVersion = 2;             // of ggml's blocks

// What llama.cpp calls a file after the type of most of its tensors.
constexpr std::array<std::pair<GgmlType, std::uint32_t>, 6> kFileTypes = {{
    {GgmlType::kF32, 0},
    {GgmlType::kF16, 1},
    {GgmlType::kQ4_0, 2},
    {GgmlType::kQ4_1, 3},
    {GgmlType::kQ8_0, 7},
    {GgmlType::kBF16, 32},
}};

bool IsWritten(GgmlType type) {
  return std::any_of(kFileTypes.begin(), kFileTypes.end(),
                     [&](const auto& row) { return row.first == type; });
}

Status AddTokenizer(const checkpoint::StoredModel& model, ProgressSink* progress,
                    io::GgufBuilder& builder) {
  AWQ_ASSIGN(const auto tokenizer, model.SmallFile("tokenizer.json"));
  AWQ_ASSIGN(const auto config, model.SmallFile("tokenizer_config.json"));
  AWQ_ASSIGN(const auto chat, CopiedFile(model, "chat_template.jinja", progress));
  const std::string name = model.path().string();
  if (!tokenizer) {
    return MakeError(ErrorCode::kNotFound, "{}: there is no tokenizer.json, which GGUF holds too",
                     name);
  }
  return text::AddTokenizerToGguf(
      {.tokenizer = *tokenizer, .config = config.value_or(""), .chat_template = chat.value_or("")},
      model.config().vocab_size, name, builder);
}

class Export {
 public:
  Export(ThreadPool& pool, const checkpoint::StoredModel& model, const GgufOptions& options)
      : pool_(pool), model_(model), config_(model.config()), options_(options) {}

  Result<GgufReport> Write(const std::filesystem::path& output) {
    const GgmlType linears = options_.linears.value_or(GgmlType::kF16);
    const GgmlType plain = options_.plain.value_or(GgmlType::kF16);
    if (!IsWritten(linears) || !IsWritten(plain) || InfoOf(plain).block_elements != 1) {
      return MakeError(ErrorCode::kInvalidArgument,
                       "GGUF: {} for linears and {} for the others cannot be written",
                       InfoOf(linears).name, InfoOf(plain).name);
    }
    AWQ_TRY(Declare(output));
    if (!options_.lossy) AWQ_TRY(CheckLossless());
    AWQ_ASSIGN(io::GgufWriter writer, io::GgufWriter::Create(output, std::move(builder_)));
    writer_ = &writer;
    AWQ_TRY(WriteTables());
    for (std::size_t layer = 0; layer < config_.num_hidden_layers; ++layer) {
      Tell("writing", layer);
      AWQ_TRY(WriteBlock(layer));
      model_.Release(layer);
    }
    AWQ_TRY(writer.Finish());
    Tell("writing", config_.num_hidden_layers);
    report_.file_bytes = writer.file_bytes();
    return report_;
  }

 private:
  bool Interleaved(Role role) const {
    return checkpoint::Interleaves(*checkpoint::GgufArchOf(config_.model_type), role);
  }

  Result<GgmlType> TypeOf(const model::Linear& linear) const {
    if (linear.is_packed()) {
      return pack::BlockTypeOf(linear.packed->spec(), linear.in_features, linear.name);
    }
    const GgmlType wanted = options_.linears.value_or(PlainType(linear.weight.dtype));
    const bool fits = linear.in_features % InfoOf(wanted).block_elements == 0;
    return fits ? wanted : PlainType(linear.weight.dtype);
  }

  GgmlType PlainType(DType stored) const {
    if (options_.plain) return *options_.plain;
    if (stored == DType::kBF16) return GgmlType::kBF16;
    return stored == DType::kF32 ? GgmlType::kF32 : GgmlType::kF16;
  }

  void Tell(std::string_view stage, std::size_t layer) const {
    Report(options_.progress, stage, layer, config_.num_hidden_layers, "blocks");
  }

  // Nothing is written that is not what the model has.
  Status CheckLossless() {
    for (std::size_t layer = 0; layer < config_.num_hidden_layers; ++layer) {
      Tell("checking", layer);
      AWQ_ASSIGN(const model::BlockWeights block, model_.Block(layer));
      for (const model::LinearRow& row : config_.arch->linears) {
        const model::Linear& linear = block.linear(row.role);
        if (linear.is_packed()) AWQ_TRY(CountChanges(linear));
      }
      model_.Release(layer);
    }
    Tell("checking", config_.num_hidden_layers);
    if (report_.changes.empty()) {
      report_ = {};
      return {};
    }
    return WouldChange(model_.path(), "gguf", report_.changes);
  }

  Status CountChanges(const model::Linear& linear) {
    AWQ_ASSIGN(const GgmlType type, TypeOf(linear));
    AWQ_ASSIGN(const quant::QuantizedLinear codes, linear.packed->Unpack());
    const GgmlTypeRow& info = InfoOf(type);
    const std::size_t row_bytes = linear.in_features / info.block_elements * info.block_bytes;
    Matrix<std::byte> scratch(pool_.size(), row_bytes);
    std::vector<pack::RowChanges> changes(pool_.size());
    AWQ_TRY(TryParallelFor(
        pool_, linear.out_features, [&](std::size_t row, std::size_t worker) -> Status {
          AWQ_ASSIGN(const pack::RowChanges row_changes,
                     pack::EncodeCodes(type, Coded(codes, row), {scratch.row(worker), row_bytes},
                                       linear.name));
          changes[worker].Add(row_changes);
          return {};
        }));
    NoteChanges(linear.name, codes, changes);
    return {};
  }

  void NoteChanges(const std::string& name, const quant::QuantizedLinear& codes,
                   std::span<const pack::RowChanges> of_workers) {
    pack::RowChanges changes;
    for (const pack::RowChanges& each : of_workers) changes.Add(each);
    report_.changed_groups += changes.groups;
    report_.moved.scales.Add(changes.scales);
    report_.moved.minima.Add(changes.minima);
    if (changes.groups == 0) return;
    report_.changes.push_back(fmt::format("{}: scales or minima of {} of {} groups rounded to fp16",
                                          name, changes.groups,
                                          codes.out_features() * codes.groups()));
  }

  static pack::CodedRow Coded(const quant::QuantizedLinear& linear, std::size_t row) {
    const std::size_t groups = linear.groups();
    return {{linear.codes.row(row), linear.in_features()},
            {linear.scales.row(row), groups},
            {linear.zeros.row(row), groups},
            linear.in_features() / groups};
  }

  // The header: all that is known before any weight is read.
  Status Declare(const std::filesystem::path& output) {
    AWQ_TRY(checkpoint::AddConfigToGguf(config_, builder_));
    builder_.AddString("general.name", output.stem().string());
    AWQ_TRY(DeclareTensors());
    builder_.AddU32("general.quantization_version", kQuantizationVersion);
    for (const auto& [type, number] : kFileTypes) {
      if (type == most_) builder_.AddU32("general.file_type", number);
    }
    AWQ_ASSIGN(const auto report, model_.SmallFile(kReportName));
    if (report) builder_.AddString(checkpoint::kGgufReport, *report);
    return AddTokenizer(model_, options_.progress, builder_);
  }

  Status DeclareTensors() {
    const Shape table = {config_.vocab_size, config_.hidden_size};
    AWQ_ASSIGN(const TensorView embedding, model_.Embedding());
    AWQ_TRY(builder_.AddTensor(std::string(checkpoint::kGgufEmbedding), PlainType(embedding.dtype),
                               table));
    AWQ_TRY(builder_.AddTensor(std::string(checkpoint::kGgufFinalNorm), GgmlType::kF32,
                               {config_.hidden_size}));
    if (!config_.tie_word_embeddings) {
      AWQ_ASSIGN(const TensorView head, model_.Head());
      AWQ_TRY(builder_.AddTensor(std::string(checkpoint::kGgufHead), PlainType(head.dtype), table));
    }
    factors_ = checkpoint::RopeFactors(config_);
    if (!factors_.empty()) {
      AWQ_TRY(builder_.AddTensor(std::string(checkpoint::kGgufRopeFactors), GgmlType::kF32,
                                 {factors_.size()}));
    }
    for (std::size_t layer = 0; layer < config_.num_hidden_layers; ++layer) {
      AWQ_TRY(DeclareBlock(layer));
    }
    return {};
  }

  Status DeclareBlock(std::size_t layer) {
    AWQ_ASSIGN(const model::BlockWeights block, model_.Block(layer));
    for (const model::NormRow& row : config_.arch->norms) {
      const auto& norm = block.norm(row.role);
      if (!norm) continue;
      AWQ_TRY(builder_.AddTensor(checkpoint::GgufName(layer, row.role, "weight"), GgmlType::kF32,
                                 norm->shape));
    }
    for (const model::LinearRow& row : config_.arch->linears) {
      const model::Linear& linear = block.linear(row.role);
      AWQ_ASSIGN(const GgmlType type, TypeOf(linear));
      if (layer == 0 && row.role == Role::kQ) most_ = type;
      AWQ_TRY(builder_.AddTensor(checkpoint::GgufName(layer, row.role, "weight"), type,
                                 {linear.out_features, linear.in_features}));
      if (!linear.bias) continue;
      AWQ_TRY(builder_.AddTensor(checkpoint::GgufName(layer, row.role, "bias"), GgmlType::kF32,
                                 linear.bias->shape));
    }
    return {};
  }

  Status WriteTables() {
    AWQ_ASSIGN(const TensorView embedding, model_.Embedding());
    AWQ_TRY(WriteDense(std::string(checkpoint::kGgufEmbedding), embedding,
                       PlainType(embedding.dtype), false));
    model_.ReleaseAll();
    AWQ_ASSIGN(const TensorView norm, model_.FinalNorm());
    AWQ_TRY(WriteVector(std::string(checkpoint::kGgufFinalNorm), norm, false));
    if (!factors_.empty()) {
      AWQ_TRY(writer_->Write(checkpoint::kGgufRopeFactors, 0, std::as_bytes(std::span(factors_))));
    }
    if (config_.tie_word_embeddings) return {};
    AWQ_ASSIGN(const TensorView head, model_.Head());
    AWQ_TRY(WriteDense(std::string(checkpoint::kGgufHead), head, PlainType(head.dtype), false));
    model_.ReleaseAll();
    return {};
  }

  Status WriteBlock(std::size_t layer) {
    AWQ_ASSIGN(const model::BlockWeights block, model_.Block(layer));
    for (const model::NormRow& row : config_.arch->norms) {
      const auto& norm = block.norm(row.role);
      if (!norm) continue;
      AWQ_TRY(WriteVector(checkpoint::GgufName(layer, row.role, "weight"), *norm, false));
    }
    for (const model::LinearRow& row : config_.arch->linears) {
      const model::Linear& linear = block.linear(row.role);
      const std::string name = checkpoint::GgufName(layer, row.role, "weight");
      const bool interleaved = Interleaved(row.role);
      AWQ_ASSIGN(const GgmlType type, TypeOf(linear));
      if (linear.is_packed()) {
        AWQ_TRY(WriteCodes(name, linear, type, interleaved));
      } else {
        AWQ_TRY(WriteDense(name, linear.weight, type, interleaved));
      }
      if (!linear.bias) continue;
      AWQ_TRY(
          WriteVector(checkpoint::GgufName(layer, row.role, "bias"), *linear.bias, interleaved));
    }
    return {};
  }

  // A norm or bias, as floats.
  Status WriteVector(const std::string& name, const TensorView& vector, bool interleaved) {
    std::vector<float> values(vector.elements());
    math::Convert(vector, std::span<float>(values));
    std::vector<float> moved(values.size());
    for (std::size_t row = 0; row < values.size(); ++row) {
      moved[Place(row, interleaved)] = values[row];
    }
    return writer_->Write(name, 0, std::as_bytes(std::span(moved)));
  }

  std::size_t Place(std::size_t row, bool interleaved) const {
    return interleaved ? checkpoint::InterleavedRow(row, config_.head_dim) : row;
  }

  Status WriteDense(const std::string& name, const TensorView& weight, GgmlType type,
                    bool interleaved) {
    const std::size_t cols = weight.shape[1];
    const std::size_t row_bytes = cols * ElementBytes(weight.dtype);
    return WriteRows(name, weight.shape[0], cols, type, interleaved,
                     [&](std::size_t row, std::span<std::byte> blocks, std::size_t) -> Status {
                       const TensorView stored{
                           weight.dtype, {cols}, weight.bytes.subspan(row * row_bytes, row_bytes)};
                       std::vector<float> values(cols);
                       math::Convert(stored, std::span<float>(values));
                       return pack::EncodeBlocks(type, values, blocks, name);
                     });
  }

  Status WriteCodes(const std::string& name, const model::Linear& linear, GgmlType type,
                    bool interleaved) {
    AWQ_ASSIGN(const quant::QuantizedLinear codes, linear.packed->Unpack());
    ++report_.linears;
    report_.groups += codes.out_features() * codes.groups();
    std::vector<pack::RowChanges> changes(pool_.size());
    AWQ_TRY(
        WriteRows(name, codes.out_features(), codes.in_features(), type, interleaved,
                  [&](std::size_t row, std::span<std::byte> blocks, std::size_t worker) -> Status {
                    AWQ_ASSIGN(const pack::RowChanges row_changes,
                               pack::EncodeCodes(type, Coded(codes, row), blocks, name));
                    changes[worker].Add(row_changes);
                    return {};
                  }));
    NoteChanges(linear.name, codes, changes);
    return {};
  }

  // Encodes rows side by side, a piece of the tensor at a time. `encode` is given a row of the
  // model, the blocks of its place in the file, and the worker.
  template <class Encode>
  Status WriteRows(const std::string& name, std::size_t rows, std::size_t cols, GgmlType type,
                   bool interleaved, const Encode& encode) {
    const GgmlTypeRow& info = InfoOf(type);
    const std::size_t row_bytes = cols / info.block_elements * info.block_bytes;
    // Rows only move within a head.
    const std::size_t unit = interleaved ? config_.head_dim : 1;
    const std::size_t piece = std::min(rows, std::max(unit, kPieceElements / cols / unit * unit));
    Buffer<std::byte> blocks(piece * row_bytes);
    for (std::size_t first = 0; first < rows; first += piece) {
      const std::size_t count = std::min(piece, rows - first);
      AWQ_TRY(TryParallelFor(pool_, count, [&](std::size_t i, std::size_t worker) {
        const std::size_t place = Place(first + i, interleaved) - first;
        return encode(first + i, blocks.span().subspan(place * row_bytes, row_bytes), worker);
      }));
      AWQ_TRY(writer_->Write(name, first * row_bytes, blocks.span().first(count * row_bytes)));
    }
    return {};
  }

  ThreadPool& pool_;
  const checkpoint::StoredModel& model_;
  const model::ModelConfig& config_;
  const GgufOptions& options_;
  io::GgufBuilder builder_;
  GgmlType most_ = GgmlType::kF16;
  std::vector<float> factors_;
  io::GgufWriter* writer_ = nullptr;
  GgufReport report_;
};

}  // namespace

Status CheckGguf(const checkpoint::StoredModel& model) {
  io::GgufBuilder builder;
  AWQ_TRY(checkpoint::AddConfigToGguf(model.config(), builder));
  return AddTokenizer(model, nullptr, builder);
}

Result<GgufReport> WriteGguf(ThreadPool& pool, const checkpoint::StoredModel& model,
                             const std::filesystem::path& output, const GgufOptions& options) {
  return Export(pool, model, options).Write(output);
}

}  // namespace awq::pipeline
