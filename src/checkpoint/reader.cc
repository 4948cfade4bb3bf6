#include "checkpoint/reader.h"

#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <numeric>
#include <optional>
#include <set>
#include <utility>

#include "base/error.h"
#include "io/json.h"
#include "io/shard_index.h"
#include "model/arch.h"
#include "pack/format.h"

namespace awq::checkpoint {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMaxConfigBytes = std::size_t{16} << 20;
constexpr std::size_t kMaxIndexBytes = std::size_t{64} << 20;
constexpr std::array kFloats = {DType::kF32, DType::kF16, DType::kBF16};

// Something of this name is there, be it a dangling link: opening it then says what is wrong.
bool Present(const fs::path& path) {
  std::error_code ignored;
  return fs::symlink_status(path, ignored).type() != fs::file_type::not_found;
}

// A small file of the directory. A pipe in its place would hang us.
Result<std::string> ReadSmall(const fs::path& path, std::size_t limit_bytes) {
  std::error_code failure;
  const fs::file_status status = fs::status(path, failure);
  if (failure) return io::SystemError(path, "open it", failure.value());
  if (status.type() != fs::file_type::regular) {
    return MakeError(ErrorCode::kCorrupt, "{}: not a regular file", path.string());
  }
  return io::ReadFile(path, limit_bytes);
}

// One large file behind thousands of names would be parsed as often.
Status CheckShardsDiffer(const fs::path& directory,
                         const std::map<std::string, std::string>& weight_map,
                         const fs::path& index) {
  std::set<std::string> names;
  std::map<std::pair<dev_t, ino_t>, std::string> files;
  for (const auto& [tensor, name] : weight_map) {
    struct stat status {};
    if (!names.insert(name).second || stat((directory / name).c_str(), &status) != 0) continue;
    const auto [first, is_new] = files.emplace(std::pair(status.st_dev, status.st_ino), name);
    if (is_new) continue;
    return MakeError(ErrorCode::kCorrupt, "{}: its files {} and {} are one and the same file",
                     index.string(), first->second, name);
  }
  return {};
}

// Why a directory without safetensors cannot be read.
Error NoWeights(const fs::path& directory) {
  std::error_code ignored;
  for (const fs::directory_entry& entry : fs::directory_iterator(directory, ignored)) {
    const std::string extension = entry.path().extension().string();
    if (extension == ".bin" || extension == ".pt" || extension == ".pth") {
      return MakeError(ErrorCode::kUnsupported,
                       "{}: only pickled weights ({}), which can run code when they are loaded; "
                       "convert them with transformers: AutoModelForCausalLM.from_pretrained(...)"
                       ".save_pretrained(...) writes safetensors",
                       directory.string(), entry.path().filename().string());
    }
  }
  return MakeError(ErrorCode::kNotFound,
                   "{}: neither model.safetensors nor model.safetensors.index.json is there",
                   directory.string());
}

// A packed linear whose parts are mapped; keeps their files alive.
class MappedSource final : public model::PackedSource {
 public:
  struct Part {
    std::shared_ptr<const io::MappedFile> file;
    TensorView view;
  };
  MappedSource(const pack::Format& format, const pack::Form& form, std::string module,
               std::vector<Part> parts)
      : format_(format), form_(form), module_(std::move(module)), parts_(std::move(parts)) {}

