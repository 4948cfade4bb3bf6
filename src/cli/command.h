// What the commands share: options that mean the same everywhere, and how results are shown.
#pragma once

#include <awq/awq.h>

#include <CLI/CLI.hpp>
#include <array>
#include <csignal>
#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <optional>
#include <string>

#include "cli/progress_bar.h"

namespace awq::cli {

inline constexpr std::uint64_t kMostThreads = 1024;

// A command registers its options and returns what to do when it was chosen; the number is the
// exit status.
using Action = std::function<int()>;

Action AddQuantize(CLI::App& app);
Action AddConvert(CLI::App& app);
Action AddEval(CLI::App& app);
Action AddCompare(CLI::App& app);
Action AddRun(CLI::App& app);
Action AddChat(CLI::App& app);
Action AddBench(CLI::App& app);
Action AddTokenize(CLI::App& app);
Action AddInspect(CLI::App& app);
Action AddVerify(CLI::App& app);
Action AddPull(CLI::App& app);

// --threads, unless the command has a list of its own, --precision, --isa and a progress bar.
class RuntimeFlags {
 public:
  struct Offer {
    bool threads = true;
    bool device = false;
    bool f16 = true;  // of a GPU
  };
  explicit RuntimeFlags(CLI::App& command, Offer offer);
  explicit RuntimeFlags(CLI::App& command) : RuntimeFlags(command, Offer()) {}
  Runtime Make(ProgressSink& progress) const;

 private:
  std::size_t threads_ = 0;
  std::string precision_ = "auto";
  std::string device_ = "cpu";
  std::string isa_;
};

// What --isa says; "" without it.
std::string ChosenIsa(const CLI::App& command);

// A flag that names a file to write a report to; - is standard output.
class FileFlag {
 public:
  FileFlag(CLI::App& command, std::string flag, const std::string& help);
  bool is_standard_output() const { return path_ == "-"; }
  // Before any work: an exit status if the file cannot be written, else 0.
  int Check() const;
  // Writes the text and a line's end there; nothing without the flag. The exit status.
  int Write(const std::string& text) const;

 private:
  std::string flag_;
  std::string path_;
};

class JsonFlag : public FileFlag {
 public:
  explicit JsonFlag(CLI::App& command)
      : FileFlag(command, "--json", "Also write the report as JSON; - is standard output") {}
  // Where the readable report goes: standard output, unless the JSON takes it.
  std::FILE* readable() const { return is_standard_output() ? stderr : stdout; }
};

// --group-size
class GroupSizeFlag {
 public:
  explicit GroupSizeFlag(CLI::App& command);
  std::optional<int> Read() const;

 private:
  int group_size_ = 0;
  CLI::Option* given_ = nullptr;
};

// Of commands that calibrate whether or not --calib is given.
inline constexpr const char* kCalibrationHelp =
    "Calibration text: builtin, the default, comes with the program; self: the model writes its "
    "own; builtin+self: half of each; else a .txt file, or .jsonl with a \"text\" field (gzip or "
    "not). Text of the kind that the model is used for serves it best";

// --calib, --samples, --seq-len, --seed, --bos.
class CalibrationFlags {
 public:
  CalibrationFlags(CLI::App& command, const std::string& source_help, Calibration defaults);
  bool given() const { return source_given_->count() > 0; }
  Calibration Read() const;

 private:
  Calibration calibration_;
  std::string bos_;
  CLI::Option* source_given_ = nullptr;
  CLI::Option* bos_given_ = nullptr;
};

// --format, of FileFormats(); "awq" is awq-gemm.
void AddFormat(CLI::App& command, std::string& format, const std::string& help);

// Refuses "", which an unset variable of a shell leaves.
CLI::Validator NotEmpty();
// Takes the spaces around each element of a list away.
CLI::Validator Trimmed();
// A whole number, written in digits, from `least` to `most`.
CLI::Validator WholeNumber(std::uint64_t least,
                           std::uint64_t most = std::numeric_limits<std::uint64_t>::max());
void AddMaxNewTokens(CLI::App& command, std::size_t& tokens, const std::string& help);
// --temperature, --top-k, --top-p, --min-p, --repeat-penalty, --seed, --stop.
void AddSampling(CLI::App& command, Sampling& sampling);
// Says so where flags of sampling do nothing, at temperature 0.
void NoteIdleSampling(const Sampling& sampling);
CLI::Option* AddSeed(CLI::App& command, std::uint64_t& seed, const std::string& help);
CLI::Option* AddBos(CLI::App& command, std::string& bos);
// The model that the command is about.
inline constexpr const char* kAnyModel =
    "A model directory, quantized or not, a .gguf file, or ORG/NAME[@REVISION]";
inline constexpr const char* kPlainModel =
    "A Hugging Face model directory, a .gguf file, or ORG/NAME[@REVISION]";
void AddModel(CLI::App& command, std::string& model, const char* help);
// --activations, --head, --kv.
void AddArithmetic(CLI::App& command, Arithmetic& arithmetic);
Bos ParseBos(const std::string& name);

// Control characters escaped: names come from files, and a terminal obeys what it is sent.
std::string Printable(std::string_view text);

// Standard error, as far as it takes it: a full disk under a log must not end a long run.
void PrintError(const std::string& text);

// Prints "awq: message" to standard error; the exit status of a failure.
int Fail(const Error& error);

// What becomes of the work of a command that is interrupted.
enum class Interrupted : std::uint8_t { kIsLost, kGoesOn };

// As long as it lives, SIGINT and SIGTERM say so, and that the same command goes on where it does,
// before they end the program as ever. What the caller had set to be ignored stays ignored.
class InterruptNotice {
 public:
  explicit InterruptNotice(Interrupted what);
  ~InterruptNotice();
  InterruptNotice(const InterruptNotice&) = delete;
  InterruptNotice& operator=(const InterruptNotice&) = delete;

 private:
  std::array<struct sigaction, 2> earlier_;
};

// The course of a command that ends in a report: `work(Runtime, ProgressBar&)` gives a Result,
// `show(file, report)` prints it, then its `json` goes where --json says. The exit status.
template <class Work, class Show>
int RunAndReport(const RuntimeFlags& runtime, const JsonFlag& json, Work work, Show show,
                 Interrupted interrupted = Interrupted::kIsLost) {
  if (const int failed = json.Check(); failed != 0) return failed;
  const InterruptNotice notice(interrupted);
  ProgressBar progress;
  const auto report = work(runtime.Make(progress), progress);
  progress.Clear();
  if (!report) return Fail(report.error());
  show(json.readable(), *report);
  return json.Write(report->json);
}

// Prints it likewise; the exit status of wrong usage.
int Misused(const Error& error);

double PerSecond(std::size_t tokens, double seconds);           // 0 where no time has passed
std::string Counted(std::size_t count, std::string_view noun);  // "1 token", "2 tokens"
std::string Bytes(std::size_t bytes);                           // "12.3 MiB"
std::string OnDevice(const std::string& device);                // "", or " on " and the GPU's name
std::string Duration(double seconds);                           // "1 min 5 s"

}  // namespace awq::cli
