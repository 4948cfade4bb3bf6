#include "cli/app.h"

#include <awq/awq.h>
#include <awq/version.h>

#include <CLI/CLI.hpp>
#include <utility>
#include <vector>

#include "cli/command.h"

namespace awq::cli {

int RunApp(int argc, const char* const* argv) {
  CLI::App app{"Make large language models small: activation-aware 4-bit quantization (AWQ)"};
  app.name("awq");
  app.set_version_flag("--version", std::string("awq ") + kVersion);
  app.require_subcommand(1);
  std::vector<std::pair<CLI::App*, Action>> commands;
  for (auto* add : {AddQuantize, AddEval, AddRun, AddTokenize, AddInspect}) {
    Action action = add(app);
    commands.emplace_back(app.get_subcommands({}).back(), std::move(action));
  }
  app.failure_message(CLI::FailureMessage::simple);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  if (const Status usable = CheckEnvironment(); !usable) return Fail(usable.error());
  for (const auto& [command, action] : commands) {
    if (command->parsed()) return action();
  }
  return 2;
}

}  // namespace awq::cli
