#include <fmt/format.h>

#include <cstdio>
#include <string>
#include <utility>

#include "cli/command.h"

namespace awq::cli {
namespace {

struct Flags {
  explicit Flags(CLI::App& command) : runtime(command, {.device = true}), json(command) {}
  RuntimeFlags runtime;
  JsonFlag json;
  GenerateOptions options;
  std::string bos = "auto";
  std::string prompts;  // a file
  std::size_t batch = GenerateManyOptions().batch;
  bool quiet = false;
};

// What a reader should know of how a text ended, behind the figures.
std::string Ending(const GenerateReport& report) {
  std::string ending;
  if (report.shifted_tokens > 0) {
    ending = fmt::format("; {} left behind", Counted(report.shifted_tokens, "older token"));
  }
  if (report.finish_reason == "context") {
    ending += "; the model's context is full (--context-shift goes on)";
  } else if (report.finish_reason == "end") {
    ending += report.new_tokens > 0 ? "; the model ended the text"
                                    : "; the model ended the text at once: it may want --chat, or "
                                      "--bos window";
  }
  return ending;
}

void ShowSpeed(const GenerateReport& report) {
  PrintError(fmt::format("{}, {:.1f} tokens/s; {}, {:.1f} tokens/s{}\n",
                         Counted(report.prompt_tokens, "prompt token"),
                         PerSecond(report.prompt_tokens, report.prefill_seconds),
                         Counted(report.new_tokens, "new token"),
                         PerSecond(report.new_tokens, report.decode_seconds), Ending(report)));
}

void ShowSpeed(const GenerateManyReport& report) {
  PrintError(fmt::format("{}, {:.1f} tokens/s in {}; {}, {} of them reused; cache of {}\n",
                         Counted(report.new_tokens, "new token"),
                         PerSecond(report.new_tokens, report.seconds), Duration(report.seconds),
                         Counted(report.prompt_tokens, "prompt token"), report.reused_tokens,
                         Bytes(report.cache_bytes)));
}

// Lines after a text's first are indented, so that a number at the front of one is always ours.
std::string Numbered(std::size_t number, std::string_view text) {
  std::string shown = fmt::format("{}: ", number);
  for (const char each : text) {
    shown += each;
    if (each == '\n') shown += "  ";
  }
  return shown + "\n";
}

int RunMany(Flags& flags) {
  std::FILE* out = flags.json.readable();
  const auto generate = [&](const Runtime& runtime,
                            ProgressBar& progress) -> Result<GenerateManyReport> {
    auto prompts = ReadPrompts(flags.prompts);
    if (!prompts) return prompts.error();
    const GenerateManyOptions options{flags.options, std::move(*prompts), flags.batch};
    return GenerateMany(options, runtime, [&](std::size_t index, const GenerateReport& text) {
      progress.Clear();
      const std::string shown = Numbered(index + 1, text.text);
      return std::fwrite(shown.data(), 1, shown.size(), out) == shown.size() &&
             std::fflush(out) == 0;
    });
  };
  return RunAndReport(flags.runtime, flags.json, generate,
                      [&](std::FILE*, const GenerateManyReport& report) {
                        if (!flags.quiet) ShowSpeed(report);
                      });
}

int Run(Flags& flags) {
  std::FILE* out = flags.json.readable();
  NoteIdleSampling(flags.options.sampling);
  flags.options.bos = ParseBos(flags.bos);
  if (!flags.prompts.empty()) return RunMany(flags);
  const auto generate = [&](const Runtime& runtime, ProgressBar& progress) {
    return Generate(flags.options, runtime, [&](std::string_view text) {
      progress.Clear();
      return std::fwrite(text.data(), 1, text.size(), out) == text.size() && std::fflush(out) == 0;
    });
  };
  return RunAndReport(flags.runtime, flags.json, generate,
                      [&](std::FILE*, const GenerateReport& report) {
                        fmt::print(out, "\n");
                        std::fflush(out);
                        if (!flags.quiet) ShowSpeed(report);
                      });
}

}  // namespace

Action AddRun(CLI::App& app) {
  CLI::App& command = *app.add_subcommand("run", "Continue a prompt");
  auto flags = std::make_shared<Flags>(command);
  GenerateOptions& options = flags->options;
  AddModel(command, options.model, kAnyModel);
  CLI::Option_group& prompt = *command.add_option_group("Prompt");
  prompt.add_option("-p,--prompt", options.prompt, "The text to continue");
  CLI::Option* const prompts =
      prompt
          .add_option(
              "--prompts", flags->prompts,
              "A file of prompts, one a line, none empty; in a .jsonl, objects with "
              "\"prompt\". Each text is shown as \"N: TEXT\", its further lines indented by "
              "two spaces; scripts take --json")
          ->check(NotEmpty());
  prompt.require_option(1);
  command.add_option("--batch", flags->batch, "Prompts of --prompts that are run at a time")
      ->check(WholeNumber(1, 1 << 16))
      ->capture_default_str()
      ->needs(prompts);
  command.add_flag("--chat", options.chat,
                   "The prompt is a user's message, put through the model's chat template");
  AddMaxNewTokens(command, options.max_new_tokens, "New tokens at most");
  command.add_flag("--context-shift", options.context_shift,
                   "Where the model takes no more tokens, go on without the older half of them");
  AddSampling(command, options.sampling);
  AddArithmetic(command, options.arithmetic);
  command
      .add_option("--bos", flags->bos,
                  "auto: what the tokenizer adds; window: the prompt begins with BOS; never")
      ->check(CLI::IsMember({"auto", "window", "never"}))
      ->capture_default_str()
      ->excludes("--chat");  // whose template says what a conversation begins with
  command.add_flag("-q,--quiet", flags->quiet, "No speed at the end");
  return [flags] { return Run(*flags); };
}

}  // namespace awq::cli
