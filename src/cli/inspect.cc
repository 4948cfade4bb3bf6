#include <fmt/format.h>

#include <algorithm>

#include "cli/command.h"
#include "cli/progress_bar.h"

namespace awq::cli {
namespace {

struct Flags {
  explicit Flags(CLI::App& command) : runtime(command), json(command) {}
  RuntimeFlags runtime;
  JsonFlag json;
  InspectOptions options;
  std::string bos;
  CLI::Option* bos_given = nullptr;
};

void PrintTensors(std::FILE* out, const InspectReport& report) {
  std::size_t width = 6;
  for (const LinearInfo& row : report.linears) width = std::max(width, row.name.size());
  fmt::print(out, "{:<{}}  {:>7} {:>7}  {:>4} {:>6} {:>12}\n", "tensor", width, "out", "in", "bits",
             "group", "bytes");
  for (const LinearInfo& row : report.linears) {
    fmt::print(out, "{:<{}}  {:>7} {:>7}  {:>4} {:>6} {:>12}\n", row.name, width, row.out_features,
               row.in_features, row.bits,
               row.group_size == 0 ? "-" : std::to_string(row.group_size), row.bytes);
  }
}

void PrintSites(std::FILE* out, const InspectReport& report) {
  fmt::print(out, "\nSalient channels: mean |x| of the site's inputs, over the median channel's\n");
  for (const SiteInfo& site : report.sites) {
    fmt::print(out, "{:<28} top 1 % hold {:4.1f} % ", site.name, site.top_1_percent_share * 100);
    for (const SalientChannel& channel : site.channels) {
      fmt::print(out, "  {}: {:.3g} ({:.1f} x)", channel.channel, channel.mean_abs,
                 channel.over_median);
    }
    fmt::print(out, "\n");
  }
}

int Run(Flags& flags) {
  if (flags.bos_given->count() > 0) flags.options.bos = ParseBos(flags.bos);
  if (const int failed = flags.json.Check(); failed != 0) return failed;
  ProgressBar progress;
  const auto report = Inspect(flags.options, flags.runtime.Make(progress));
  progress.Clear();
  if (!report) return Fail(report.error());
  std::FILE* out = flags.json.readable();
  fmt::print(out, "{}: {}, {} blocks, hidden {}, vocabulary {}, {:.1f} M parameters, {}\n",
             flags.options.model, report->model_type, report->layers, report->hidden_size,
             report->vocab_size, static_cast<double>(report->parameters) / 1e6,
             Bytes(report->weight_bytes));
  fmt::print(out, "{}\n\n", report->quantization.empty() ? "not quantized" : report->quantization);
  PrintTensors(out, *report);
  if (!report->sites.empty()) PrintSites(out, *report);
  return flags.json.Write(report->json);
}

}  // namespace

Action AddInspect(CLI::App& app) {
  CLI::App& command =
      *app.add_subcommand("inspect", "A model as a table; with a text, its salient channels");
  auto flags = std::make_shared<Flags>(command);
  InspectOptions& options = flags->options;
  command.add_option("MODEL", options.model, "A model directory, quantized or not")->required();
  command.add_option("--calib", options.calibration,
                     "A text file, or self: shows each site's salient channels");
  command.add_option("--samples", options.samples, "Calibration windows")
      ->check(CLI::Range(1, 1 << 20))
      ->capture_default_str();
  command.add_option("--seq-len", options.sequence_tokens, "Tokens per window")
      ->check(CLI::Range(2, 1 << 20))
      ->capture_default_str();
  command.add_option("--top", options.top_channels, "Channels to show per site")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  AddSeed(command, options.seed, "Seed of self-written text");
  flags->bos_given = AddBos(command, flags->bos);
  return [flags] { return Run(*flags); };
}

}  // namespace awq::cli
