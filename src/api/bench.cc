#include <awq/awq.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <chrono>
#include <nlohmann/json.hpp>

#include "api/guard.h"
#include "api/runtime.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/isa.h"
#include "base/memory.h"
#include "generate/generate.h"
#include "speed/speed.h"

namespace awq {
namespace {

SpeedFigure FigureOf(const speed::Spread& spread) {
  return {spread.median, spread.least, spread.most};
}

std::string ToMarkdown(const BenchReport& report) {
  const bool is_cpu = report.device == "cpu";
  std::string text = fmt::format(
      "| | prompt | new | batch | threads | tokens/s | GB/s | {} | share, % | Gop/s | of {}, % |\n"
      "|---|---|---|---|---|---|---|---|---|---|---|\n",
      is_cpu ? "machine reads" : "GPU copies", is_cpu ? "oneDNN" : "cuBLASLt");
  for (const BenchRow& row : report.rows) {
    const SpeedFigure& tokens = row.tokens_per_second;
    text += fmt::format(
        "| {} | {} | {} | {} | {} | {:.1f} [{:.1f}, {:.1f}] | {:.1f} | {:.1f} | {:.0f} | {:.0f} | "
        "{} |\n",
        row.decode ? "decode" : "prefill", row.prompt_tokens,
        row.decode ? std::to_string(row.new_tokens) : "-", row.batch, row.threads, tokens.median,
        tokens.least, tokens.most, row.read_bytes_per_second / 1e9,
        row.machine_read_bytes_per_second / 1e9, 100 * row.share_of_reading,
        row.operations_per_second / 1e9,
        row.decode ? "-" : fmt::format("{:.0f}", 100 * row.share_of_product));
  }
  return text;
}

nlohmann::json ToJson(const SpeedFigure& figure) {
  return {{"median", figure.median}, {"least", figure.least}, {"most", figure.most}};
}

std::string ToJson(const BenchReport& report) {
  nlohmann::json rows = nlohmann::json::array();
  for (const BenchRow& row : report.rows) {
    rows.push_back({{"kind", row.decode ? "decode" : "prefill"},
                    {"prompt_tokens", row.prompt_tokens},
                    {"new_tokens", row.new_tokens},
                    {"batch", row.batch},
                    {"threads", row.threads},
                    {"tokens_per_second", ToJson(row.tokens_per_second)},
                    {"read_bytes_per_second", row.read_bytes_per_second},
                    {"machine_read_bytes_per_second", row.machine_read_bytes_per_second},
                    {"share_of_reading", row.share_of_reading},
                    {"operations_per_second", row.operations_per_second},
                    {"share_of_product", row.share_of_product}});
  }
  return nlohmann::json{{"arithmetic", report.arithmetic},
                        {"device", report.device},
                        {"instruction_set", report.instruction_set},
                        {"weight_bytes", report.weight_bytes},
                        {"kv_bytes_per_token", report.kv_bytes_per_token},
                        {"first_token_seconds", report.first_token_seconds},
                        {"peak_resident_bytes", report.peak_resident_bytes},
                        {"rows", rows}}
      .dump(1);
}

struct Lengths {
  std::vector<std::size_t> prompts;
  std::size_t new_tokens = 0;
};

const Lengths kUsual = {{128, 512}, 64};

// As asked for; what is left open, as usual, or as far as the context has room for it.
Lengths ChooseLengths(const BenchOptions& options, std::size_t context) {
  Lengths chosen{options.prompt_tokens, options.new_tokens.value_or(kUsual.new_tokens)};
  const auto but = [context](std::size_t tokens) { return context - std::min(context, tokens); };
  if (!options.new_tokens) {
    const std::size_t room = chosen.prompts.empty() ? context / 2 : but(chosen.prompts.front());
    chosen.new_tokens = std::clamp<std::size_t>(room, 1, kUsual.new_tokens);
  }
  if (!chosen.prompts.empty()) return chosen;
  const std::size_t first = std::clamp<std::size_t>(but(chosen.new_tokens), 1, kUsual.prompts[0]);
  const std::size_t longest = std::min(context, kUsual.prompts[1]);
  chosen.prompts = {first};
  if (longest > first) chosen.prompts.push_back(longest);
  return chosen;
}

// All rows, for one number of threads after another.
class Bencher {
 public:
  Bencher(const BenchOptions& options, const Runtime& runtime, const checkpoint::StoredModel& model,
          std::chrono::steady_clock::time_point start)
      : options_(options),
        runtime_(runtime),
        model_(model),
        start_(start),
        lengths_(ChooseLengths(options, model.config().max_position_embeddings)) {}

