#include "generate/generate.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "base/error.h"
#include "generate/prefill.h"

namespace awq::generate {
namespace {

using transformer::Batch;
using transformer::KvCache;
using transformer::Network;

constexpr std::size_t kLogitsBytes = std::size_t{32} << 20;

// All sequences of a batch.
class BatchDecoder {
 public:
  BatchDecoder(ThreadPool& pool, Network& network, MatrixView<std::int32_t> sequences,
               const BatchOptions& options)
      : pool_(pool),
        network_(network),
        sequences_(sequences),
        options_(options),
        cache_(network.config(), network.precision(),
               {network.config().num_hidden_layers, sequences.rows, sequences.cols, network.kv()}),
        last_(sequences.rows, network.config().hidden_size) {
    for (std::size_t s = 0; s < sequences.rows; ++s) {
      samplers_.emplace_back(options.sampler, options.first_stream + s);
    }
    const std::size_t vocab = network.config().vocab_size;
    const std::size_t rows = kLogitsBytes / (vocab * sizeof(float));
    logits_ = Matrix<float>(std::clamp<std::size_t>(rows, 1, sequences.rows), vocab);
  }

  Status Run() {
    for (std::size_t column = options_.given; column < sequences_.cols; ++column) {
      const std::size_t known = column == options_.given ? 0 : column - 1;
      AWQ_TRY(Advance(known, column - known));
      AWQ_TRY(DrawColumn(column));
      if (options_.on_step) {
        options_.on_step(column + 1 - options_.given, sequences_.cols - options_.given);
      }
    }
    return {};
  }

 private:
  // Runs columns [first, first + count) of all sequences, as many sequences together as fit.
  Status Advance(std::size_t first, std::size_t count) {
    const std::size_t together = std::max<std::size_t>(1, kPrefillTokens / count);
    for (std::size_t s = 0; s < sequences_.rows; s += together) {
      const std::size_t n = std::min(together, sequences_.rows - s);
      AWQ_TRY(AdvanceSome(s, n, first, count));
    }
    return {};
  }

  Status AdvanceSome(std::size_t first_sequence, std::size_t n, std::size_t first,
                     std::size_t count) {
    Batch batch;
    if (hidden_.rows() < n * count) hidden_ = Matrix<float>(n * count, last_.cols());
    const MatrixView<float> hidden = hidden_.view().Rows(0, n * count);
    for (std::size_t i = 0; i < n; ++i) {
      batch.push_back({count, first, first_sequence + i});
      AWQ_TRY(network_.Embed({sequences_.row(first_sequence + i) + first, count},
                             hidden.Rows(i * count, count)));
    }
    AWQ_TRY(network_.RunBlocks(batch, cache_, hidden));
    for (std::size_t i = 0; i < n; ++i) {
      std::copy_n(hidden.row((i + 1) * count - 1), last_.cols(), last_.row(first_sequence + i));
    }
    return {};
  }

  Status DrawColumn(std::size_t column) {
    const bool wide = column - options_.given < options_.wide_tokens;
    const float temperature = wide ? options_.wide_temperature : options_.sampler.temperature;
    std::vector<std::optional<Error>> errors(sequences_.rows);
    for (std::size_t s = 0; s < sequences_.rows; s += logits_.rows()) {
      const std::size_t n = std::min(logits_.rows(), sequences_.rows - s);
      network_.Logits(last_.view().Rows(s, n), logits_.view().Rows(0, n));
      pool_.ParallelFor(n, [&](std::size_t i, std::size_t) {
        const auto token = samplers_[s + i].Next({logits_.row(i), logits_.cols()}, temperature);
        if (token) {
          sequences_(s + i, column) = *token;
        } else {
          errors[s + i] = token.error();
        }
      });
    }
    for (const std::optional<Error>& error : errors) {
      if (error) return *error;
    }
    return {};
  }

  ThreadPool& pool_;
  Network& network_;
  MatrixView<std::int32_t> sequences_;
  const BatchOptions& options_;
  KvCache cache_;
  std::vector<Sampler> samplers_;
  Matrix<float> hidden_;
  Matrix<float> last_;  // [n, hidden_size], of the last token that was run
  Matrix<float> logits_;
};

}  // namespace

Status GenerateBatch(ThreadPool& pool, Network& network, MatrixView<std::int32_t> sequences,
                     const BatchOptions& options) {
  if (options.given < 1 || options.given > sequences.cols) {
    return MakeError(ErrorCode::kInvalidArgument,
                     "{} given tokens in sequences of {}: expected between 1 and the whole",
                     options.given, sequences.cols);
  }
  if (sequences.cols > network.positions()) {
    return MakeError(ErrorCode::kInvalidArgument,
                     "sequences of {} tokens are longer than the context of {}", sequences.cols,
                     network.positions());
  }
  if (sequences.rows == 0) return {};
  return BatchDecoder(pool, network, sequences, options).Run();
}

}  // namespace awq::generate
