// Decoding: one sequence for a reader, or many of equal length for calibration; both by an Engine.
#pragma once

#include <awq/result.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "generate/sampler.h"
#include "tensor/tensor.h"
#include "transformer/network.h"

namespace awq::generate {

enum class StopReason : std::uint8_t {
  kEnd,      // the model gave one of end_tokens
  kLength,   // max_new_tokens
  kContext,  // the network's positions are used up
  kCaller,   // on_token or goes_on returned false
};

struct GenerateOptions {
  std::size_t max_new_tokens = 256;
  SamplerOptions sampler = {};
  std::vector<std::int32_t> end_tokens = {};
  std::uint64_t stream = 0;  // of random numbers
  // Where the network's positions are used up, by the prompt or later: the older half of what comes
  // after so many first tokens goes, and the rest is run anew where it stands now. Nothing: a
  // prompt is refused then, and a sequence ends.
  std::optional<std::size_t> shift_keeps = {};
  // Asked between the parts of a long prompt; false stops.
  std::function<bool()> goes_on = {};
};

struct GenerateReport {
  std::vector<std::int32_t> tokens;  // the new ones, without the end token
  StopReason stop = StopReason::kLength;
  std::size_t prompt_tokens = 0;
  std::size_t reused_tokens = 0;   // of the prompt, that had been run before
  std::size_t shifted_tokens = 0;  // that went where positions were used up
  double prefill_seconds = 0;      // from its turn to the first token's logits
  double decode_seconds = 0;       // all after that
};

// Sees each new token as soon as it is drawn; false stops.
using OnToken = std::function<bool(std::int32_t token)>;

class Engine;

// One sequence at a time, whose keys and values stay: of the next prompt only what differs from
// this one and its answer is run. The network must outlive it.
class Session {
 public:
  explicit Session(transformer::Network& network);
  ~Session();

  // As the function below.
  Result<GenerateReport> Generate(std::span<const std::int32_t> prompt,
                                  const GenerateOptions& options, const OnToken& on_token = {});

 private:
  std::unique_ptr<Engine> engine_;
};

// Error: an empty prompt, one that fills network.positions() (without shift_keeps), a token outside
// the vocabulary.
Result<GenerateReport> Generate(transformer::Network& network, std::span<const std::int32_t> prompt,
                                const GenerateOptions& options, const OnToken& on_token = {});

struct BatchOptions {
  std::size_t given = 1;        // leading columns that are set already
  SamplerOptions sampler = {};  // what ends a sequence belongs into banned_tokens
  // Sequence i draws from stream first_stream + i: a caller that cuts a set of sequences into
  // batches passes how many came before.
  std::uint64_t first_stream = 0;
  std::function<void(std::size_t step, std::size_t steps)> on_step = {};  // after each column
};

// Fills columns [given, length) of sequences [n, length], all rows together. Memory: a KV cache of
// n * length tokens (in whole pages), and up to 32 MiB of logits. The random numbers of a sequence
// do not depend on n; its logits do in their last bits. Errors: given not in [1, length]; length
// beyond network.positions(); a given token outside the vocabulary.
Status GenerateBatch(transformer::Network& network, MatrixView<std::int32_t> sequences,
                     const BatchOptions& options);

}  // namespace awq::generate
