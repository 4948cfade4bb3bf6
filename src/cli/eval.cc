#include <fmt/format.h>

#include "cli/command.h"

namespace awq::cli {
namespace {

struct Flags {
  explicit Flags(CLI::App& command) : runtime(command, {.device = true}), json(command) {}
  RuntimeFlags runtime;
  JsonFlag json;
  EvaluateOptions options;
  std::size_t max_tokens = 0;
  std::string bos = "auto";
  CLI::Option* max_tokens_given = nullptr;
};

// A single window has no spread, and so no interval.
struct Rows {
  std::FILE* out;
  bool intervals;

  void Print(std::string_view name, const Estimate& estimate, int digits) const {
    fmt::print(out, "  {:<22}{:>12.{}f}", name, estimate.value, digits);
    if (intervals) {
      fmt::print(out, "   [{:.{}f}, {:.{}f}]", estimate.low, digits, estimate.high, digits);
    }
    fmt::print(out, "\n");
  }
};

void Show(std::FILE* out, const std::string& model, const EvaluateReport& report) {
  const Rows rows{out, report.windows > 1};
  fmt::print(out, "{}: {} in {} of {}{}\n", model, Counted(report.tokens, "prediction"),
             Counted(report.windows, "window"), Counted(report.ctx, "token"),
             rows.intervals ? " (95 % intervals over windows)" : "");
  rows.Print("perplexity", report.perplexity, 4);
  rows.Print("nats per token", report.nll_nats_per_token, 4);
  if (report.has_reference) {
    rows.Print("reference perplexity", report.reference_perplexity, 4);
    rows.Print("KL mean, nats", report.kl_mean_nats, 5);
    rows.Print("KL median, nats", report.kl_median_nats, 5);
    rows.Print("KL 99 %, nats", report.kl_p99_nats, 5);
    rows.Print("top-1 agreement", report.top1_agreement, 4);
  }
  fmt::print(out, "  took {}{}, {} at the peak (file pages included)\n", Duration(report.seconds),
             OnDevice(report.device), Bytes(report.peak_resident_bytes));
}

int Run(Flags& flags) {
  if (flags.max_tokens_given->count() > 0) flags.options.max_tokens = flags.max_tokens;
  flags.options.bos = ParseBos(flags.bos);
  return RunAndReport(
      flags.runtime, flags.json,
      [&](const Runtime& runtime, ProgressBar&) { return Evaluate(flags.options, runtime); },
      [&](std::FILE* out, const EvaluateReport& report) {
        Show(out, flags.options.model, report);
      });
}

}  // namespace

Action AddEval(CLI::App& app) {
  CLI::App& command =
      *app.add_subcommand("eval", "Perplexity of a text, and the distance to another model");
  auto flags = std::make_shared<Flags>(command);
  EvaluateOptions& options = flags->options;
  AddModel(command, options.model, kAnyModel);
  command
      .add_option("--text", options.text,
                  "The text to predict, or .jsonl with a \"text\" field (gzip or not)")
      ->check(NotEmpty())
      ->required();
  command
      .add_option("--reference", options.reference,
                  "The original model: adds KL divergence and agreement")
      ->check(NotEmpty());
  command.add_option("--ctx", options.ctx, "Tokens per window")
      ->check(WholeNumber(2, 1 << 24))
      ->default_str("2048");
  AddArithmetic(command, options.arithmetic);
  AddBos(command, flags->bos)->capture_default_str();
  flags->max_tokens_given =
      command
          .add_option("--max-tokens", flags->max_tokens,
                      "Look at about this many tokens only, but at one window")
          ->check(WholeNumber(1));
  return [flags] { return Run(*flags); };
}

}  // namespace awq::cli
