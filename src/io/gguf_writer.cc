#include "io/gguf_writer.h"

#include <utility>

#include "base/check.h"
#include "base/checked.h"
#include "base/error.h"

namespace awq::io {
namespace {

namespace fs = std::filesystem;

constexpr std::uint32_t kVersion = 3;
constexpr std::size_t kAlignment = 32;

template <class T>
void Append(std::string& to, T value) {
  to.append(reinterpret_cast<const char*>(&value), sizeof(value));
}

void AppendString(std::string& to, std::string_view text) {
  Append(to, std::uint64_t{text.size()});
  to += text;
}

}  // namespace

void GgufBuilder::BeginValue(std::string_view key, GgufValueType type) {
  AppendString(values_, key);
  Append(values_, type);
  ++keys_;
}

void GgufBuilder::BeginArray(std::string_view key, GgufValueType element, std::size_t count) {
  BeginValue(key, GgufValueType::kArray);
  Append(values_, element);
  Append(values_, std::uint64_t{count});
}

void GgufBuilder::AddU32(std::string_view key, std::uint32_t value) {
  BeginValue(key, GgufValueType::kU32);
  Append(values_, value);
}

void GgufBuilder::AddF32(std::string_view key, float value) {
  BeginValue(key, GgufValueType::kF32);
  Append(values_, value);
}

void GgufBuilder::AddBool(std::string_view key, bool value) {
  BeginValue(key, GgufValueType::kBool);
  Append(values_, static_cast<std::uint8_t>(value));
}

void GgufBuilder::AddString(std::string_view key, std::string_view value) {
  BeginValue(key, GgufValueType::kString);
  AppendString(values_, value);
}

void GgufBuilder::AddStrings(std::string_view key, std::span<const std::string> values) {
  BeginArray(key, GgufValueType::kString, values.size());
  for (const std::string& value : values) AppendString(values_, value);
}

void GgufBuilder::AddF32s(std::string_view key, std::span<const float> values) {
  BeginArray(key, GgufValueType::kF32, values.size());
  for (const float value : values) Append(values_, value);
}

void GgufBuilder::AddI32s(std::string_view key, std::span<const std::int32_t> values) {
  BeginArray(key, GgufValueType::kI32, values.size());
  for (const std::int32_t value : values) Append(values_, value);
}

Status GgufBuilder::AddTensor(std::string name, GgmlType type, Shape shape) {
  const GgmlTypeRow& row = InfoOf(type);
  AWQ_CHECK(!shape.empty());
  if (shape.back() % row.block_elements != 0) {
    return MakeError(ErrorCode::kUnsupported,
                     "tensor {}: rows of {} elements cannot be stored as {}, in blocks of {}", name,
                     shape.back(), row.name, row.block_elements);
  }
  std::optional<std::size_t> size =
      CheckedProduct({shape.back() / row.block_elements, row.block_bytes});
  for (std::size_t i = 0; i + 1 < shape.size() && size; ++i) {
    size = CheckedProduct({*size, shape[i]});
  }
  if (!size) {
    return MakeError(ErrorCode::kUnsupported, "tensor {}: {} is too large", name,
                     ShapeString(shape));
  }
  tensors_.push_back({std::move(name), &row, std::move(shape), 0, *size});
  return {};
}

std::string GgufBuilder::Finish() {
  std::string header = "GGUF";
  Append(header, kVersion);
  Append(header, std::uint64_t{tensors_.size()});
  Append(header, std::uint64_t{keys_});
  header += values_;
  std::size_t end = 0;
  for (GgufTensor& tensor : tensors_) {
    AppendString(header, tensor.name);
    Append(header, static_cast<std::uint32_t>(tensor.shape.size()));
    for (auto extent = tensor.shape.rbegin(); extent != tensor.shape.rend(); ++extent) {
      Append(header, std::uint64_t{*extent});
    }
    Append(header, tensor.type->number);
    Append(header, std::uint64_t{end});
    tensor.offset_bytes = end;
    end = RoundUp(end + tensor.size_bytes, kAlignment);
  }
  header.resize(RoundUp(header.size(), kAlignment), '\0');
  for (GgufTensor& tensor : tensors_) tensor.offset_bytes += header.size();
  return header;
}

Result<GgufWriter> GgufWriter::Create(const fs::path& path, GgufBuilder builder) {
  std::error_code ignored;
  if (fs::symlink_status(path, ignored).type() != fs::file_type::not_found) {
    return MakeError(ErrorCode::kInvalidArgument,
                     "{}: exists already; choose another output or remove it", path.string());
  }
  fs::path partial = path;
  partial += ".partial";
  AWQ_ASSIGN(OutputFile file, OutputFile::CreateAlone(partial));
  GgufWriter writer(std::move(file));
  writer.path_ = path;
  writer.partial_ = partial;
  const std::string header = builder.Finish();
  writer.file_bytes_ = header.size();
  for (const GgufTensor& tensor : builder.tensors()) {
    // The last tensor is padded, too: readers count whole multiples of the alignment.
    writer.file_bytes_ = RoundUp(tensor.offset_bytes + tensor.size_bytes, kAlignment);
    writer.missing_bytes_ += tensor.size_bytes;
    const bool is_new = writer.tensors_.emplace(tensor.name, tensor).second;
    AWQ_CHECK(is_new);
  }
  AWQ_TRY(writer.file_.Preallocate(writer.file_bytes_));
  AWQ_TRY(writer.file_.Write(0, std::as_bytes(std::span(header))));
  return writer;
}

GgufWriter::GgufWriter(GgufWriter&& other) noexcept
    : file_(std::move(other.file_)),
      path_(std::move(other.path_)),
      partial_(std::exchange(other.partial_, {})),
      tensors_(std::move(other.tensors_)),
      file_bytes_(other.file_bytes_),
      missing_bytes_(other.missing_bytes_) {}

GgufWriter::~GgufWriter() {
  std::error_code ignored;
  if (!partial_.empty()) fs::remove(partial_, ignored);
}

Status GgufWriter::Write(std::string_view tensor, std::size_t offset_bytes,
                         std::span<const std::byte> bytes) {
  const auto found = tensors_.find(tensor);
  AWQ_CHECK(found != tensors_.end());
  AWQ_CHECK_LE(offset_bytes + bytes.size(), found->second.size_bytes);
  AWQ_CHECK_LE(bytes.size(), missing_bytes_);
  missing_bytes_ -= bytes.size();
  return file_.Write(found->second.offset_bytes + offset_bytes, bytes);
}

Status GgufWriter::Finish() {
  AWQ_CHECK_EQ(missing_bytes_, 0U);
  AWQ_TRY(file_.Sync());
  AWQ_TRY(file_.Close());
  std::error_code failure;
  fs::rename(partial_, path_, failure);
  if (failure) return SystemError(path_, "rename the finished file to it", failure.value());
  partial_.clear();
  return SyncDirectory(path_.has_parent_path() ? path_.parent_path() : ".");
}

}  // namespace awq::io
