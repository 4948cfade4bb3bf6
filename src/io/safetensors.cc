#include "io/safetensors.h"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <tuple>

#include "base/checked.h"
#include "base/error.h"
#include "io/json.h"

namespace awq::io {
namespace {

using nlohmann::json;

constexpr std::size_t kLengthBytes = 8;
constexpr std::size_t kHeaderAlignment = 8;
constexpr std::string_view kLfsPointer = "version https://git-lfs";

Error Corrupt(const std::string& file, const std::string& tensor, std::string_view what) {
  return MakeError(ErrorCode::kCorrupt, "{}: tensor {}: {}", file, tensor, what);
}

// The member `key` as a list of non-negative integers.
Result<Shape> ReadSizes(const json& entry, const char* key, const std::string& file,
                        const std::string& tensor) {
  const auto member = entry.find(key);
  if (member == entry.end() || !member->is_array()) {
    return Corrupt(file, tensor, fmt::format("\"{}\" must be a list of integers", key));
  }
  Shape sizes;
  sizes.reserve(member->size());
  for (const json& value : *member) {
    if (!value.is_number_unsigned()) {
      return Corrupt(file, tensor, fmt::format("\"{}\" must be a list of integers >= 0", key));
    }
    sizes.push_back(value.get<std::size_t>());
  }
  return sizes;
}

Result<DType> ReadDType(const json& entry, const std::string& file, const std::string& tensor) {
  const auto member = entry.find("dtype");
  if (member == entry.end() || !member->is_string()) {
    return Corrupt(file, tensor, "\"dtype\" must be a string");
  }
  const auto& dtype_name = member->get_ref<const std::string&>();
  const auto dtype = ParseDType(dtype_name);
  if (!dtype) {
    return MakeError(ErrorCode::kUnsupported,
                     "{}: tensor {}: dtype {} is not known; a newer awq may read it", file, tensor,
                     dtype_name);
  }
  return *dtype;
}

// Offsets of the result count from the start of the data, not yet of the file.
Result<TensorInfo> ReadEntry(const std::string& tensor, const json& entry, std::size_t data_bytes,
                             const std::string& file) {
  if (!entry.is_object()) return Corrupt(file, tensor, "its entry is not a JSON object");
  TensorInfo info;
  info.name = tensor;
  AWQ_ASSIGN(info.dtype, ReadDType(entry, file, tensor));
  AWQ_ASSIGN(info.shape, ReadSizes(entry, "shape", file, tensor));
  AWQ_ASSIGN(const Shape offsets, ReadSizes(entry, "data_offsets", file, tensor));
  if (offsets.size() != 2 || offsets[0] > offsets[1] || offsets[1] > data_bytes) {
    return Corrupt(file, tensor,
                   fmt::format("data_offsets {} must be [begin, end] inside the {} data bytes of "
                               "the file; is it truncated?",
                               ShapeString(offsets), data_bytes));
  }
  std::optional<std::size_t> expected = ElementBytes(info.dtype);
  for (const std::size_t extent : info.shape) {
    if (expected) expected = CheckedProduct({*expected, extent});
  }
  info.offset_bytes = offsets[0];
  info.size_bytes = offsets[1] - offsets[0];
  if (expected != info.size_bytes) {
    return Corrupt(file, tensor,
                   fmt::format("{} {} does not fit into its {} bytes", DTypeName(info.dtype),
                               ShapeString(info.shape), info.size_bytes));
  }
  return info;
}

// `tensors` in file order must cover the data exactly: no overlap, and no hole where something
// could hide.
Status CheckCoverage(const std::vector<TensorInfo>& tensors, std::size_t data_bytes,
                     const std::string& file) {
  std::size_t end = 0;
  for (const TensorInfo& info : tensors) {
    if (info.offset_bytes != end) {
      return Corrupt(
          file, info.name,
          fmt::format("begins at data byte {}, {} the tensor before it, which ends at {}",
                      info.offset_bytes,
                      info.offset_bytes < end ? "overlapping" : "leaving a hole after", end));
    }
    end += info.size_bytes;
  }
  if (end != data_bytes) {
    return MakeError(ErrorCode::kCorrupt, "{}: the tensors take {} bytes, the file holds {}", file,
                     end, data_bytes);
  }
  return {};
}

Status CheckMetadata(const json& metadata, const std::string& file) {
  if (!metadata.is_object()) {
    return MakeError(ErrorCode::kCorrupt, "{}: __metadata__ is not a JSON object", file);
  }
  for (const auto& [key, value] : metadata.items()) {
    if (!value.is_string()) {
      return MakeError(ErrorCode::kCorrupt, "{}: __metadata__: the value of {} is not a string",
                       file, key);
    }
  }
  return {};
}

// What the first bytes, kLengthBytes of them, say.
std::uint64_t HeaderBytes(std::span<const std::byte> file_start) {
  std::uint64_t bytes = 0;
  for (std::size_t i = kLengthBytes; i-- > 0;) {
    bytes = bytes << 8 | std::to_integer<std::uint64_t>(file_start[i]);
  }
  return bytes;
}

// The JSON text of the header.
Result<std::string_view> HeaderText(std::span<const std::byte> file_start, std::size_t file_bytes,
                                    const std::string& file, std::size_t limit_bytes) {
  const std::size_t present_bytes = std::min(file_start.size(), file_bytes);
  const std::string_view start(reinterpret_cast<const char*>(file_start.data()), present_bytes);
  if (start.starts_with(kLfsPointer)) {
    return MakeError(ErrorCode::kCorrupt,
                     "{}: a Git LFS pointer that stands for the weights; fetch them with: git lfs "
                     "pull",
                     file);
  }
  if (present_bytes < kLengthBytes) {
    return MakeError(ErrorCode::kCorrupt,
                     "{}: not a safetensors file: {} bytes is too short for a header", file,
                     file_bytes);
  }
  const std::uint64_t header_bytes = HeaderBytes(file_start);
  if (header_bytes > limit_bytes || header_bytes > present_bytes - kLengthBytes) {
    return MakeError(ErrorCode::kCorrupt,
                     "{}: not a whole safetensors file: the header length is {}, the file has {} "
                     "bytes, and {} is the most allowed{}",
                     file, header_bytes, file_bytes, limit_bytes,
                     limit_bytes < kMaxSafetensorsHeaderBytes
                         ? fmt::format(" here: the headers of all shards together may have {}",
                                       kMaxSafetensorsHeaderBytes)
                         : "");
  }
  const std::string_view text = start.substr(kLengthBytes, header_bytes);
  if (!text.starts_with('{')) {
    return MakeError(ErrorCode::kCorrupt,
                     "{}: not a safetensors file: the header does not begin with {{", file);
  }
  return text;
}

}  // namespace

Result<std::vector<TensorInfo>> ParseSafetensorsHeader(std::span<const std::byte> file_start,
                                                       std::size_t file_bytes,
                                                       const std::string& name,
                                                       std::size_t header_limit_bytes) {
  AWQ_ASSIGN(const std::string_view text,
             HeaderText(file_start, file_bytes, name, header_limit_bytes));
  AWQ_ASSIGN(const json header, ParseJson(text, name));
  const std::size_t data_start = kLengthBytes + text.size();
  const std::size_t data_bytes = file_bytes - data_start;
  std::vector<TensorInfo> tensors;
  tensors.reserve(header.size());
  for (const auto& [tensor, entry] : header.items()) {
    if (tensor == "__metadata__") {
      AWQ_TRY(CheckMetadata(entry, name));
      continue;
    }
    AWQ_ASSIGN(TensorInfo info, ReadEntry(tensor, entry, data_bytes, name));
    tensors.push_back(std::move(info));
  }
  // Empty tensors share their offset with the one after them.
  std::sort(tensors.begin(), tensors.end(), [](const TensorInfo& a, const TensorInfo& b) {
    return std::tie(a.offset_bytes, a.size_bytes, a.name) <
           std::tie(b.offset_bytes, b.size_bytes, b.name);
  });
  AWQ_TRY(CheckCoverage(tensors, data_bytes, name));
  for (TensorInfo& info : tensors) info.offset_bytes += data_start;
  return tensors;
}

Result<SafetensorsFile> SafetensorsFile::Open(const std::filesystem::path& path,
                                              std::size_t header_limit_bytes) {
  SafetensorsFile file;
  AWQ_ASSIGN(file.file_, MappedFile::Open(path));
  const std::span<const std::byte> bytes = file.file_->bytes();
  AWQ_ASSIGN(file.tensors_,
             ParseSafetensorsHeader(bytes, bytes.size(), path.string(), header_limit_bytes));
  file.header_bytes_ = HeaderBytes(bytes);
  return file;
}

TensorView SafetensorsFile::View(const TensorInfo& info) const {
  return {info.dtype, info.shape, file_->bytes().subspan(info.offset_bytes, info.size_bytes)};
}

std::string BuildSafetensorsHeader(std::vector<TensorInfo>& tensors,
                                   const std::map<std::string, std::string>& metadata) {
  nlohmann::ordered_json header = nlohmann::ordered_json::object();
  if (!metadata.empty()) header["__metadata__"] = metadata;
  std::size_t end = 0;
  for (TensorInfo& info : tensors) {
    info.offset_bytes = end;
    end += info.size_bytes;
    // push_back instead of operator[], which searches an ordered object from its start.
    header.get_ref<nlohmann::ordered_json::object_t&>().push_back(
        {info.name,
         {{"dtype", DTypeName(info.dtype)},
          {"shape", info.shape},
          {"data_offsets", {info.offset_bytes, end}}}});
  }
  // Replacing what is not UTF-8 keeps dump() from throwing; names we write are checked earlier.
  std::string text = header.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  text.resize(RoundUp(text.size(), kHeaderAlignment), ' ');
  std::string result;
  for (std::size_t i = 0; i < kLengthBytes; ++i) {
    result.push_back(static_cast<char>(text.size() >> (8 * i) & 0xff));
  }
  result += text;
  for (TensorInfo& info : tensors) info.offset_bytes += result.size();
  return result;
}

}  // namespace awq::io
