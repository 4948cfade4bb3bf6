// A quantized directory -> the same numbers in another format, tensor by tensor.
#pragma once

#include <awq/progress.h>
#include <awq/result.h>

#include <cstddef>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "base/threads.h"
#include "checkpoint/reader.h"
#include "pack/format.h"
#include "pipeline/adapt.h"

namespace awq::pipeline {

struct ConvertOptions {
  const pack::Format* format = nullptr;
  bool lossy = false;  // change what the format cannot hold, instead of refusing
  std::size_t shard_bytes = std::size_t{5} << 30;
  std::size_t chunk_bytes = std::size_t{1} << 30;  // of output, between two entries of the journal
  std::filesystem::path output;
  ProgressSink* progress = nullptr;
};

struct ConvertReport {
  std::string from;  // format names
  std::string to;
  std::size_t linears = 0;      // packed ones
  std::size_t input_bytes = 0;  // of all tensors
  std::size_t output_bytes = 0;
  std::vector<std::string> changes;  // "model.layers.0.mlp.up_proj: 12 scales ..."; or none
  Moved moved;                       // in all of them
  bool resumed = false;
  double seconds = 0;

  bool lossless() const { return changes.empty(); }
};

// Codes, zero points and scales are carried over as they are, everything else byte by byte. Memory:
// one linear's packed tensors and kStripeRows rows of its codes, a thread. What the other format
// cannot hold is refused, before anything is written, with the tensors and what would change;
// `lossy` lets scales be rounded and zero points move. An interrupted run is continued.
Result<ConvertReport> Convert(ThreadPool& pool, const checkpoint::ModelDirectory& model,
                              const ConvertOptions& options);

// The refusal of what would change; names the first few of `changes`.
Error WouldChange(const std::filesystem::path& model, std::string_view format,
                  const std::vector<std::string>& changes);

}  // namespace awq::pipeline
