#include "generate/generate.h"

#include <algorithm>
#include <chrono>
#include <optional>
#include <utility>

#include "base/error.h"

namespace awq::generate {
namespace {

using transformer::Batch;
using transformer::KvCache;
using transformer::Network;

constexpr std::size_t kPrefillTokens = 2048;  // that go through the network together
constexpr std::size_t kLogitsBytes = std::size_t{32} << 20;

double SecondsSince(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// One sequence and its cache.
class Decoder {
 public:
  Decoder(Network& network, std::size_t capacity_tokens)
      : network_(network),
        cache_(network.config(), network.precision(),
               {network.config().num_hidden_layers, 1, capacity_tokens}),
        logits_(1, network.config().vocab_size) {}

  // Appends tokens; logits() is then what follows the last.
  Status Append(std::span<const std::int32_t> tokens) {
    while (!tokens.empty()) {
      const std::size_t count = std::min(tokens.size(), kPrefillTokens);
      if (hidden_.rows() < count) hidden_ = Matrix<float>(count, network_.config().hidden_size);
      const MatrixView<float> hidden = hidden_.view().Rows(0, count);
      AWQ_TRY(network_.Embed(tokens.first(count), hidden));
      AWQ_TRY(network_.RunBlocks({{count, position_, 0}}, cache_, hidden));
      position_ += count;
      tokens = tokens.subspan(count);
      if (tokens.empty()) network_.Logits(hidden.Rows(count - 1, 1), logits_);
    }
    return {};
  }

  std::span<float> logits() { return logits_.span(); }
  std::size_t position() const { return position_; }

 private:
  Network& network_;
  KvCache cache_;
  Matrix<float> hidden_;
  Matrix<float> logits_;
  std::size_t position_ = 0;
};

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
               {network.config().num_hidden_layers, sequences.rows, sequences.cols}),
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

Result<GenerateReport> Generate(Network& network, std::span<const std::int32_t> prompt,
                                const GenerateOptions& options, const OnToken& on_token) {
  const std::size_t positions = network.positions();
  if (prompt.empty() || prompt.size() >= positions) {
    return MakeError(ErrorCode::kInvalidArgument,
                     "a prompt of {} tokens; the context of {} has room for 1 to {} and an answer",
                     prompt.size(), positions, std::max<std::size_t>(positions, 1) - 1);
  }
  const std::size_t room = positions - prompt.size();
  Decoder decoder(network, prompt.size() + std::min(options.max_new_tokens, room));
  Sampler sampler(options.sampler);
  GenerateReport report;
  report.prompt_tokens = prompt.size();
  const auto start = std::chrono::steady_clock::now();
  AWQ_TRY(decoder.Append(prompt));
  report.prefill_seconds = SecondsSince(start);
  const auto decode_start = std::chrono::steady_clock::now();
  for (;;) {
    if (report.tokens.size() >= options.max_new_tokens) break;
    AWQ_ASSIGN(const std::int32_t token, sampler.Next(decoder.logits()));
    const auto& ends = options.end_tokens;
    if (std::find(ends.begin(), ends.end(), token) != ends.end()) {
      report.stop = StopReason::kEnd;
      break;
    }
    report.tokens.push_back(token);
    if (on_token && !on_token(token)) {
      report.stop = StopReason::kCaller;
      break;
    }
    if (report.tokens.size() == room && room < options.max_new_tokens) {
      report.stop = StopReason::kContext;
      break;
    }
    if (report.tokens.size() < options.max_new_tokens) AWQ_TRY(decoder.Append({&token, 1}));
  }
  report.decode_seconds = SecondsSince(decode_start);
  return report;
}

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
