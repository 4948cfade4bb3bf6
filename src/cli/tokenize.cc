#include <fmt/format.h>
#include <fmt/ranges.h>

#include "cli/command.h"

namespace awq::cli {
namespace {

struct Flags {
  TokenizeOptions options;
};

int Run(const Flags& flags) {
  const auto ids = Tokenize(flags.options);
  if (!ids) return Fail(ids.error());
  fmt::print("[{}]\n", fmt::join(*ids, ","));
  return 0;
}

}  // namespace

Action AddTokenize(CLI::App& app) {
  CLI::App& command = *app.add_subcommand("tokenize", "The token ids of a text, as a JSON array");
  auto flags = std::make_shared<Flags>();
  TokenizeOptions& options = flags->options;
  command
      .add_option("MODEL", options.directory,
                  "A directory with tokenizer.json, a .gguf file, or ORG/NAME[@REVISION]")
      ->check(NotEmpty())
      ->required();
  CLI::Option_group& source = *command.add_option_group("source", "What to tokenize");
  source.add_option("--text", options.text, "This text");
  source.add_option("--file", options.file, "The contents of this file (gzip or not)")
      ->check(NotEmpty());
  source.require_option(1);
  command.add_flag("!--no-special", options.add_special_tokens,
                   "Without the special tokens that the tokenizer adds");
  return [flags] { return Run(*flags); };
}

}  // namespace awq::cli
