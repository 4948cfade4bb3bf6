#include "speed/speed.h"

#include <algorithm>
#include <chrono>
#include <tuple>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/error.h"
#include "base/random.h"
#include "generate/prefill.h"
#include "math/vector.h"

namespace awq::speed {
namespace {

using generate::kPrefillTokens;
using transformer::Batch;
using transformer::KvCache;
using transformer::Network;

constexpr double kProbeSeconds = 0.1;

std::vector<std::int32_t> SomeTokens(const Network& network, std::size_t count) {
  Random random(0, 0);
  std::vector<std::int32_t> tokens(count);
  for (std::int32_t& token : tokens)
    token = static_cast<std::int32_t>(random.Below(network.config().vocab_size));
  return tokens;
}

// Sequences of equal length, one a slot.
class Sequences {
 public:
  Sequences(Network& network, std::size_t count, std::size_t capacity_tokens)
      : network_(network),
        cache_(network.MakeCache({.layers = network.config().num_hidden_layers,
                                  .slots = count,
                                  .capacity_tokens = capacity_tokens})),
        next_(count),
        logits_(count, network.config().vocab_size),
        row_bytes_(KvCache::TokenBytes(network.config(), network.precision(), network.kv())) {}

  // A prompt for one of them, from position 0 on, and the most likely token after it.
  Status Fill(std::span<const std::int32_t> prompt, std::size_t slot) {
    for (std::size_t first = 0; first < prompt.size(); first += kPrefillTokens) {
      const std::size_t count = std::min(kPrefillTokens, prompt.size() - first);
      const std::span<const std::int32_t> part = prompt.subspan(first, count);
      if (first + count < prompt.size()) {
        AWQ_TRY(network_.Run(part, {{count, first, slot}}, *cache_));
      } else {
        const std::size_t last = count - 1;
        AWQ_TRY(RunAndDraw(part, {{count, first, slot}}, {&last, 1}, {&next_[slot], 1}));
      }
    }
    return {};
  }

  // One more token of each, at `position`.
  Status Step(std::size_t position) {
    Batch batch;
    std::vector<std::size_t> rows;
    for (std::size_t slot = 0; slot < next_.size(); ++slot) {
      batch.push_back({1, position, slot});
      rows.push_back(slot);
    }
    const std::vector<std::int32_t> tokens = next_;
    return RunAndDraw(tokens, batch, rows, next_);
  }

  // Of the keys and values that a token at `position` sees, in all layers.
  std::size_t SeenBytes(std::size_t position) const {
    std::size_t tokens = 0;
    for (const std::size_t window : network_.config().sliding_window) {
      tokens += window == 0 ? position + 1 : std::min(window, position + 1);
    }
    return tokens * row_bytes_;
  }

 private:
  Status RunAndDraw(std::span<const std::int32_t> tokens, const Batch& batch,
                    std::span<const std::size_t> rows, std::span<std::int32_t> drawn) {
    const std::vector<transformer::Draw> draws(rows.size());  // the most likely ones
    AWQ_ASSIGN(const bool has_drawn,
               network_.RunAndDraw(tokens, batch, *cache_, rows, draws, drawn));
    if (has_drawn) return {};
    AWQ_TRY(network_.LogitsOf(rows, logits_.view().Rows(0, rows.size())));
    for (std::size_t i = 0; i < rows.size(); ++i) {
      const std::span<const float> row(logits_.row(i), logits_.cols());
      drawn[i] = static_cast<std::int32_t>(math::ArgMax(row));
    }
    return {};
  }

