#include <fmt/format.h>

#include "cli/command.h"
#include "cli/progress_bar.h"

namespace awq::cli {
namespace {

struct Flags {
  explicit Flags(CLI::App& command) : runtime(command), json(command) {}
  RuntimeFlags runtime;
  JsonFlag json;
  QuantizeOptions options;
  int group_size = 0;
  std::string bos;
  CLI::Option* group_size_given = nullptr;
  CLI::Option* bos_given = nullptr;
};

void AddCalibrationFlags(CLI::App& command, Flags& flags) {
  QuantizeOptions& options = flags.options;
  command
      .add_option("--calib", options.calibration,
                  "Calibration text: a .txt file, or .jsonl with a \"text\" field (gzip or "
                  "not), or self: the model writes its own")
      ->capture_default_str();
  command.add_option("--samples", options.samples, "Calibration windows")
      ->check(CLI::Range(1, 1 << 20))
      ->capture_default_str();
  command.add_option("--seq-len", options.sequence_tokens, "Tokens per calibration window")
      ->check(CLI::Range(2, 1 << 20))
      ->capture_default_str();
  AddSeed(command, options.seed, "Seed of self-written calibration text");
  flags.bos_given = AddBos(command, flags.bos);
}

int Run(Flags& flags) {
  if (flags.group_size_given->count() > 0) flags.options.group_size = flags.group_size;
  if (flags.bos_given->count() > 0) flags.options.bos = ParseBos(flags.bos);
  if (const int failed = flags.json.Check(); failed != 0) return failed;
  ProgressBar progress;
  const auto summary = Quantize(flags.options, flags.runtime.Make(progress));
  progress.Clear();
  if (!summary) return Fail(summary.error());
  std::FILE* out = flags.json.readable();
  fmt::print(out, "{} -> {}\n", flags.options.model, flags.options.output);
  fmt::print(
      out, "  weights      {} -> {} ({:.2f} x smaller)\n", Bytes(summary->input_bytes),
      Bytes(summary->output_bytes),
      static_cast<double>(summary->input_bytes) / static_cast<double>(summary->output_bytes));
  if (summary->calibration_tokens > 0) {
    fmt::print(out, "  calibration  {} tokens, {}\n", summary->calibration_tokens,
               summary->calibration);
  }
  for (const std::string& line : summary->not_converted) {
    fmt::print(out, "  16 bits      {}\n", line);
  }
  if (summary->resumed_blocks > 0) {
    fmt::print(out, "  continued    {} blocks were already done\n", summary->resumed_blocks);
  }
  fmt::print(out, "  took         {}; at the peak {} allocated, {} with the files' pages\n",
             Duration(summary->seconds), Bytes(summary->peak_allocated_bytes),
             Bytes(summary->peak_resident_bytes));
  return flags.json.Write(summary->json);
}

}  // namespace

Action AddQuantize(CLI::App& app) {
  CLI::App& command = *app.add_subcommand("quantize", "Make a 4-bit AWQ checkpoint of a model");
  auto flags = std::make_shared<Flags>(command);
  QuantizeOptions& options = flags->options;
  command.add_option("MODEL", options.model, "A Hugging Face model directory")->required();
  command.add_option("-o,--output", options.output, "The directory to write; must not exist")
      ->required();
  command.add_option("--method", options.method, "awq, or rtn: round to nearest, no calibration")
      ->check(CLI::IsMember({"awq", "rtn"}))
      ->capture_default_str();
  command.add_option("--bits", options.bits, "Bits per weight; the AWQ layout holds 4")
      ->check(CLI::Range(2, 8))
      ->capture_default_str();
  flags->group_size_given =
      command
          .add_option("--group-size", flags->group_size,
                      "Weights that share a scale; -1: whole rows. Default: 128, 64 or 32, the "
                      "first that divides the inputs of every linear")
          ->check([](const std::string& text) {
            const bool valid =
                text == "-1" || (text != "0" && !text.empty() &&
                                 text.find_first_not_of("0123456789") == std::string::npos);
            return valid ? std::string()
                         : "--group-size: expected -1 or a positive number, found " + text;
          });
  command.add_flag("--sym", options.symmetric, "Symmetric groups (absmax), zero point fixed");
  command.add_option("--shard-bytes", options.shard_bytes, "Begin another file past this size")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  AddCalibrationFlags(command, *flags);
  return [flags] { return Run(*flags); };
}

}  // namespace awq::cli