  Result<quant::QuantizedLinear> Unpack() const override {
    return pack::Unpack(format_, Views(), form_, NameInErrors());
  }
  Status UnpackRows(std::size_t first_row, quant::QuantizedLinear& rows) const override {
    return UnpackRows(Views(), first_row, rows);
  }
  std::size_t fetched_bytes() const override { return stored_bytes(); }
  Status Fetch(std::size_t first, std::span<std::byte> to) const override {
    for (const Part& part : parts_) {
      const std::span<const std::byte> bytes = part.view.bytes;
      const std::size_t count =
          first < bytes.size() ? std::min(bytes.size() - first, to.size()) : 0;
      AWQ_TRY(part.file->Read(bytes.subspan(std::min(first, bytes.size()), count), to.data()));
      first -= std::min(first, bytes.size());
      to = to.subspan(count);
    }
    return {};
  }
  Status UnpackFetched(std::span<const std::byte> fetched, std::size_t first_row,
                       quant::QuantizedLinear& rows) const override {
    std::vector<TensorView> views = Views();
    for (TensorView& view : views) {
      const std::size_t bytes = view.bytes.size();
      view.bytes = fetched.first(bytes);
      fetched = fetched.subspan(bytes);
    }
    return UnpackRows(views, first_row, rows);
  }
  quant::Spec spec() const override { return form_.spec; }
  std::size_t stored_bytes() const override {
    std::size_t bytes = 0;
    for (const Part& part : parts_) bytes += part.view.bytes.size();
    return bytes;
  }

 private:
  Status UnpackRows(const std::vector<TensorView>& views, std::size_t first_row,
                    quant::QuantizedLinear& rows) const {
    const std::string name = NameInErrors();
    AWQ_TRY(pack::CheckParts(format_, form_, views, name));
    return pack::UnpackRows(format_, form_, views, {first_row, rows.codes, rows.scales, rows.zeros},
                            name);
  }
  std::string NameInErrors() const {
    return fmt::format("{}: {}", parts_[0].file->path().string(), module_);
  }
  std::vector<TensorView> Views() const {
    std::vector<TensorView> views;
    for (const Part& part : parts_) views.push_back(part.view);
    return views;
  }

  const pack::Format& format_;
  pack::Form form_;
  std::string module_;
  std::vector<Part> parts_;
};

// "<module>.qweight", which every packed linear of the format has.
std::string CodesName(const pack::Format& format, const std::string& module) {
  return fmt::format("{}.{}", module, format.codes_suffix);
}

}  // namespace

Result<std::unique_ptr<ModelDirectory>> ModelDirectory::Open(const fs::path& directory) {
  std::error_code failure;
  const bool is_directory = fs::is_directory(directory, failure);
  if (failure) return io::SystemError(directory, "open it", failure.value());
  if (!is_directory) {
    return MakeError(ErrorCode::kInvalidArgument,
                     "{}: not a directory; give the directory that holds config.json",
                     directory.string());
  }
  auto model = std::make_unique<ModelDirectory>();
  model->path_ = directory;
  const fs::path config_path = directory / "config.json";
  std::error_code ignored;
  if (fs::symlink_status(config_path, ignored).type() == fs::file_type::not_found) {
    return MakeError(ErrorCode::kNotFound,
                     "{}: no model directory: expected config.json, tokenizer.json and "
                     "*.safetensors in it, found no config.json",
                     directory.string());
  }
  AWQ_ASSIGN(const std::string text, ReadSmall(config_path, kMaxConfigBytes));
  AWQ_ASSIGN(const nlohmann::json json, io::ParseJson(text, config_path.string()));
  AWQ_ASSIGN(model->config_, model::ParseConfig(json, config_path.string()));
  AWQ_ASSIGN(model->quantization_, pack::ReadQuantization(json, config_path.string()));
  AWQ_TRY(model->ReadOlderQuantization());
  AWQ_TRY(model->OpenFiles());
  AWQ_TRY(model->CheckTensors());
  model->ListExtras();
  return model;
}

Status ModelDirectory::ReadOlderQuantization() {
  for (const char* name : {"quantize_config.json", "quant_config.json"}) {
    const fs::path path = path_ / name;
    if (quantization_ || !Present(path)) continue;
    AWQ_ASSIGN(const std::string text, ReadSmall(path, kMaxConfigBytes));
    AWQ_ASSIGN(nlohmann::json json, io::ParseJson(text, path.string()));
    AWQ_ASSIGN(quantization_, pack::ReadQuantizationFile(std::move(json), path.string()));
  }
  return {};
}

