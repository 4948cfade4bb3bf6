#include <fmt/format.h>

#include <cstdio>

#include "cli/command.h"

namespace awq::cli {
namespace {

struct Flags {
  explicit Flags(CLI::App& command)
      : runtime(command, {.threads = false, .device = true}), json(command) {}
  RuntimeFlags runtime;
  JsonFlag json;
  BenchOptions options;
};

void Show(std::FILE* out, const std::string& model, const BenchReport& report) {
  const bool is_cpu = report.device == "cpu";
  fmt::print(
      out,
      "{}: {} on {}, {} of weights a step, {} of keys and values a token; first token after {:.2f} "
      "s; {} at the peak (file pages included)\n\n{}\nMedians of repeats, [least, most]. Share: of "
      "what this {} right before and after each repeat.\nOf {}: of its product of the prompt with "
      "one matrix of this model, likewise.\n",
      model, report.arithmetic, is_cpu ? report.instruction_set : report.device,
      Bytes(report.weight_bytes), Bytes(report.kv_bytes_per_token), report.first_token_seconds,
      Bytes(report.peak_resident_bytes), report.markdown,
      is_cpu ? "machine read" : "GPU copied, reading and writing", is_cpu ? "oneDNN" : "cuBLASLt");
}

int Run(Flags& flags) {
  return RunAndReport(
      flags.runtime, flags.json,
      [&](const Runtime& runtime, ProgressBar&) { return Bench(flags.options, runtime); },
      [&](std::FILE* out, const BenchReport& report) { Show(out, flags.options.model, report); });
}

CLI::Option* AddCounts(CLI::App& command, const std::string& flag, std::vector<std::size_t>& counts,
                       const std::string& help) {
  return command.add_option(flag, counts, help)
      ->delimiter(',')
      ->allow_extra_args(false)
      ->transform(Trimmed())
      ->check(WholeNumber(1))
      ->capture_default_str();
}

}  // namespace

Action AddBench(CLI::App& app) {
  CLI::App& command = *app.add_subcommand(
      "bench", "How fast a model runs here, beside what this machine reaches at best");
  auto flags = std::make_shared<Flags>(command);
  BenchOptions& options = flags->options;
  AddModel(command, options.model, kAnyModel);
  AddCounts(command, "--prompt", options.prompt_tokens,
            "Tokens of prompts, separated by commas; decoding follows the first. The default is "
            "cut to the model's context")
      ->default_str("128,512");
  command.add_option("--gen", options.new_tokens, "New tokens of each sequence; likewise")
      ->check(WholeNumber(1))
      ->default_str("64");
  AddCounts(command, "--batch", options.batch, "Sequences that are decoded together");
  AddCounts(command, "--threads", options.threads,
            "Numbers of threads, each measured by itself; else all CPUs")
      ->check(WholeNumber(1, kMostThreads));
  command.add_option("--repeat", options.repeats, "Times that each figure is measured")
      ->check(WholeNumber(1))
      ->capture_default_str();
  AddArithmetic(command, options.arithmetic);
  return [flags] { return Run(*flags); };
}

}  // namespace awq::cli
