// The small files of an output directory: config.json with its quantization_config, and copies.
#pragma once

#include <awq/progress.h>
#include <awq/result.h>

#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "checkpoint/stored_model.h"
#include "checkpoint/writer.h"
#include "pack/format.h"

namespace awq::pipeline {

// What quantizing writes beside codes, and says of it.
inline constexpr std::string_view kQuantizedDtype = "float16";

// The model's config.json as the output has it. `torch_dtype` as in StoredAs.
Result<nlohmann::json> QuantizedConfig(const checkpoint::StoredModel& model,
                                       const pack::Format& format,
                                       const pack::StoredQuantization& stored,
                                       std::string_view torch_dtype);

// A small file for the output as it is; nothing where there is none. What a link leads to outside
// of the model's directory, and is not JSON under a name of such, is no part of the model: a note
// to `progress`, and nothing. (Inside counts the files that snapshots of the hub's cache share.)
Result<std::optional<std::string>> CopiedFile(const checkpoint::StoredModel& model,
                                              std::string_view name, ProgressSink* progress);

struct StoredAs {
  const pack::Format& format;
  const pack::StoredQuantization& quantization;
  std::string_view
      torch_dtype;  // of the tensors in 16 bits; empty: as the model's config.json says
};
Status WriteDirectoryFiles(checkpoint::DirectoryWriter& writer,
                           const checkpoint::StoredModel& model, const StoredAs& stored,
                           ProgressSink* progress);

}  // namespace awq::pipeline
