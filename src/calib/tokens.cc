#include "calib/tokens.h"

#include <algorithm>
#include <vector>

#include "base/error.h"
#include "base/random.h"
#include "calib/builtin_text.h"
#include "calib/text_source.h"
#include "generate/generate.h"
#include "model/arch.h"
#include "transformer/network.h"

namespace awq::calib {
namespace {

// More than the longest tokens of real vocabularies need on average, so that a huge file need not
// be tokenized whole.
constexpr std::size_t kBytesPerToken = 32;
constexpr std::size_t kCacheBytes = std::size_t{1} << 30;
constexpr std::size_t kFewestWindows = 8;
constexpr std::size_t kLogitsBytes = std::size_t{32} << 20;  // see generate::Engine
constexpr std::size_t kKeepBytes = std::size_t{512} << 20;
// Drawn at this temperature, the first tokens of stories15M and minimind2 differ in nearly every
// window, and the text after them reads as usual.
constexpr std::size_t kWideTokens = 4;
constexpr float kWideTemperature = 2.0F;

std::size_t WindowsAtOnce(const model::ModelConfig& config, const CalibrationOptions& options) {
  const std::size_t window_bytes = transformer::KvCache::Bytes(
      config, options.precision,
      {.layers = config.num_hidden_layers, .slots = 1, .capacity_tokens = options.sequence_tokens});
  return std::clamp(kCacheBytes / std::max<std::size_t>(1, window_bytes), kFewestWindows,
                    std::max(kFewestWindows, options.samples));
}

// Tokens that would end or frame a text, and ids that no token has.
std::vector<std::int32_t> NeverDrawn(const model::ModelConfig& config,
                                     const text::Tokenizer& tokenizer) {
  std::vector<std::int32_t> banned;
  for (std::size_t id = 0; id < config.vocab_size; ++id) {
    const auto token = static_cast<std::int32_t>(id);
    if (tokenizer.IsSpecial(token) || !tokenizer.IdToToken(token)) banned.push_back(token);
  }
  for (std::int64_t id : config.eos_token_ids) banned.push_back(static_cast<std::int32_t>(id));
  std::sort(banned.begin(), banned.end());
  banned.erase(std::unique(banned.begin(), banned.end()), banned.end());
  return banned;
}

// BOS, or where there is none any ordinary token: a window has to begin with something.
Status SetFirstTokens(const model::ModelConfig& config, const text::Tokenizer& tokenizer,
                      const CalibrationOptions& options,
                      const std::vector<std::int32_t>& never_drawn, Matrix<std::int32_t>& ids) {
  std::vector<std::int32_t> candidates;
  const std::optional<std::int32_t> bos = BosToken(config, tokenizer);
  if (options.bos != text::BosMode::kNever && bos) {
    candidates.push_back(*bos);
  } else {
    for (std::size_t id = 0; id < config.vocab_size; ++id) {
      const auto token = static_cast<std::int32_t>(id);
      if (!std::binary_search(never_drawn.begin(), never_drawn.end(), token)) {
        candidates.push_back(token);
      }
    }
  }
  if (candidates.empty()) {
    return MakeError(ErrorCode::kCorrupt,
                     "the tokenizer has no ordinary token to begin a text with; use --calib FILE");
  }
  Random random(options.seed);
  for (std::size_t row = 0; row < ids.rows(); ++row) {
    ids(row, 0) = candidates[random.Below(candidates.size())];
  }
  return {};
}

Result<CalibrationTokens> FromText(const text::Tokenizer& tokenizer,
                                   const model::ModelConfig& config, std::string_view text,
                                   const std::string& name, const CalibrationOptions& options) {
  auto windows = text::CutWindows(tokenizer, text,
                                  {.ctx_tokens = options.sequence_tokens,
                                   .bos = options.bos,
                                   .bos_token_id = BosToken(config, tokenizer),
                                   .ctx_flag = "--seq-len",
                                   .max_windows = options.samples});
  if (!windows) return MakeError(windows.error().code, "{}: {}", name, windows.error().message);
  const std::size_t count = windows->ids.rows();
  return CalibrationTokens{
      std::move(windows->ids),
      fmt::format("{} of {} window{} of {} tokens from {}{}", count, options.samples,
                  options.samples == 1 ? "" : "s", options.sequence_tokens, name,
                  count < options.samples ? " (the text holds no more)" : "")};
}

}  // namespace

std::optional<std::int32_t> BosToken(const model::ModelConfig& config,
                                     const text::Tokenizer& tokenizer) {
  if (config.bos_token_id) return static_cast<std::int32_t>(*config.bos_token_id);
  return tokenizer.bos_id();
}

Result<CalibrationTokens> FromFile(const text::Tokenizer& tokenizer,
                                   const model::ModelConfig& config,
                                   const std::filesystem::path& path,
                                   const CalibrationOptions& options) {
  const std::size_t wanted_tokens = options.samples * options.sequence_tokens;
  AWQ_ASSIGN(
      const std::string text,
      ReadCalibrationText(path, std::max(wanted_tokens, std::size_t{4096}) * kBytesPerToken));
  return FromText(tokenizer, config, text, path.string(), options);
}

Result<CalibrationTokens> FromBuiltin(const text::Tokenizer& tokenizer,
                                      const model::ModelConfig& config,
                                      const CalibrationOptions& options) {
  return FromText(tokenizer, config, BuiltinText(), "the built-in text", options);
}

CalibrationTokens Interleave(const CalibrationTokens& a, const CalibrationTokens& b) {
  AWQ_CHECK_EQ(a.ids.cols(), b.ids.cols());
  CalibrationTokens both{Matrix<std::int32_t>(a.ids.rows() + b.ids.rows(), a.ids.cols()),
                         a.source + " and " + b.source};
  std::size_t row = 0;
  for (std::size_t i = 0; row < both.ids.rows(); ++i) {
    for (const CalibrationTokens* from : {&a, &b}) {
      if (i < from->ids.rows()) std::copy_n(from->ids.row(i), a.ids.cols(), both.ids.row(row++));
    }
  }
  return both;
}

std::size_t SelfCalibrationBytes(const model::ModelConfig& config,
                                 const CalibrationOptions& options) {
  const std::size_t element = options.precision == math::Precision::kBF16 ? 2 : 4;
  const std::size_t windows = std::min(options.samples, WindowsAtOnce(config, options));
  std::size_t block_bytes = 0;
  for (const model::LinearRow& row : config.arch->linears) {
    block_bytes += model::Width(config, row.out) * model::Width(config, row.in) * element;
  }
  const std::size_t kept_bytes =
      std::min(kKeepBytes, block_bytes * config.num_hidden_layers) + block_bytes;
  const std::size_t widest =
      std::max({config.intermediate_size, config.hidden_size, config.q_width()});
  return transformer::KvCache::Bytes(config, options.precision,
                                     {.layers = config.num_hidden_layers,
                                      .slots = windows,
                                      .capacity_tokens = options.sequence_tokens}) +
         kept_bytes + config.vocab_size * config.hidden_size * element + kLogitsBytes +
         windows * 6 * widest * sizeof(float);
}

Result<CalibrationTokens> FromModel(ThreadPool& pool, const model::WeightSource& source,
                                    const text::Tokenizer& tokenizer,
                                    const CalibrationOptions& options) {
  const model::ModelConfig& config = source.config();
  AWQ_ASSIGN(const std::unique_ptr<transformer::Network> network,
             transformer::Network::Create(pool, source,
                                          {.precision = options.precision,
                                           .positions = options.sequence_tokens,
                                           .keep_bytes = kKeepBytes}));
  generate::BatchOptions batch;
  batch.sampler = {.temperature = 1.0F,
                   .banned_tokens = NeverDrawn(config, tokenizer),
                   .wide_tokens = kWideTokens,
                   .wide_temperature = kWideTemperature,
                   .seed = options.seed};

  CalibrationTokens tokens{
      Matrix<std::int32_t>(options.samples, options.sequence_tokens),
      fmt::format("{} window{} of {} tokens that the model wrote itself", options.samples,
                  options.samples == 1 ? "" : "s", options.sequence_tokens)};
  AWQ_TRY(SetFirstTokens(config, tokenizer, options, batch.sampler.banned_tokens, tokens.ids));
  const std::size_t at_once = WindowsAtOnce(config, options);
  for (std::size_t row = 0; row < options.samples; row += at_once) {
    const std::size_t count = std::min(at_once, options.samples - row);
    batch.first_stream = row;
    batch.on_step = [&](std::size_t step, std::size_t) {
      const std::size_t done = row * options.sequence_tokens + step * count;
      Report(options.progress, "writing text", done, tokens.ids.size(), "tokens");
    };
    AWQ_TRY(generate::GenerateBatch(*network, tokens.ids.view().Rows(row, count), batch));
  }
  return tokens;
}

}  // namespace awq::calib
