// Writes a model directory so that it is either complete or not there.
#pragma once

#include <awq/result.h>

#include <filesystem>
#include <map>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <span>
#include <string>
#include <vector>

#include "io/file.h"
#include "io/safetensors.h"

namespace awq::checkpoint {

struct WriterOptions {
  std::size_t shard_bytes = std::size_t{5} << 30;  // a shard is closed before it would exceed this
  // What this run is (model, settings): a partial directory of another run is not continued.
  std::string fingerprint;
};

// Everything is written to "<output>.partial", whose journal remembers finished blocks, and renamed
// at Finish(). The tensors and their order are declared first, so that headers precede data and
// bytes never depend on the order of writing.
class DirectoryWriter {
 public:
  // Whether Create() would fail for what stands in the file system now; changes nothing there.
  static Status CheckOutput(const std::filesystem::path& output);

  // The fingerprint of an interrupted run that has finished units there; empty: there is none.
  static std::string LeftBy(const std::filesystem::path& output);

  // Fails when `output` exists. An existing partial directory with the same fingerprint and layout
  // is continued (see IsDone), any other is started afresh.
  static Result<std::unique_ptr<DirectoryWriter>> Create(const std::filesystem::path& output,
                                                         std::vector<io::TensorInfo> tensors,
                                                         const WriterOptions& options);
  ~DirectoryWriter();

  // Create() threw away what an interrupted run with other settings or inputs had left.
  bool replaced_another() const;

  // The whole tensor, or a piece of it at `offset_bytes` inside it. From any thread, but not while
  // another function is called.
  Status WriteTensor(const std::string& name, std::span<const std::byte> bytes,
                     std::size_t offset_bytes = 0);
  // The bytes of a tensor that was written whole, in this run or in the one that is continued.
  Result<Buffer<std::byte>> ReadTensor(const std::string& name) const;
  // A small file beside the shards (config.json, tokenizer.json).
  Status WriteFile(const std::string& name, std::string_view contents);

  // Remembers, durably, that all tensors of a unit ("block 3") are written, with `note` (JSON)
  // for whoever continues; IsDone gives the note back in a continued run, or nullptr.
  Status MarkDone(const std::string& unit, const nlohmann::json& note);
  const nlohmann::json* IsDone(const std::string& unit) const;

  // Syncs, writes the index if there is more than one shard, renames to the final name.
  Status Finish();

 private:
  struct State;
  explicit DirectoryWriter(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace awq::checkpoint
