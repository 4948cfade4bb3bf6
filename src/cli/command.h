// What the commands share: options that mean the same everywhere, and how results are shown.
#pragma once

#include <awq/awq.h>

#include <CLI/CLI.hpp>
#include <functional>
#include <memory>
#include <string>

namespace awq::cli {

// A command registers its options and returns what to do when it was chosen; the number is the
// exit status.
using Action = std::function<int()>;

Action AddQuantize(CLI::App& app);
Action AddEval(CLI::App& app);
Action AddRun(CLI::App& app);
Action AddTokenize(CLI::App& app);
Action AddInspect(CLI::App& app);

// --threads, --precision and a progress bar.
class RuntimeFlags {
 public:
  explicit RuntimeFlags(CLI::App& command);
  Runtime Make(ProgressSink& progress) const;

 private:
  std::size_t threads_ = 0;
  std::string precision_ = "auto";
};

// Adds --json and says where the readable report goes: standard error when JSON takes standard
// output.
class JsonFlag {
 public:
  explicit JsonFlag(CLI::App& command);
  std::FILE* readable() const;
  // Before any work: an exit status if the file cannot be written, else 0.
  int Check() const;
  // Writes the report where --json says; nothing without the flag. The exit status.
  int Write(const std::string& json) const;

 private:
  std::string path_;
};

CLI::Option* AddSeed(CLI::App& command, std::uint64_t& seed, const std::string& help);
CLI::Option* AddBos(CLI::App& command, std::string& bos);
Bos ParseBos(const std::string& name);

// Prints "awq: message" to standard error; the exit status of a failure.
int Fail(const Error& error);

std::string Bytes(std::size_t bytes);  // "12.3 MiB"
std::string Duration(double seconds);  // "1 min 5 s"

}  // namespace awq::cli
