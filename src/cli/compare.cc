#include <fmt/format.h>

#include <cstdio>
#include <memory>
#include <string_view>

#include "cli/command.h"

namespace awq::cli {
namespace {

struct Flags {
  explicit Flags(CLI::App& command)
      : runtime(command, {.device = true, .f16 = false}),
        json(command),
        calibration(command, kCalibrationHelp, Calibration{}),
        group_size(command),
        csv(command, "--csv", "Also write the table as CSV; - is standard output") {}
  RuntimeFlags runtime;
  JsonFlag json;
  CalibrationFlags calibration;
  GroupSizeFlag group_size;
  FileFlag csv;
  CompareOptions options;
};

// Line by line: names in it come from files.
void PrintTable(std::FILE* out, std::string_view table) {
  while (!table.empty()) {
    const std::size_t end = table.find('\n');
    fmt::print(out, "{}\n", Printable(table.substr(0, end)));
    table.remove_prefix(end == std::string_view::npos ? table.size() : end + 1);
  }
}

void Show(std::FILE* out, const CompareOptions& options, const CompareReport& report) {
  fmt::print(out, "{}: {} in {} of {}, {}\n", options.model, Counted(report.tokens, "prediction"),
             Counted(report.windows, "window"), Counted(report.ctx, "token"),
             Printable(report.text));
  if (!report.calibration.empty()) {
    fmt::print(out, "calibration: {}\n", Printable(report.calibration));
  }
  fmt::print(out, "\n");
  PrintTable(out, report.markdown);
  if (!report.footnote.empty()) fmt::print(out, "\n{}.\n", Printable(report.footnote));
  fmt::print(
      out,
      "\nIntervals are 95 %, over windows or items. Bits a weight are those of the whole model, "
      "with its embedding in 16 bits. Seconds and memory (the host's) are those of each method by "
      "itself."
      "\nAll took {}{}, {} at the peak (file pages included){}.\n",
      Duration(report.seconds), OnDevice(report.device), Bytes(report.peak_resident_bytes),
      report.peak_gpu_bytes > 0 ? fmt::format(" and {} of the GPU's", Bytes(report.peak_gpu_bytes))
                                : "");
}

int Run(Flags& flags) {
  flags.options.calibration = flags.calibration.Read();
  flags.options.bos = flags.options.calibration.bos;
  flags.options.group_size = flags.group_size.Read();
  if (flags.csv.is_standard_output() && flags.json.is_standard_output()) {
    PrintError("awq: --json and --csv cannot both go to standard output\n");
    return 2;
  }
  if (const int failed = flags.csv.Check(); failed != 0) return failed;
  std::string csv;
  const int status = RunAndReport(
      flags.runtime, flags.json,
      [&](const Runtime& runtime, ProgressBar&) { return Compare(flags.options, runtime); },
      [&](std::FILE* out, const CompareReport& report) {
        Show(flags.csv.is_standard_output() ? stderr : out, flags.options, report);
        csv = report.csv;
      });
  return status != 0 ? status : flags.csv.Write(csv);
}

}  // namespace

Action AddCompare(CLI::App& app) {
  CLI::App& command = *app.add_subcommand(
      "compare", "What each method costs and gains, in one table; writes no model");
  auto flags = std::make_shared<Flags>(command);
  CompareOptions& options = flags->options;
  AddModel(command, options.model, kPlainModel);
  command
      .add_option("--methods", options.methods,
                  "Separated by commas. With 1 % of the channels in 16 bits: salient-act, "
                  "salient-weight, salient-random")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->transform(Trimmed())
      ->check(CLI::IsMember({"rtn", "gptq", "awq", "awq-plus", "awq-plus-polish", "salient-act",
                             "salient-weight", "salient-random"}))
      ->capture_default_str();
  command.add_option("--bits", options.bits, "Bits per weight, 2 to 8: every method at each")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->transform(Trimmed())
      ->check(WholeNumber(2, 8))
      ->capture_default_str();
  command.add_flag("--sym", options.symmetric, "Symmetric groups (absmax), zero point fixed");
  command
      .add_option(
          "--text", options.text,
          "The text to predict, or .jsonl with a \"text\" field (gzip or not); else the model "
          "writes one")
      ->check(NotEmpty());
  command.add_option("--ctx", options.ctx, "Tokens per window of the text")
      ->check(WholeNumber(2, 1 << 24))
      ->default_str("512");
  command.add_option("--max-tokens", options.max_tokens, "Look at about this many tokens of it")
      ->check(WholeNumber(1))
      ->capture_default_str();
  command
      .add_option("--tasks", options.tasks,
                  "Multiple-choice files (.jsonl): ARC, HellaSwag, PIQA, Winogrande")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->check(NotEmpty());
  command.add_option("--max-items", options.max_items, "The first so many items of each task")
      ->check(WholeNumber(1))
      ->capture_default_str();
  return [flags] { return Run(*flags); };
}

}  // namespace awq::cli