Status ModelDirectory::OpenFiles() {
  // Both present: the single file wins, as in transformers.
  const fs::path single = path_ / "model.safetensors";
  if (Present(single)) {
    AWQ_TRY(OpenFile(single));
    for (const io::TensorInfo& info : files_[0].tensors()) tensors_[info.name] = {0, info};
    return {};
  }
  const fs::path index = path_ / "model.safetensors.index.json";
  if (Present(index)) return OpenShards(index);
  return NoWeights(path_);
}

Status ModelDirectory::OpenFile(const fs::path& path, std::size_t header_limit_bytes) {
  AWQ_ASSIGN(io::SafetensorsFile file, io::SafetensorsFile::Open(path, header_limit_bytes));
  files_.push_back(std::move(file));
  return {};
}

Status ModelDirectory::OpenShards(const fs::path& index) {
  AWQ_ASSIGN(const std::string text, ReadSmall(index, kMaxIndexBytes));
  AWQ_ASSIGN(const auto weight_map, io::ParseIndex(text, index.string()));
  AWQ_TRY(CheckShardsDiffer(path_, weight_map, index));
  std::size_t header_bytes = 0;                  // of all shards
  std::map<std::string, std::size_t> shards;     // by file name
  std::map<std::string, std::string> elsewhere;  // tensor -> a file that holds it, too
  for (const auto& [tensor, file] : weight_map) {
    if (!shards.emplace(file, files_.size()).second) continue;
    AWQ_TRY(OpenFile(path_ / file, io::kMaxSafetensorsHeaderBytes - header_bytes));
    header_bytes += files_.back().header_bytes();
    for (const io::TensorInfo& info : files_.back().tensors()) {
      const auto entry = weight_map.find(info.name);
      if (entry == weight_map.end()) {
        extra_tensors_.push_back(info.name);  // in the file, but not in the index
      } else if (entry->second != file) {
        elsewhere.emplace(info.name, file);
      } else {
        tensors_[info.name] = {files_.size() - 1, info};
      }
    }
  }
  for (const auto& [tensor, file] : weight_map) {
    if (!tensors_.contains(tensor)) {
      return MakeError(ErrorCode::kCorrupt,
                       "{}: says that tensor {} is in {}, which does not hold it", index.string(),
                       tensor, file);
    }
  }
  if (!elsewhere.empty()) {
    const auto& [tensor, file] = *elsewhere.begin();
    return MakeError(ErrorCode::kCorrupt,
                     "{}: tensor {} is there, but {} says that it is in {}; remove one of them",
                     (path_ / file).string(), tensor, index.string(), weight_map.at(tensor));
  }
  return {};
}

Status ModelDirectory::CheckTensor(const Expected& expected) {
  std::string kinds;
  for (const DType dtype : expected.dtypes) {
    kinds += kinds.empty() ? "" : " or ";
    kinds += DTypeName(dtype);
  }
  const auto found = tensors_.find(expected.name);
  if (found == tensors_.end()) {
    return MakeError(ErrorCode::kNotFound, "{}: tensor {} is missing: {} {} is expected",
                     path_.string(), expected.name, kinds, ShapeString(expected.shape));
  }
  const auto& [file, info] = found->second;
  const bool is_kind = std::find(expected.dtypes.begin(), expected.dtypes.end(), info.dtype) !=
                       expected.dtypes.end();
  if (!is_kind || info.shape != expected.shape) {
    return MakeError(ErrorCode::kCorrupt,
                     "{}: tensor {}: expected {} {} by config.json, found {} {}",
                     files_[file].file()->path().string(), expected.name, kinds,
                     ShapeString(expected.shape), DTypeName(info.dtype), ShapeString(info.shape));
  }
  used_.insert(expected.name);
  return {};
}

