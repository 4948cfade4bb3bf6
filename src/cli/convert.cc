#include <fmt/format.h>

#include <algorithm>

#include "cli/command.h"

namespace awq::cli {
namespace {

constexpr std::size_t kShownChanges = 5;

struct Flags {
  explicit Flags(CLI::App& command) : runtime(command), json(command) {}
  RuntimeFlags runtime;
  JsonFlag json;
  ConvertOptions options;
  bool quiet = false;
};

void Show(std::FILE* out, const ConvertOptions& options, const ConvertSummary& summary) {
  fmt::print(out, "{} ({}) -> {} ({})\n", options.model, summary.from, options.output, summary.to);
  if (summary.linears == 0) {
    fmt::print(out, "  lossless     every value as it was\n");
  } else if (summary.changes.empty()) {
    fmt::print(out, "  lossless     {}, every code, zero point and scale as it was\n",
               Counted(summary.linears, "linear"));
  } else {
    fmt::print(out, "  lossy        {} of {} changed\n", summary.changes.size(),
               Counted(summary.linears, "linear"));
    for (std::size_t i = 0; i < std::min(kShownChanges, summary.changes.size()); ++i) {
      fmt::print(out, "               {}\n", Printable(summary.changes[i]));
    }
    if (summary.changes.size() > kShownChanges) {
      fmt::print(out, "               and {} more\n", summary.changes.size() - kShownChanges);
    }
    for (const MovedNumbers& kind : summary.moved) {
      fmt::print(out, "  moved        {} {}, by {:.3g} at most{}\n", kind.count, kind.what,
                 kind.largest_absolute,
                 kind.largest_relative > 0
                     ? fmt::format(", or {:.2g} % of what was there", 100 * kind.largest_relative)
                     : "");
    }
  }
  fmt::print(out, "  weights      {} -> {}\n", Bytes(summary.input_bytes),
             Bytes(summary.output_bytes));
  if (summary.resumed) fmt::print(out, "  continued    an interrupted run\n");
  fmt::print(out, "  took         {} ({}/s of input); at the peak {} allocated\n",
             Duration(summary.seconds),
             Bytes(static_cast<std::size_t>(static_cast<double>(summary.input_bytes) /
                                            std::max(summary.seconds, 1e-3))),
             Bytes(summary.peak_allocated_bytes));
}

int Run(Flags& flags) {
  if (const Status usable = CheckUsage(flags.options); !usable) return Misused(usable.error());
  return RunAndReport(
      flags.runtime, flags.json,
      [&](const Runtime& runtime, ProgressBar&) { return Convert(flags.options, runtime); },
      [&](std::FILE* out, const ConvertSummary& summary) {
        if (!flags.quiet) Show(out, flags.options, summary);
      },
      flags.options.format == "gguf" ? Interrupted::kIsLost : Interrupted::kGoesOn);
}

}  // namespace

Action AddConvert(CLI::App& app) {
  CLI::App& command = *app.add_subcommand(
      "convert", "Carry a quantized model over to another file format, bit for bit");
  auto flags = std::make_shared<Flags>(command);
  ConvertOptions& options = flags->options;
  command
      .add_option("MODEL", options.model,
                  "A quantized model, a directory or a .gguf file; for --format gguf also one in "
                  "16 or 32 bits")
      ->check(NotEmpty())
      ->required();
  command
      .add_option("-o,--output", options.output,
                  "The directory to write, or X.gguf; must not exist")
      ->check(NotEmpty())
      ->required();
  AddFormat(command, options.format, "The file format to write; awq is awq-gemm");
  command.add_flag("--lossy", options.lossy, "Change what the format cannot hold as it is");
  command.add_option("--shard-bytes", options.shard_bytes, "Begin another file past this size")
      ->check(WholeNumber(1))
      ->capture_default_str();
  command.add_flag("-q,--quiet", flags->quiet, "No summary at the end");
  return [flags] { return Run(*flags); };
}

}  // namespace awq::cli
