#include <fmt/format.h>

#include "cli/command.h"
#include "cli/progress_bar.h"

namespace awq::cli {
namespace {

struct Flags {
  explicit Flags(CLI::App& command) : runtime(command), json(command) {}
  RuntimeFlags runtime;
  JsonFlag json;
  EvaluateOptions options;
  std::size_t max_tokens = 0;
  std::string bos = "auto";
  CLI::Option* max_tokens_given = nullptr;
};

void PrintRow(std::FILE* out, std::string_view name, const Estimate& estimate, int digits) {
  fmt::print(out, "  {:<22}{:>12.{}f}   [{:.{}f}, {:.{}f}]\n", name, estimate.value, digits,
             estimate.low, digits, estimate.high, digits);
}

int Run(Flags& flags) {
  if (flags.max_tokens_given->count() > 0) flags.options.max_tokens = flags.max_tokens;
  flags.options.bos = ParseBos(flags.bos);
  if (const int failed = flags.json.Check(); failed != 0) return failed;
  ProgressBar progress;
  const auto report = Evaluate(flags.options, flags.runtime.Make(progress));
  progress.Clear();
  if (!report) return Fail(report.error());
  std::FILE* out = flags.json.readable();
  fmt::print(out, "{}: {} predictions in {} windows of {} tokens (95 % intervals over windows)\n",
             flags.options.model, report->tokens, report->windows, report->ctx);
  PrintRow(out, "perplexity", report->perplexity, 4);
  PrintRow(out, "nats per token", report->nll_nats_per_token, 4);
  if (report->has_reference) {
    PrintRow(out, "reference perplexity", report->reference_perplexity, 4);
    PrintRow(out, "KL mean, nats", report->kl_mean_nats, 5);
    PrintRow(out, "KL median, nats", report->kl_median_nats, 5);
    PrintRow(out, "KL 99 %, nats", report->kl_p99_nats, 5);
    PrintRow(out, "top-1 agreement", report->top1_agreement, 4);
  }
  fmt::print(out, "  took {}, {} at the peak (file pages included)\n", Duration(report->seconds),
             Bytes(report->peak_resident_bytes));
  return flags.json.Write(report->json);
}

}  // namespace

Action AddEval(CLI::App& app) {
  CLI::App& command =
      *app.add_subcommand("eval", "Perplexity of a text, and the distance to another model");
  auto flags = std::make_shared<Flags>(command);
  EvaluateOptions& options = flags->options;
  command.add_option("MODEL", options.model, "A model directory, quantized or not")->required();
  command.add_option("--text", options.text, "The text to predict (gzip or not)")->required();
  command.add_option("--reference", options.reference,
                     "The original model: adds KL divergence and agreement");
  command.add_option("--ctx", options.ctx, "Tokens per window")
      ->check(CLI::Range(2, 1 << 24))
      ->capture_default_str();
  AddBos(command, flags->bos)->capture_default_str();
  flags->max_tokens_given =
      command
          .add_option("--max-tokens", flags->max_tokens,
                      "Look at about this many tokens only, but at one window")
          ->check(CLI::PositiveNumber);
  return [flags] { return Run(*flags); };
}

}  // namespace awq::cli
