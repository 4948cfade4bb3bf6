#include "generate/generate.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "base/error.h"
#include "generate/engine.h"

namespace awq::generate {
namespace {

using transformer::Network;

Status CheckBatch(const Network& network, MatrixView<std::int32_t> sequences, std::size_t given) {
  if (given < 1 || given > sequences.cols) {
    return MakeError(ErrorCode::kInvalidArgument,
                     "{} given tokens in sequences of {}: expected between 1 and the whole", given,
                     sequences.cols);
  }
  if (sequences.cols > network.positions()) {
    return MakeError(ErrorCode::kInvalidArgument,
                     "sequences of {} tokens are longer than the context of {}", sequences.cols,
                     network.positions());
  }
  return {};
}

}  // namespace

Status GenerateBatch(Network& network, MatrixView<std::int32_t> sequences,
                     const BatchOptions& options) {
  AWQ_TRY(CheckBatch(network, sequences, options.given));
  const std::size_t steps = sequences.cols - options.given;
  if (sequences.rows == 0 || steps == 0) return {};
  Engine engine(network, {.sequences = sequences.rows, .kept_sequences = 0});
  std::vector<std::size_t> filled(sequences.rows, options.given);  // columns
  std::optional<Error> error;
  for (std::size_t s = 0; s < sequences.rows; ++s) {
    Request request{
        {sequences.row(s), sequences.row(s) + options.given},
        {.max_new_tokens = steps, .sampler = options.sampler, .stream = options.first_stream + s}};
    request.on_token = [&, s](std::int32_t token) {
      sequences(s, filled[s]++) = token;
      return true;
    };
    request.on_end = [&](const Result<GenerateReport>& made) {
      if (!made && !error) error = made.error();
    };
    AWQ_TRY(engine.Add(std::move(request)));
  }
  std::size_t done = 0;
  while (!engine.idle()) {
    AWQ_TRY(engine.Step());
    if (error) return *error;
    const std::size_t least = *std::ranges::min_element(filled) - options.given;
    while (done < least) {
      ++done;
      if (options.on_step) options.on_step(done, steps);
    }
  }
  return {};
}

}  // namespace awq::generate