  Network& network_;
  std::unique_ptr<KvCache> cache_;
  std::vector<std::int32_t> next_;  // token of each
  Matrix<float> logits_;
  std::size_t row_bytes_;  // of one token in one layer
};

Status CheckPositions(const Network& network, std::size_t tokens) {
  if (tokens > 0 && tokens <= network.positions()) return {};
  return MakeError(ErrorCode::kInvalidArgument, "{} tokens; the context has {}", tokens,
                   network.positions());
}

}  // namespace

Spread SpreadOf(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const std::size_t half = values.size() / 2;
  const double median =
      values.size() % 2 == 1 ? values[half] : (values[half - 1] + values[half]) / 2;
  return {median, values.front(), values.back()};
}

Speed Summarize(const std::vector<Repeat>& repeats) {
  const auto spread = [&](const auto& figure) {
    std::vector<double> values;
    for (const Repeat& repeat : repeats) values.push_back(figure(repeat));
    return SpreadOf(std::move(values));
  };
  const auto share = [](double done, double before, double after) {
    return before + after > 0 ? 2 * done / (before + after) : 0;
  };
  Speed speed;
  speed.tokens_per_second = spread([](const Repeat& r) { return r.tokens / r.seconds; });
  speed.bytes_per_second = spread([](const Repeat& r) { return r.bytes / r.seconds; }).median;
  speed.operations_per_second =
      spread([](const Repeat& r) { return r.operations / r.seconds; }).median;
  speed.share_of_reading = spread([&](const Repeat& r) {
                             return share(r.bytes / r.seconds, r.reads_before, r.reads_after);
                           }).median;
  speed.share_of_product =
      spread([&](const Repeat& r) {
        return share(r.operations / r.seconds, r.products_before, r.products_after);
      }).median;
  return speed;
}

SpeedTest::SpeedTest(Network& network, std::size_t repeats)
    : network_(network),
      repeats_(std::max<std::size_t>(1, repeats)),
      limits_(network.MakeLimits(1)) {}

Spread SpeedTest::reading() const { return SpreadOf(reads_); }

double SpeedTest::Read() {
  reads_.push_back(limits_->BytesPerSecond(kProbeSeconds));
  return reads_.back();
}

Result<Speed> SpeedTest::Measure(transformer::Limits* product,
                                 const std::function<Result<Repeat>()>& run) {
  // Reading comes last: oneDNN's threads, which look for more work for a while, sleep by then.
  const auto limits = [&] {
    const double products = product == nullptr ? 0 : product->OperationsPerSecond(kProbeSeconds);
    return std::pair(Read(), products);
  };
  std::vector<Repeat> repeats;
  auto before = limits();
  for (std::size_t i = 0; i < repeats_; ++i) {
    const auto start = std::chrono::steady_clock::now();
    AWQ_ASSIGN(Repeat repeat, run());
    repeat.seconds = SecondsSince(start);
    const auto after = limits();
    std::tie(repeat.reads_before, repeat.products_before) = before;
    std::tie(repeat.reads_after, repeat.products_after) = after;
    repeats.push_back(repeat);
    before = after;
  }
  return Summarize(repeats);
}

Result<Speed> SpeedTest::Prefill(std::size_t tokens) {
  AWQ_TRY(CheckPositions(network_, tokens));
  const std::vector<std::int32_t> prompt = SomeTokens(network_, tokens);
  Sequences sequences(network_, 1, tokens);
  AWQ_TRY(sequences.Fill(prompt, 0));  // all is made ready before it is timed
  const auto blocks = network_.BlockWork();
  const auto head = network_.HeadWork();
  const auto product = network_.MakeLimits(std::min(tokens, kPrefillTokens));
  return Measure(product.get(), [&]() -> Result<Repeat> {
    AWQ_TRY(sequences.Fill(prompt, 0));
    const auto times = static_cast<double>(tokens);
    Repeat repeat;
    repeat.tokens = times;
    repeat.bytes = static_cast<double>(CeilDiv(tokens, kPrefillTokens) * blocks.weight_bytes +
                                       head.weight_bytes);
    repeat.operations = 2 * (times * static_cast<double>(blocks.multiplications) +
                             static_cast<double>(head.multiplications));
    return repeat;
  });
}

Result<Speed> SpeedTest::Decode(std::size_t prompt_tokens, std::size_t new_tokens,
                                std::size_t batch) {
  AWQ_TRY(CheckPositions(network_, prompt_tokens + new_tokens));
  const std::vector<std::int32_t> prompt = SomeTokens(network_, prompt_tokens);
  Sequences sequences(network_, batch, prompt_tokens + new_tokens);
  for (std::size_t slot = 0; slot < batch; ++slot) AWQ_TRY(sequences.Fill(prompt, slot));
  AWQ_TRY(sequences.Step(prompt_tokens));
  const auto blocks = network_.BlockWork();
  const auto head = network_.HeadWork();
  return Measure(nullptr, [&]() -> Result<Repeat> {
    Repeat repeat;
    for (std::size_t i = 0; i < new_tokens; ++i) {
      const std::size_t position = prompt_tokens + i;
      AWQ_TRY(sequences.Step(position));
      repeat.bytes += static_cast<double>(blocks.weight_bytes + head.weight_bytes +
                                          batch * sequences.SeenBytes(position));
    }
    const auto tokens = static_cast<double>(batch * new_tokens);
    repeat.tokens = tokens;
    repeat.operations =
        2 * tokens * static_cast<double>(blocks.multiplications + head.multiplications);
    return repeat;
  });
}

}  // namespace awq::speed