Status ModelDirectory::CheckStoredAs(const std::string& module, bool packed) const {
  for (const pack::Format& format : pack::Formats()) {
    const bool ours = quantization_ && quantization_->format->codes_suffix == format.codes_suffix;
    if (!tensors_.contains(CodesName(format, module)) || (ours && packed)) continue;
    return MakeError(
        ErrorCode::kCorrupt, "{}: tensor {} is there, but {}", path_.string(),
        CodesName(format, module),
        !quantization_ ? "config.json has no quantization_config"
        : ours         ? quantization_->excluded_by + " of config.json excludes the module"
               : fmt::format("by config.json the format is {}", quantization_->format->name));
  }
  if (!packed || !tensors_.contains(module + ".weight")) return {};
  const std::string codes = CodesName(*quantization_->format, module);
  if (tensors_.contains(codes)) {
    return MakeError(ErrorCode::kCorrupt,
                     "{}: {} is there as {}.weight and as {}; remove the one that is not meant",
                     path_.string(), module, module, codes);
  }
  return MakeError(ErrorCode::kCorrupt,
                   "{}: {} is not quantized, but {} of config.json does not exclude it",
                   path_.string(), module, quantization_->excluded_by);
}

Result<std::optional<pack::Form>> ModelDirectory::FormOf(const std::string& module,
                                                         std::size_t out_features,
                                                         std::size_t in_features) const {
  if (!quantization_) return std::optional<pack::Form>();
  AWQ_ASSIGN(const quant::Spec* spec, quantization_->SpecOf(module));
  if (spec == nullptr) return std::optional<pack::Form>();
  pack::Form form{out_features, in_features, *spec};
  form.spec.group_size = form.group_size();
  // config.json does not say of which dtype the scales are.
  const auto scales =
      tensors_.find(fmt::format("{}.{}", module, quantization_->format->scale_suffix));
  if (scales != tensors_.end() && std::ranges::count(kFloats, scales->second.info.dtype) > 0) {
    form.spec.scale_dtype = scales->second.info.dtype;
  }
  return std::optional<pack::Form>(form);
}

// Some quantizers write a bias of zeros for every linear. Of floats, that is; small enough to look
// at.
bool ModelDirectory::IsZero(const std::string& name) const {
  const Result<TensorView> tensor = Find(name);
  return tensor.ok() && std::ranges::count(kFloats, tensor->dtype) > 0 &&
         std::ranges::all_of(tensor->bytes, [](std::byte byte) { return byte == std::byte{0}; });
}

std::optional<pack::Form> ModelDirectory::FormAt(const std::string& module) const {
  const auto found = forms_.find(module);
  return found == forms_.end() ? std::nullopt : std::optional(found->second);
}

Status ModelDirectory::CheckLinear(std::size_t layer, const model::LinearRow& row) {
  const std::string module = model::ModuleName(*config_.arch, layer, row.name);
  const std::size_t out_features = model::Width(config_, row.out);
  const std::size_t in_features = model::Width(config_, row.in);
  AWQ_ASSIGN(const auto form, FormOf(module, out_features, in_features));
  AWQ_TRY(CheckStoredAs(module, form.has_value()));
  if (form) {
    forms_.emplace(module, *form);
    const pack::Format& format = *quantization_->format;
    const std::string why = pack::Refuses(format, *form);
    if (!why.empty()) {
      return MakeError(ErrorCode::kUnsupported, "{}: {} cannot be in the {} format: {}",
                       path_.string(), module, format.name, why);
    }
    for (const pack::PartInfo& part : format.parts(*form)) {
      AWQ_TRY(
          CheckTensor({fmt::format("{}.{}", module, part.suffix), part.shape, {&part.dtype, 1}}));
    }
  } else {
    AWQ_TRY(CheckTensor({module + ".weight", {out_features, in_features}, kFloats}));
  }
  if (model::HasBias(config_, row)) {
    AWQ_TRY(CheckTensor({module + ".bias", {out_features}, kFloats}));
  } else if (tensors_.contains(module + ".bias") && !IsZero(module + ".bias")) {
    return MakeError(
        ErrorCode::kCorrupt,
        "{}: tensor {}.bias is there and not zero, but by config.json a {} has none; leaving it "
        "out would change the model",
        path_.string(), module, config_.model_type);
  }
  return {};
}

