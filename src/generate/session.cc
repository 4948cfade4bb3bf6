#include <algorithm>
#include <chrono>
#include <utility>

#include "base/clock.h"
#include "base/error.h"
#include "generate/generate.h"
#include "generate/prefill.h"

namespace awq::generate {
namespace {

using transformer::Network;

}  // namespace

// One sequence and its cache.
class Session::Decoder {
 public:
  explicit Decoder(Network& network)
      : network_(network),
        cache_(network.config(), network.precision(),
               {network.config().num_hidden_layers, 1, 0, network.kv()}),
        logits_(1, network.config().vocab_size) {}

  Network& network() { return network_; }

  // Keeps what `tokens` begin with, of all but the last of them; how many that are. At most
  // `capacity_tokens` will follow.
  std::size_t Rewind(std::span<const std::int32_t> tokens, std::size_t capacity_tokens) {
    const auto last = tokens.end() - 1;
    const auto common = std::mismatch(tokens.begin(), last, held_.begin(), held_.end()).first;
    held_.resize(static_cast<std::size_t>(common - tokens.begin()));
    const std::size_t room = cache_.shape().capacity_tokens;
    if (capacity_tokens > room) {
      // A first prompt gets what it needs; one that grows, room to grow on.
      const std::size_t wanted = std::max(capacity_tokens, 2 * room);
      cache_.Reserve(std::min(wanted, network_.positions()));
    }
    return held_.size();
  }

  // Appends tokens; logits() is then what follows the last. False where `goes_on` said so.
  Result<bool> Append(std::span<const std::int32_t> tokens, const std::function<bool()>& goes_on) {
    while (!tokens.empty()) {
      if (goes_on && !goes_on()) return false;
      const std::size_t count = std::min(tokens.size(), kPrefillTokens);
      if (hidden_.rows() < count) hidden_ = Matrix<float>(count, network_.config().hidden_size);
      const MatrixView<float> hidden = hidden_.view().Rows(0, count);
      AWQ_TRY(network_.Embed(tokens.first(count), hidden));
      AWQ_TRY(network_.RunBlocks({{count, held_.size(), 0}}, cache_, hidden));
      held_.insert(held_.end(), tokens.begin(),
                   tokens.begin() + static_cast<std::ptrdiff_t>(count));
      tokens = tokens.subspan(count);
      if (tokens.empty()) network_.Logits(hidden.Rows(count - 1, 1), logits_);
    }
    return true;
  }

  std::span<float> logits() { return logits_.span(); }

 private:
  Network& network_;
  transformer::KvCache cache_;
  Matrix<float> hidden_;
  Matrix<float> logits_;
  std::vector<std::int32_t> held_;  // whose keys and values are in the cache
};

Session::Session(Network& network) : decoder_(std::make_unique<Decoder>(network)) {}
Session::~Session() = default;

Result<GenerateReport> Session::Generate(std::span<const std::int32_t> prompt,
                                         const GenerateOptions& options, const OnToken& on_token) {
  const std::size_t positions = decoder_->network().positions();
  if (prompt.empty() || prompt.size() >= positions) {
    return MakeError(ErrorCode::kInvalidArgument,
                     "a prompt of {} tokens; the context of {} has room for 1 to {} and an answer",
                     prompt.size(), positions, std::max<std::size_t>(positions, 1) - 1);
  }
  const std::size_t room = positions - prompt.size();
  Sampler sampler(options.sampler, options.stream);
  sampler.See(prompt);
  GenerateReport report;
  report.prompt_tokens = prompt.size();
  report.reused_tokens =
      decoder_->Rewind(prompt, prompt.size() + std::min(options.max_new_tokens, room));
  const auto start = std::chrono::steady_clock::now();
  AWQ_ASSIGN(const bool prefilled,
             decoder_->Append(prompt.subspan(report.reused_tokens), options.goes_on));
  report.prefill_seconds = SecondsSince(start);
  const auto decode_start = std::chrono::steady_clock::now();
  if (!prefilled) report.stop = StopReason::kCaller;
  while (prefilled && report.tokens.size() < options.max_new_tokens) {
    AWQ_ASSIGN(const std::int32_t token, sampler.Next(decoder_->logits()));
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
    if (report.tokens.size() < options.max_new_tokens) AWQ_TRY(decoder_->Append({&token, 1}, {}));
  }
  report.decode_seconds = SecondsSince(decode_start);
  return report;
}

Result<GenerateReport> Generate(Network& network, std::span<const std::int32_t> prompt,
                                const GenerateOptions& options, const OnToken& on_token) {
  return Session(network).Generate(prompt, options, on_token);
}

}  // namespace awq::generate
