// A whole model as one GGUF file, with all metadata and the tokenizer, for llama.cpp and its kin.
#pragma once

#include <awq/progress.h>
#include <awq/result.h>

#include <cstddef>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "base/threads.h"
#include "checkpoint/stored_model.h"
#include "pipeline/adapt.h"
#include "tensor/ggml_type.h"

namespace awq::pipeline {

struct GgufOptions {
  // F16, BF16, F32, Q8_0, Q4_0 or Q4_1: what linears become that are not quantized, where their
  // rows are whole blocks; else, like the embedding and the head, `plain`. Nothing: what they are.
  // Quantized linears keep their integers (pack::BlockTypeOf).
  std::optional<GgmlType> linears = std::nullopt;
  std::optional<GgmlType> plain = std::nullopt;
  bool lossy = false;  // let minima be rounded to fp16, instead of refusing
  ProgressSink* progress = nullptr;
};

struct GgufReport {
  std::size_t file_bytes = 0;
  std::size_t linears = 0;           // quantized ones
  std::size_t groups = 0;            // of them
  std::size_t changed_groups = 0;    // whose weights are not exactly those of the model
  std::vector<std::string> changes;  // a line a linear that has some
  Moved moved;                       // in all of them
};

// Whether GGUF has words for the model and its tokenizer, without looking at weights.
Status CheckGguf(const checkpoint::StoredModel& model);

// `output` appears when it is whole. Errors: what GGUF has no words for (other families, groups
// that are no multiples of 32, 8 bits with zero points, tokenizers), values that fp16 cannot hold;
// without `lossy`, and before anything is written, codes whose weights would change.
Result<GgufReport> WriteGguf(ThreadPool& pool, const checkpoint::StoredModel& model,
                             const std::filesystem::path& output, const GgufOptions& options);

}  // namespace awq::pipeline
