#include <fmt/format.h>

#include "cli/command.h"

namespace awq::cli {
namespace {

struct Flags {
  explicit Flags(CLI::App& command) : json(command) {}
  JsonFlag json;
  PullOptions options;
};

int Run(const Flags& flags) {
  if (const int failed = flags.json.Check(); failed != 0) return failed;
  const InterruptNotice notice(Interrupted::kGoesOn);
  ProgressBar progress;
  const auto report = Pull(flags.options, {.progress = &progress});
  progress.Clear();
  if (!report) return Fail(report.error());
  if (report->downloaded_files > 0) {
    PrintError(fmt::format("{} file{}, {} in {}\n", report->downloaded_files,
                           report->downloaded_files == 1 ? "" : "s",
                           Bytes(report->downloaded_bytes), Duration(report->seconds)));
  }
  // Nothing else, so that a shell can use it.
  fmt::print(flags.json.readable(), "{}\n", Printable(report->directory));
  return flags.json.Write(report->json);
}

}  // namespace

Action AddPull(CLI::App& app) {
  CLI::App& command = *app.add_subcommand(
      "pull", "A model of the Hugging Face hub into the cache; prints its directory");
  auto flags = std::make_shared<Flags>(command);
  PullOptions& options = flags->options;
  command.add_option("MODEL", options.model, "ORG/NAME or ORG/NAME@REVISION")
      ->check(NotEmpty())
      ->required();
  command
      .add_option("--file", options.files,
                  "Only this file of the repository (a .gguf, say); may be given more than once")
      ->check(NotEmpty())
      ->expected(1)
      ->take_all();
  return [flags] { return Run(*flags); };
}

}  // namespace awq::cli
