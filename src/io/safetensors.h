// The safetensors container: 8 bytes little-endian header length, a JSON header, tensor bytes.
// docs/formats/safetensors.md has the bytes and the rules checked here.
#pragma once

#include <awq/result.h>

#include <cstddef>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "io/file.h"
#include "tensor/tensor.h"

namespace awq::io {

// The reference implementation's limit of one header.
inline constexpr std::size_t kMaxSafetensorsHeaderBytes = 100'000'000;

struct TensorInfo {
  std::string name;
  DType dtype = DType::kF32;
  Shape shape;
  std::size_t offset_bytes = 0;  // from the start of the file
  std::size_t size_bytes = 0;
};

// Parses and checks a header: lengths, dtypes, shape products, offsets inside the file, no overlap.
// `file_bytes` is the length of the whole file; `name` stands in errors. Tensors of a dtype that we
// cannot read are an error that names the tensor. Result is in file order.
Result<std::vector<TensorInfo>> ParseSafetensorsHeader(
    std::span<const std::byte> file_start, std::size_t file_bytes, const std::string& name,
    std::size_t header_limit_bytes = kMaxSafetensorsHeaderBytes);

// One mapped .safetensors file.
class SafetensorsFile {
 public:
  static Result<SafetensorsFile> Open(const std::filesystem::path& path,
                                      std::size_t header_limit_bytes = kMaxSafetensorsHeaderBytes);

  const std::vector<TensorInfo>& tensors() const { return tensors_; }
  std::size_t header_bytes() const { return header_bytes_; }  // of the JSON text
  TensorView View(const TensorInfo& info) const;              // valid while file() lives
  const std::shared_ptr<const MappedFile>& file() const { return file_; }

 private:
  std::shared_ptr<const MappedFile> file_;
  std::vector<TensorInfo> tensors_;
  std::size_t header_bytes_ = 0;
};

// The header bytes (length prefix included, padded to 8) for tensors laid out one after another in
// the given order; offset_bytes of each is filled in, counted from the start of the file.
std::string BuildSafetensorsHeader(std::vector<TensorInfo>& tensors,
                                   const std::map<std::string, std::string>& metadata = {});

}  // namespace awq::io
