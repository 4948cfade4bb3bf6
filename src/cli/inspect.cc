#include <fmt/format.h>

#include <algorithm>

#include "cli/command.h"

namespace awq::cli {
namespace {

struct Flags {
  explicit Flags(CLI::App& command)
      : runtime(command),
        json(command),
        calibration(command, "A text file, builtin or self: shows each site's salient channels",
                    Calibration{.samples = 16}) {}
  RuntimeFlags runtime;
  JsonFlag json;
  CalibrationFlags calibration;
  InspectOptions options;
  CLI::Option* top_given = nullptr;
};

void PrintTensors(std::FILE* out, const InspectReport& report) {
  std::size_t width = 6;
  for (const LinearInfo& row : report.linears) width = std::max(width, row.name.size());
  const bool errors = std::ranges::any_of(
      report.linears, [](const LinearInfo& row) { return row.relative_error.has_value(); });
  fmt::print(out, "{:<{}}  {:>7} {:>7}  {:>4} {:>6} {:>12}{}\n", "tensor", width, "out", "in",
             "bits", "group", "bytes", errors ? "  rounding    error, %   rtn's, %" : "");
  for (const LinearInfo& row : report.linears) {
    fmt::print(out, "{:<{}}  {:>7} {:>7}  {:>4} {:>6} {:>12}", Printable(row.name), width,
               row.out_features, row.in_features, row.bits,
               row.group_size == 0 ? "-" : std::to_string(row.group_size), row.bytes);
    if (row.relative_error) {
      fmt::print(out, "  {:<9} {:>10.3f} {:>10.3f}", Printable(row.rounding),
                 100 * *row.relative_error, 100 * *row.rtn_relative_error);
    }
    fmt::print(out, "\n");
  }
  if (errors) {
    fmt::print(
        out,
        "\nError: mean squared output error against the original, of the output's mean square, "
        "on held-out\ntokens (on calibration tokens, if it had fewer than 8 windows). rtn's: "
        "on the same inputs.\n");
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

void Show(std::FILE* out, const std::string& model, const InspectReport& report) {
  fmt::print(out, "{}: {}, {} blocks, hidden {}, vocabulary {}, {:.1f} M parameters, {}\n", model,
             report.model_type, report.layers, report.hidden_size, report.vocab_size,
             static_cast<double>(report.parameters) / 1e6, Bytes(report.weight_bytes));
  fmt::print(out, "{}\n\n", report.quantization.empty() ? "not quantized" : report.quantization);
  PrintTensors(out, report);
  if (!report.sites.empty()) PrintSites(out, report);
}

int Run(Flags& flags) {
  if (flags.top_given->count() > 0 && !flags.calibration.given()) {
    PrintError("--top is not used: channels are shown with --calib\n");
  }
  if (flags.calibration.given()) flags.options.calibration = flags.calibration.Read();
  return RunAndReport(
      flags.runtime, flags.json,
      [&](const Runtime& runtime, ProgressBar&) { return Inspect(flags.options, runtime); },
      [&](std::FILE* out, const InspectReport& report) { Show(out, flags.options.model, report); });
}

}  // namespace

Action AddInspect(CLI::App& app) {
  CLI::App& command =
      *app.add_subcommand("inspect", "A model as a table; with a text, its salient channels");
  auto flags = std::make_shared<Flags>(command);
  InspectOptions& options = flags->options;
  AddModel(command, options.model, kAnyModel);
  flags->top_given =
      command.add_option("--top", options.top_channels, "With --calib: channels to show per site")
          ->check(WholeNumber(1, 1000))
          ->capture_default_str();
  return [flags] { return Run(*flags); };
}

}  // namespace awq::cli
