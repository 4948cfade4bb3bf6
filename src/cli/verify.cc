#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "cli/command.h"

namespace awq::cli {
namespace {

struct Flags {
  explicit Flags(CLI::App& command) : runtime(command), json(command) {}
  RuntimeFlags runtime;
  JsonFlag json;
  VerifyOptions options;
};

void PrintFinding(std::FILE* out, const ReaderVerdict& verdict, const VerifyFinding& finding) {
  const std::string ranks = finding.ranks.empty()
                                ? ""
                                : fmt::format(", {} rank{}", fmt::join(finding.ranks, ", "),
                                              finding.ranks.back() == 1 ? "" : "s");
  fmt::print(out, "{}{}: {}: expects {}, found {}{}{}\n", verdict.name, ranks,
             Printable(finding.where), Printable(finding.expects), Printable(finding.found),
             finding.mend.empty() ? "" : "; ", Printable(finding.mend));
}

void Show(std::FILE* out, const VerifyOptions& options, const VerifyReport& report) {
  fmt::print(out, "{}: {}\n\n", options.model,
             report.format.empty() ? "not quantized" : report.format);
  fmt::print(out, "{:<13} {:<31} {:<6} {:<15} {}\n", "program", "version", "takes it", "ranks",
             "remark");
  for (const ReaderVerdict& verdict : report.readers) {
    fmt::print(out, "{:<13} {:<31} {:<8} {:<15} {}\n", verdict.name, verdict.version,
               verdict.takes ? "yes" : "no",
               verdict.takes ? fmt::format("{}", fmt::join(verdict.ranks, ", ")) : "-",
               verdict.remark);
  }
  bool first = true;
  for (const ReaderVerdict& verdict : report.readers) {
    for (const VerifyFinding& finding : verdict.findings) {
      if (std::exchange(first, false)) fmt::print(out, "\n");
      PrintFinding(out, verdict, finding);
    }
  }
}

int Run(Flags& flags) {
  bool satisfied = false;
  const int status = RunAndReport(
      flags.runtime, flags.json,
      [&](const Runtime& runtime, ProgressBar&) { return Verify(flags.options, runtime); },
      [&](std::FILE* out, const VerifyReport& report) {
        satisfied = report.satisfied;
        Show(out, flags.options, report);
      });
  return status == 0 && !satisfied ? 1 : status;
}

}  // namespace

Action AddVerify(CLI::App& app) {
  CLI::App& command =
      *app.add_subcommand("verify", "Which programs take a model as it is, and on how many ranks");
  auto flags = std::make_shared<Flags>(command);
  VerifyOptions& options = flags->options;
  AddModel(command, options.model, kAnyModel);
  command
      .add_option("--for", options.required,
                  "Look at these programs only: all must take it, for exit status 0; else one must")
      ->delimiter(',')
      ->transform(Trimmed())
      ->check(CLI::IsMember(ReaderNames()));
  return [flags] { return Run(*flags); };
}

}  // namespace awq::cli