  Result<BenchReport> Run() {
    AWQ_TRY(Check());
    SayWhatWasCut();
    std::vector<std::size_t> threads = options_.threads;
    if (threads.empty()) threads.push_back(runtime_.threads);
    rows_ = threads.size() * (lengths_.prompts.size() + options_.batch.size());
    Report(runtime_.progress, "measuring", 0, rows_, "rows");
    for (const std::size_t count : threads) AWQ_TRY(RunWith(count));
    report_.markdown = ToMarkdown(report_);
    report_.json = ToJson(report_);
    return std::move(report_);
  }

 private:
  Status Check() const {
    if (std::ranges::count(lengths_.prompts, 0U) > 0) {
      return MakeError(ErrorCode::kInvalidArgument, "prompt_tokens: expected at least one token");
    }
    if (lengths_.new_tokens == 0 || std::ranges::count(options_.batch, 0U) > 0) {
      return MakeError(ErrorCode::kInvalidArgument,
                       "new_tokens and batch: expected at least one token and one sequence");
    }
    const std::size_t limit = model_.config().max_position_embeddings;
    if (positions() <= limit) return {};
    return MakeError(ErrorCode::kInvalidArgument,
                     "a prompt, or the first one and its answer, takes {} tokens; this model's "
                     "context has {}: ask for shorter ones (--prompt, --gen)",
                     positions(), limit);
  }

  std::size_t positions() const {
    return std::max(std::ranges::max(lengths_.prompts),
                    lengths_.prompts.front() + lengths_.new_tokens);
  }

  void SayWhatWasCut() const {
    const bool usual = (!options_.prompt_tokens.empty() || lengths_.prompts == kUsual.prompts) &&
                       (options_.new_tokens || lengths_.new_tokens == kUsual.new_tokens);
    if (usual) return;
    api::Note(runtime_, fmt::format("the model's context of {} tokens has no room for the usual "
                                    "lengths: prompts of {} tokens, {} new ones after the first",
                                    model_.config().max_position_embeddings,
                                    fmt::join(lengths_.prompts, " and "), lengths_.new_tokens));
  }

  Status RunWith(std::size_t threads) {
    ThreadPool pool(api::CheckedThreads(runtime_, threads));
    AWQ_ASSIGN(const auto network,
               api::MakeNetwork(pool, model_, runtime_, options_.arithmetic, positions()));
    AWQ_TRY(generate::Generate(*network, {{0}}, {.max_new_tokens = 1}));
    if (report_.rows.empty()) {  // before memory is taken to measure the machine
      report_.first_token_seconds = SecondsSince(start_);
      report_.peak_resident_bytes = ReadMemoryUse().peak_resident_bytes;
    }
    report_.arithmetic = network->arithmetic();
    report_.device = network->device();
    if (report_.device == "cpu") report_.instruction_set = IsaName(ActiveIsa());
    report_.weight_bytes = network->BlockWork().weight_bytes + network->HeadWork().weight_bytes;
    report_.kv_bytes_per_token =
        network->config().num_hidden_layers *
        transformer::KvCache::TokenBytes(network->config(), network->precision(), network->kv());
    speed::SpeedTest test(*network, options_.repeats);
    const std::size_t prompt = lengths_.prompts.front();
    for (const std::size_t tokens : lengths_.prompts) {
      AWQ_TRY(Add(test.Prefill(tokens), {.prompt_tokens = tokens, .threads = pool.size()}));
    }
    for (const std::size_t batch : options_.batch) {
      AWQ_TRY(
          Add(test.Decode(prompt, lengths_.new_tokens, batch), {.decode = true,
                                                                .prompt_tokens = prompt,
                                                                .new_tokens = lengths_.new_tokens,
                                                                .batch = batch,
                                                                .threads = pool.size()}));
    }
    for (BenchRow& row : report_.rows) {
      if (row.threads == pool.size()) row.machine_read_bytes_per_second = test.reading().median;
    }
    return {};
  }

  Status Add(const Result<speed::Speed>& speed, BenchRow row) {
    if (!speed) return speed.error();
    row.tokens_per_second = FigureOf(speed->tokens_per_second);
    row.read_bytes_per_second = speed->bytes_per_second;
    row.operations_per_second = speed->operations_per_second;
    row.share_of_reading = speed->share_of_reading;
    row.share_of_product = speed->share_of_product;
    report_.rows.push_back(row);
    Report(runtime_.progress, "measuring", report_.rows.size(), rows_, "rows");
    return {};
  }

  const BenchOptions& options_;
  const Runtime& runtime_;
  const checkpoint::StoredModel& model_;
  std::chrono::steady_clock::time_point start_;  // before the model was opened
  Lengths lengths_;
  std::size_t rows_ = 0;  // that there will be
  BenchReport report_;
};

}  // namespace

Result<BenchReport> Bench(const BenchOptions& options, const Runtime& runtime) {
  return api::Guard([&]() -> Result<BenchReport> {
    const auto start = std::chrono::steady_clock::now();
    AWQ_ASSIGN(const auto model, api::OpenModel(options.model, runtime));
    return Bencher(options, runtime, *model, start).Run();
  });
}

}  // namespace awq