Status ModelDirectory::CheckTensors() {
  const model::ArchSpec& arch = *config_.arch;
  const Shape table = {config_.vocab_size, config_.hidden_size};
  AWQ_TRY(CheckTensor({std::string(arch.embedding) + ".weight", table, kFloats}));
  AWQ_TRY(CheckTensor({std::string(arch.final_norm) + ".weight", {config_.hidden_size}, kFloats}));
  if (!config_.tie_word_embeddings) {
    AWQ_TRY(CheckTensor({std::string(arch.head) + ".weight", table, kFloats}));
  }
  for (std::size_t layer = 0; layer < config_.num_hidden_layers; ++layer) {
    for (const model::LinearRow& row : arch.linears) AWQ_TRY(CheckLinear(layer, row));
    for (const model::NormRow& row : arch.norms) {
      if (!model::IsPresent(config_, row)) continue;
      AWQ_TRY(CheckTensor({model::ModuleName(arch, layer, row.name) + ".weight",
                           {model::Width(config_, row.width)},
                           kFloats}));
    }
  }
  return {};
}

void ModelDirectory::ListExtras() {
  for (const auto& [name, located] : tensors_) {
    if (!used_.contains(name)) extra_tensors_.push_back(name);
  }
  std::sort(extra_tensors_.begin(), extra_tensors_.end());
}

Result<TensorView> ModelDirectory::Find(const std::string& name) const {
  const auto found = tensors_.find(name);
  if (found == tensors_.end()) {
    return MakeError(ErrorCode::kNotFound, "{}: tensor {} is missing", path_.string(), name);
  }
  return files_[found->second.file].View(found->second.info);
}

Result<model::Linear> ModelDirectory::LinearAt(std::size_t layer,
                                               const model::LinearRow& row) const {
  model::Linear linear;
  linear.name = model::ModuleName(*config_.arch, layer, row.name);
  linear.out_features = model::Width(config_, row.out);
  linear.in_features = model::Width(config_, row.in);
  if (const auto form = FormAt(linear.name)) {
    std::vector<MappedSource::Part> parts;
    for (const pack::PartInfo& part : quantization_->format->parts(*form)) {
      const std::string name = fmt::format("{}.{}", linear.name, part.suffix);
      AWQ_ASSIGN(const TensorView view, Find(name));
      parts.push_back({files_[tensors_.at(name).file].file(), view});
    }
    linear.packed = std::make_shared<MappedSource>(*quantization_->format, *form, linear.name,
                                                   std::move(parts));
  } else {
    AWQ_ASSIGN(linear.weight, Find(linear.name + ".weight"));
  }
  if (model::HasBias(config_, row)) {
    AWQ_ASSIGN(linear.bias, Find(linear.name + ".bias"));
  }
  return linear;
}

Result<std::optional<PackedLinear>> ModelDirectory::Packed(std::size_t layer,
                                                           const model::LinearRow& row) const {
  const std::string module = model::ModuleName(*config_.arch, layer, row.name);
  const auto form = FormAt(module);
  if (!form) return std::optional<PackedLinear>();
  PackedLinear packed{module, *form, {}};
  for (const pack::PartInfo& part : quantization_->format->parts(*form)) {
    AWQ_ASSIGN(const TensorView view, Find(fmt::format("{}.{}", module, part.suffix)));
    packed.parts.push_back(view);
  }
  return std::optional<PackedLinear>(std::move(packed));
}

std::vector<std::string> ModelDirectory::StoredNames() const {
  std::vector<std::size_t> order(files_.size());
  std::iota(order.begin(), order.end(), 0);
  std::ranges::sort(order, {}, [&](std::size_t file) { return files_[file].file()->path(); });
  std::vector<std::string> names;
  for (const std::size_t file : order) {
    for (const io::TensorInfo& info : files_[file].tensors()) {
      const auto found = tensors_.find(info.name);
      if (found != tensors_.end() && found->second.file == file) names.push_back(info.name);
    }
  }
  return names;
}

