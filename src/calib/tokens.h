// The tokens that a model is calibrated on: from a file, or written by the model itself.
#pragma once

#include <awq/progress.h>
#include <awq/result.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>

#include "base/threads.h"
#include "math/matmul.h"
#include "model/weights.h"
#include "tensor/tensor.h"
#include "text/tokenizer.h"
#include "text/windows.h"

namespace awq::calib {

struct CalibrationOptions {
  std::size_t samples = 128;          // windows
  std::size_t sequence_tokens = 512;  // of each window
  text::BosMode bos = text::BosMode::kWindow;
  std::uint64_t seed = 0;
  math::Precision precision = math::Precision::kF32;  // of self-generation
  ProgressSink* progress = nullptr;
};

struct CalibrationTokens {
  Matrix<std::int32_t> ids;  // [windows, sequence_tokens]
  std::string source;        // "128 of 128 windows of 512 tokens from text.txt"
};

// The first windows of a file; fewer than asked for where the text is short.
Result<CalibrationTokens> FromFile(const text::Tokenizer& tokenizer,
                                   const model::ModelConfig& config,
                                   const std::filesystem::path& path,
                                   const CalibrationOptions& options);

// The same of the text that comes with the program.
Result<CalibrationTokens> FromBuiltin(const text::Tokenizer& tokenizer,
                                      const model::ModelConfig& config,
                                      const CalibrationOptions& options);

// What FromModel allocates at the most, the program itself apart.
std::size_t SelfCalibrationBytes(const model::ModelConfig& config,
                                 const CalibrationOptions& options);

// The model samples its own text at temperature 1 (as LLM-QAT, Liu et al. 2023), each window begun
// by tokens drawn more widely so that the windows differ, special tokens never drawn. Windows are
// written in batches whose KV cache is at most 1 GiB, or 8 windows.
Result<CalibrationTokens> FromModel(ThreadPool& pool, const model::WeightSource& source,
                                    const text::Tokenizer& tokenizer,
                                    const CalibrationOptions& options);

// Windows of both in turn, and of one when the other has no more.
CalibrationTokens Interleave(const CalibrationTokens& a, const CalibrationTokens& b);

// BOS as config.json, else the tokenizer, names it.
std::optional<std::int32_t> BosToken(const model::ModelConfig& config,
                                     const text::Tokenizer& tokenizer);

}  // namespace awq::calib
