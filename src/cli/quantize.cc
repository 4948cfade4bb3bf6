#include <fmt/format.h>

#include "cli/command.h"

namespace awq::cli {
namespace {

struct Flags {
  explicit Flags(CLI::App& command)
      : runtime(command, {.device = true, .f16 = false}),
        json(command),
        calibration(command, kCalibrationHelp, Calibration{}),
        group_size(command) {}
  RuntimeFlags runtime;
  JsonFlag json;
  CalibrationFlags calibration;
  GroupSizeFlag group_size;
  QuantizeOptions options;
  bool polish = false;
  bool quiet = false;
};

void Show(std::FILE* out, const QuantizeOptions& options, const QuantizeSummary& summary) {
  fmt::print(out, "{} -> {}\n", options.model, options.output);
  fmt::print(out, "  weights      {} -> {} ({:.2f} x smaller)\n", Bytes(summary.input_bytes),
             Bytes(summary.output_bytes),
             static_cast<double>(summary.input_bytes) / static_cast<double>(summary.output_bytes));
  if (summary.calibration_tokens > 0) {
    fmt::print(out, "  calibration  {}, {}\n", Counted(summary.calibration_tokens, "token"),
               summary.calibration);
  }
  for (const std::string& line : summary.not_converted) {
    fmt::print(out, "  16 bits      {}\n", line);
  }
  if (summary.resumed_blocks > 0) {
    fmt::print(out, "  continued    {} already done\n", Counted(summary.resumed_blocks, "block"));
  }
  fmt::print(out, "  took         {}; at the peak {} allocated, {} with the files' pages\n",
             Duration(summary.seconds), Bytes(summary.peak_allocated_bytes),
             Bytes(summary.peak_resident_bytes));
  if (summary.peak_gpu_bytes > 0) {
    fmt::print(out, "  GPU          {}; {} of its memory at the peak\n", summary.device,
               Bytes(summary.peak_gpu_bytes));
  }
}

int Run(Flags& flags) {
  if (flags.polish && flags.options.method == "awq-plus") {
    flags.options.method = "awq-plus-polish";
  } else if (flags.polish && flags.options.method != "awq-plus-polish") {
    PrintError(fmt::format("awq: --polish goes on from awq-plus, not from --method {}\n",
                           flags.options.method));
    return 2;
  }
  if (flags.options.method == "rtn" && flags.calibration.given()) {
    PrintError("--calib is not used: --method rtn rounds to nearest, whatever the text\n");
  }
  flags.options.group_size = flags.group_size.Read();
  if (const Status usable = CheckUsage(flags.options); !usable) return Misused(usable.error());
  flags.options.calibration = flags.calibration.Read();
  return RunAndReport(
      flags.runtime, flags.json,
      [&](const Runtime& runtime, ProgressBar&) { return Quantize(flags.options, runtime); },
      [&](std::FILE* out, const QuantizeSummary& summary) {
        if (!flags.quiet) Show(out, flags.options, summary);
      },
      Interrupted::kGoesOn);
}

}  // namespace

Action AddQuantize(CLI::App& app) {
  CLI::App& command = *app.add_subcommand("quantize", "Make a quantized checkpoint of a model");
  auto flags = std::make_shared<Flags>(command);
  QuantizeOptions& options = flags->options;
  AddModel(command, options.model, kPlainModel);
  command
      .add_option("-o,--output", options.output,
                  "The directory to write, or X.gguf; must not exist")
      ->check(NotEmpty())
      ->required();
  command
      .add_option("--method", options.method,
                  "awq-plus; awq-plus-polish: slower, then improved by gradient; awq or gptq: as "
                  "published; rtn: round to nearest, no calibration")
      ->check(CLI::IsMember({"awq-plus", "awq-plus-polish", "awq", "gptq", "rtn"}))
      ->capture_default_str();
  command.add_flag("--polish", flags->polish, "The same as --method awq-plus-polish");
  AddFormat(
      command, options.format,
      "The file format of the quantized linears; awq is awq-gemm; gptq needs --sym; gguf: one "
      "file, X.gguf");
  command
      .add_option("--bits", options.bits,
                  "Bits per weight; the awq formats hold 4, gptq 2, 3, 4 and 8")
      ->check(WholeNumber(2, 8))
      ->capture_default_str();
  command.add_flag("--sym", options.symmetric, "Symmetric groups (absmax), zero point fixed");
  command.add_option("--shard-bytes", options.shard_bytes, "Begin another file past this size")
      ->check(WholeNumber(1))
      ->capture_default_str();
  command
      .add_option(
          "--tp-pad", options.tp_pad,
          "Fill the MLP up with zeros, so that this many tensor-parallel ranks can share it")
      ->check(WholeNumber(1));
  command.add_flag("-q,--quiet", flags->quiet, "No summary at the end");
  return [flags] { return Run(*flags); };
}

}  // namespace awq::cli