Result<model::BlockWeights> ModelDirectory::Block(std::size_t layer) const {
  AWQ_TRY(CheckLayer(layer));
  model::BlockWeights block;
  for (const model::LinearRow& row : config_.arch->linears) {
    AWQ_ASSIGN(block.linears[static_cast<std::size_t>(row.role)], LinearAt(layer, row));
  }
  for (const model::NormRow& row : config_.arch->norms) {
    if (!model::IsPresent(config_, row)) continue;
    const std::string name = model::ModuleName(*config_.arch, layer, row.name) + ".weight";
    AWQ_ASSIGN(block.norms[static_cast<std::size_t>(row.role)], Find(name));
  }
  return block;
}

Result<TensorView> ModelDirectory::Embedding() const {
  return Find(std::string(config_.arch->embedding) + ".weight");
}

Result<TensorView> ModelDirectory::FinalNorm() const {
  return Find(std::string(config_.arch->final_norm) + ".weight");
}

Result<TensorView> ModelDirectory::Head() const {
  if (config_.tie_word_embeddings) return Embedding();
  return Find(std::string(config_.arch->head) + ".weight");
}

void ModelDirectory::Release(std::size_t layer) const {
  const std::string prefix = model::ModuleName(*config_.arch, layer, "");
  struct Range {
    std::size_t file, begin, end;
  };
  std::vector<Range> ranges;
  for (auto entry = tensors_.lower_bound(prefix);
       entry != tensors_.end() && entry->first.starts_with(prefix); ++entry) {
    const auto& [file, info] = entry->second;
    ranges.push_back({file, info.offset_bytes, info.offset_bytes + info.size_bytes});
  }
  std::sort(ranges.begin(), ranges.end(), [](const Range& a, const Range& b) {
    return std::pair(a.file, a.begin) < std::pair(b.file, b.begin);
  });
  // Neighbours are released as one range: pages that two tensors share are then released too.
  for (std::size_t first = 0; first < ranges.size();) {
    std::size_t last = first;
    while (last + 1 < ranges.size() && ranges[last + 1].file == ranges[first].file &&
           ranges[last + 1].begin == ranges[last].end) {
      ++last;
    }
    const io::MappedFile& file = *files_[ranges[first].file].file();
    const std::size_t begin = ranges[first].begin;
    file.Release(file.bytes().subspan(begin, ranges[last].end - begin));
    first = last + 1;
  }
}

void ModelDirectory::ReleaseBytes(std::span<const std::byte> bytes) const {
  for (const io::SafetensorsFile& file : files_) {
    const std::span<const std::byte> all = file.file()->bytes();
    if (bytes.data() < all.data() || bytes.data() >= all.data() + all.size()) continue;
    file.file()->Release(bytes);
    return;
  }
}

void ModelDirectory::ReleaseAll() const {
  for (const io::SafetensorsFile& file : files_) file.file()->Release(file.file()->bytes());
}

Result<std::optional<std::string>> ModelDirectory::SmallFile(std::string_view name) const {
  if (!fs::exists(path_ / name)) return std::optional<std::string>();
  AWQ_ASSIGN(std::string contents, io::ReadFile(path_ / name));
  return std::optional(std::move(contents));
}

Result<std::vector<fs::path>> ModelDirectory::WeightFiles() const {
  std::vector<fs::path> files;
  for (const io::SafetensorsFile& file : files_) files.push_back(file.file()->path());
  return files;
}

std::size_t ModelDirectory::weight_bytes() const {
  std::size_t bytes = 0;
  for (const auto& [name, located] : tensors_) bytes += located.info.size_bytes;
  return bytes;
}

}  // namespace awq::checkpoint
