#include "cli/app.h"

#include <awq/awq.h>
#include <awq/version.h>
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <exception>
#include <utility>
#include <vector>

#include "cli/command.h"

namespace awq::cli {

namespace {

// What a command printed has to arrive, too.
int Perform(const Action& action) {
  try {
    const int status = action();
    if (std::fflush(stdout) != 0 || std::ferror(stdout) != 0) {
      return Fail({ErrorCode::kIo, "cannot write to standard output"});
    }
    return status;
  } catch (const std::exception& failure) {
    return Fail({ErrorCode::kIo, fmt::format("cannot print the result: {}", failure.what())});
  }
}

// The first argument as typed that nothing took; nullptr: all were taken, or are not known to be.
const char* FirstUnknown(const CLI::App& app, int argc, const char* const* argv) {
  const std::vector<std::string> left = app.remaining(/*recurse=*/true);
  const auto found = std::find_if(argv + std::min(argc, 2), argv + argc, [&](const char* argument) {
    return std::find(left.begin(), left.end(), argument) != left.end();
  });
  return found == argv + argc ? nullptr : *found;
}

}  // namespace

int RunApp(int argc, const char* const* argv) {
  CLI::App app{"Make large language models small: activation-aware 4-bit quantization (AWQ)"};
  app.name("awq");
  const std::string gpus = CudaArchitectures();
  app.set_version_flag("--version", std::string("awq ") + kVersion +
                                        (gpus.empty() ? ", without CUDA" : ", CUDA for " + gpus));
  app.require_subcommand(1);
  std::vector<std::pair<CLI::App*, Action>> commands;
  for (auto* add : {AddQuantize, AddConvert, AddCompare, AddEval, AddRun, AddChat, AddBench,
                    AddTokenize, AddInspect, AddVerify, AddPull}) {
    Action action = add(app);
    commands.emplace_back(app.get_subcommands({}).back(), std::move(action));
  }
  app.failure_message(CLI::FailureMessage::simple);
  const bool known = argc < 2 || argv[1][0] == '-' ||
                     std::any_of(commands.begin(), commands.end(), [&](const auto& command) {
                       return command.first->get_name() == argv[1];
                     });
  if (!known) {
    PrintError(
        fmt::format("awq: there is no command {}; awq --help lists them\n", Printable(argv[1])));
    return 2;
  }
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return app.exit(error);
    if (const char* unknown = FirstUnknown(app, argc, argv)) {
      PrintError(fmt::format("awq: awq {0} knows no {1}; awq {0} --help lists what it does\n",
                             argv[1], Printable(unknown)));
      return 2;
    }
    app.exit(error);
    return 2;
  }
  for (const auto& [command, action] : commands) {
    if (!command->parsed()) continue;
    const Status usable = UseInstructionSet(ChosenIsa(*command));
    return usable ? Perform(action) : Fail(usable.error());
  }
  return 2;
}

}  // namespace awq::cli
