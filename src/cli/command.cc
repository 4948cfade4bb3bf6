#include "cli/command.h"

#include <fmt/format.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

namespace awq::cli {

RuntimeFlags::RuntimeFlags(CLI::App& command) {
  command.add_option("--threads", threads_, "Threads to use; 0: all CPUs")
      ->check(CLI::Range(0, 1024))
      ->capture_default_str();
  command.add_option("--precision", precision_, "Arithmetic: f32, bf16 or what suits the CPU")
      ->check(CLI::IsMember({"auto", "f32", "bf16"}))
      ->capture_default_str();
}

Runtime RuntimeFlags::Make(ProgressSink& progress) const {
  Runtime runtime;
  runtime.threads = threads_;
  runtime.precision = precision_ == "f32"    ? ComputePrecision::kF32
                      : precision_ == "bf16" ? ComputePrecision::kBF16
                                             : ComputePrecision::kAuto;
  runtime.progress = &progress;
  return runtime;
}

JsonFlag::JsonFlag(CLI::App& command) {
  command.add_option("--json", path_, "Also write the report as JSON; - is standard output");
}

std::FILE* JsonFlag::readable() const { return path_ == "-" ? stderr : stdout; }

int JsonFlag::Check() const {
  if (path_.empty() || path_ == "-") return 0;
  std::FILE* file = std::fopen(path_.c_str(), "a");
  if (file == nullptr) {
    return Fail({ErrorCode::kIo,
                 fmt::format("--json {}: cannot write it: {}", path_, std::strerror(errno))});
  }
  std::fclose(file);
  return 0;
}

int JsonFlag::Write(const std::string& json) const {
  if (path_.empty()) return 0;
  if (path_ == "-") {
    fmt::print("{}\n", json);
    return 0;
  }
  std::FILE* file = std::fopen(path_.c_str(), "w");
  const bool written =
      file != nullptr && std::fputs(json.c_str(), file) >= 0 && std::fputc('\n', file) != EOF;
  const bool closed = file != nullptr && std::fclose(file) == 0;
  if (written && closed) return 0;
  return Fail({ErrorCode::kIo, fmt::format("{}: cannot write the JSON report", path_)});
}

CLI::Option* AddSeed(CLI::App& command, std::uint64_t& seed, const std::string& help) {
  return command.add_option("--seed", seed, help)
      ->check([](const std::string& text) {
        const bool valid =
            !text.empty() && text.find_first_not_of("0123456789") == std::string::npos;
        return valid ? std::string() : "expected a number that is not negative, found " + text;
      })
      ->capture_default_str();
}

CLI::Option* AddBos(CLI::App& command, std::string& bos) {
  return command
      .add_option("--bos", bos,
                  "auto: what the tokenizer adds, once; window: every window begins with BOS; "
                  "never")
      ->check(CLI::IsMember({"auto", "window", "never"}));
}

Bos ParseBos(const std::string& name) {
  return name == "window" ? Bos::kWindow : name == "never" ? Bos::kNever : Bos::kAuto;
}

int Fail(const Error& error) {
  fmt::print(stderr, "awq: {}\n", error.message);
  return 1;
}

std::string Bytes(std::size_t bytes) {
  const auto value = static_cast<double>(bytes);
  if (bytes < (std::size_t{1} << 20)) return fmt::format("{:.1f} KiB", value / 1024);
  if (bytes < (std::size_t{1} << 30)) return fmt::format("{:.1f} MiB", value / (1 << 20));
  return fmt::format("{:.2f} GiB", value / (1 << 30));
}

std::string Duration(double seconds) {
  if (seconds < 100) return fmt::format("{:.1f} s", seconds);
  const auto whole = static_cast<long>(seconds + 0.5);
  if (whole < 3600) return fmt::format("{} min {} s", whole / 60, whole % 60);
  return fmt::format("{} h {} min", whole / 3600, whole % 3600 / 60);
}

}  // namespace awq::cli
