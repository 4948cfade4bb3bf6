// Writing a GGUF file (version 3): header first, tensors in any order, the name at the end.
#pragma once

#include <awq/result.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "io/file.h"
#include "io/gguf.h"

namespace awq::io {

// What stands before the tensor bytes. Keys and tensors are written in the order of adding;
// repeated ones are the caller's error.
class GgufBuilder {
 public:
  void AddU32(std::string_view key, std::uint32_t value);
  void AddF32(std::string_view key, float value);
  void AddBool(std::string_view key, bool value);
  void AddString(std::string_view key, std::string_view value);
  void AddStrings(std::string_view key, std::span<const std::string> values);
  void AddF32s(std::string_view key, std::span<const float> values);
  void AddI32s(std::string_view key, std::span<const std::int32_t> values);
  // `shape` slowest dimension first. Error: rows that are no whole blocks, a size that overflows.
  Status AddTensor(std::string name, GgmlType type, Shape shape);

  const std::vector<GgufTensor>& tensors() const { return tensors_; }
  // The bytes before the data, padded; sets the tensors' offsets (from the start of the file).
  std::string Finish();

 private:
  void BeginValue(std::string_view key, GgufValueType type);
  void BeginArray(std::string_view key, GgufValueType element, std::size_t count);

  std::string values_;
  std::size_t keys_ = 0;
  std::vector<GgufTensor> tensors_;
};

// A file that is either whole or not there: written as "<path>.partial", renamed by Finish(). What
// is not finished is removed.
class GgufWriter {
 public:
  // Error: `path` exists, or there is no room for the file.
  static Result<GgufWriter> Create(const std::filesystem::path& path, GgufBuilder builder);
  GgufWriter(GgufWriter&& other) noexcept;
  GgufWriter& operator=(GgufWriter&&) = delete;
  ~GgufWriter();

  // A piece of a tensor at `offset_bytes` inside it; every byte once.
  Status Write(std::string_view tensor, std::size_t offset_bytes, std::span<const std::byte> bytes);
  std::size_t file_bytes() const { return file_bytes_; }
  Status Finish();

 private:
  explicit GgufWriter(OutputFile file) : file_(std::move(file)) {}

  OutputFile file_;
  std::filesystem::path path_;
  std::filesystem::path partial_;  // empty: nothing to remove
  std::map<std::string, GgufTensor, std::less<>> tensors_;
  std::size_t file_bytes_ = 0;
  std::size_t missing_bytes_ = 0;
};

}  // namespace awq::io
