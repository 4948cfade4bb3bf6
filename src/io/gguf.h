// The GGUF container, versions 2 and 3: typed metadata, a list of tensors, aligned tensor bytes.
// docs/formats/gguf.md has the bytes and the rules checked here.
#pragma once

#include <awq/result.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "io/file.h"
#include "tensor/ggml_type.h"
#include "tensor/tensor.h"

namespace awq::io {

enum class GgufValueType : std::uint32_t {
  kU8 = 0,
  kI8 = 1,
  kU16 = 2,
  kI16 = 3,
  kU32 = 4,
  kI32 = 5,
  kF32 = 6,
  kBool = 7,
  kString = 8,
  kArray = 9,
  kU64 = 10,
  kI64 = 11,
  kF64 = 12,
};

// Checked when the header was parsed, read where it lies.
struct GgufArray {
  GgufValueType element = GgufValueType::kU8;
  std::size_t count = 0;
  std::span<const std::byte> bytes;
};

// Integers and floats of every width, widened.
using GgufValue =
    std::variant<std::uint64_t, std::int64_t, double, bool, std::string_view, GgufArray>;

// Typed access to the metadata. Absent keys give nothing, or the error of Require...; a value of
// another type is kCorrupt. Views are valid while the file's bytes are.
class GgufMetadata {
 public:
  std::map<std::string, GgufValue, std::less<>> values;
  std::string file;  // stands in errors

  const GgufValue* Find(std::string_view key) const;
  Result<std::optional<std::string_view>> String(std::string_view key) const;
  Result<std::optional<bool>> Bool(std::string_view key) const;
  Result<std::optional<double>> Number(std::string_view key) const;
  // An array of equal integers (one a layer) counts as one of them.
  Result<std::optional<std::size_t>> Size(std::string_view key) const;
  Result<std::size_t> RequireSize(std::string_view key) const;
  Result<std::string_view> RequireString(std::string_view key) const;
  // Empty where the key is absent.
  Result<std::vector<std::string_view>> Strings(std::string_view key) const;
  Result<std::vector<double>> Numbers(std::string_view key) const;

  Error Wrong(std::string_view key, std::string_view expected) const;
};

struct GgufTensor {
  std::string name;
  const GgmlTypeRow* type = nullptr;
  Shape shape;                   // slowest dimension first: [out_features, in_features]
  std::size_t offset_bytes = 0;  // from the start of the file
  std::size_t size_bytes = 0;
};

struct GgufHeader {
  std::uint32_t version = 0;
  std::size_t alignment_bytes = 0;
  GgufMetadata metadata;
  std::vector<GgufTensor> tensors;  // as the file lists them
};

// Parses and checks everything before the tensor bytes, and that those lie in the file, aligned and
// apart. `file_bytes` is the length of the whole file, `name` stands in errors. The result's views
// are into `file_start`.
Result<GgufHeader> ParseGguf(std::span<const std::byte> file_start, std::size_t file_bytes,
                             const std::string& name);

// One mapped .gguf file.
class GgufFile {
 public:
  static Result<GgufFile> Open(const std::filesystem::path& path);

  const GgufMetadata& metadata() const { return header_.metadata; }
  const std::vector<GgufTensor>& tensors() const { return header_.tensors; }
  std::span<const std::byte> Bytes(const GgufTensor& tensor) const;  // valid while file() lives
  const std::shared_ptr<const MappedFile>& file() const { return file_; }

 private:
  std::shared_ptr<const MappedFile> file_;
  GgufHeader header_;
};

// `path`, if it is a file that begins as GGUF does; or the only such file in the directory `path`,
// if it has no config.json; else nothing. Error: several, or a part of a model in many files.
Result<std::optional<std::filesystem::path>> FindGguf(const std::filesystem::path& path);

}  // namespace awq::io
