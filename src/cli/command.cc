#include "cli/command.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace awq::cli {
namespace {

constexpr std::array kInterrupts = {SIGINT, SIGTERM};

void Interrupt(int signal, std::string_view notice) {
  [[maybe_unused]] const auto written = write(STDERR_FILENO, notice.data(), notice.size());
  std::raise(signal);  // delivered, by its default, when the handler returns
}

void SayIsLost(int signal) { Interrupt(signal, "\nawq: interrupted\n"); }

void SayGoesOn(int signal) {
  Interrupt(signal, "\nawq: interrupted; the same command goes on from what is finished by then\n");
}

struct sigaction Handle(int signal, void (*handler)(int)) {
  struct sigaction earlier {};
  sigaction(signal, nullptr, &earlier);
  if (earlier.sa_handler == SIG_IGN) return earlier;
  struct sigaction ours {};
  ours.sa_handler = handler;
  ours.sa_flags = static_cast<int>(SA_RESETHAND);
  sigaction(signal, &ours, nullptr);
  return earlier;
}

}  // namespace

InterruptNotice::InterruptNotice(Interrupted what) {
  for (std::size_t i = 0; i < kInterrupts.size(); ++i) {
    earlier_[i] = Handle(kInterrupts[i], what == Interrupted::kGoesOn ? SayGoesOn : SayIsLost);
  }
}

InterruptNotice::~InterruptNotice() {
  for (std::size_t i = 0; i < kInterrupts.size(); ++i) {
    sigaction(kInterrupts[i], &earlier_[i], nullptr);
  }
}

RuntimeFlags::RuntimeFlags(CLI::App& command, Offer offer) {
  if (offer.threads) {
    command.add_option("--threads", threads_, "Threads to use; 0: all CPUs")
        ->check(WholeNumber(0, kMostThreads))
        ->capture_default_str();
  }
  std::vector<std::string> precisions = {"auto", "f32", "bf16"};
  const bool f16 = offer.device && offer.f16;
  if (f16) precisions.emplace_back("f16");
  command
      .add_option("--precision", precision_,
                  f16 ? "Arithmetic: f32, bf16, or f16 on a GPU; auto is what suits the CPU, and "
                        "bf16 on a GPU"
                      : "Arithmetic: f32, bf16 or what suits the CPU; bf16 on a GPU")
      ->check(CLI::IsMember(precisions))
      ->capture_default_str();
  if (offer.device) {
    command
        .add_option("--device", device_,
                    "Where to compute: cpu; cuda, the first NVIDIA GPU, or cuda:N; auto, the first "
                    "one if there is room for it there, else the CPU")
        ->check([](const std::string& name) {
          const Status known = CheckDeviceName(name);
          return known ? std::string() : known.error().message;
        })
        ->capture_default_str();
  }
  command.add_option("--isa", isa_, "Instruction set of our own loops; else the best of this CPU")
      ->check(CLI::IsMember(InstructionSets()));
}

std::string ChosenIsa(const CLI::App& command) {
  const CLI::Option* isa = command.get_option_no_throw("--isa");
  return isa == nullptr || isa->count() == 0 ? "" : isa->results().back();
}

Runtime RuntimeFlags::Make(ProgressSink& progress) const {
  Runtime runtime;
  runtime.threads = threads_;
  runtime.precision = precision_ == "f32"    ? ComputePrecision::kF32
                      : precision_ == "bf16" ? ComputePrecision::kBF16
                      : precision_ == "f16"  ? ComputePrecision::kF16
                                             : ComputePrecision::kAuto;
  runtime.progress = &progress;
  runtime.device = device_;
  return runtime;
}

FileFlag::FileFlag(CLI::App& command, std::string flag, const std::string& help)
    : flag_(std::move(flag)) {
  command.add_option(flag_, path_, help)->check(NotEmpty());
}

int FileFlag::Check() const {
  if (path_.empty() || path_ == "-") return 0;
  const bool there = access(path_.c_str(), F_OK) == 0;
  std::FILE* file = std::fopen(path_.c_str(), "a");
  if (file == nullptr) {
    return Fail({ErrorCode::kIo,
                 fmt::format("{} {}: cannot write it: {}", flag_, path_, std::strerror(errno))});
  }
  std::fclose(file);
  if (!there) std::remove(path_.c_str());
  return 0;
}

int FileFlag::Write(const std::string& text) const {
  if (path_.empty()) return 0;
  if (path_ == "-") {
    fmt::print("{}\n", text);
    return 0;
  }
  std::FILE* file = std::fopen(path_.c_str(), "w");
  const bool written =
      file != nullptr && std::fputs(text.c_str(), file) >= 0 && std::fputc('\n', file) != EOF;
  const bool closed = file != nullptr && std::fclose(file) == 0;
  if (written && closed) return 0;
  return Fail({ErrorCode::kIo, fmt::format("{}: cannot write the report ({})", path_, flag_)});
}

GroupSizeFlag::GroupSizeFlag(CLI::App& command) {
  given_ = command
               .add_option("--group-size", group_size_,
                           "Weights that share a scale; -1: whole rows. Default: 128 where it "
                           "divides the inputs of every linear, else 64 likewise, else 32")
               ->check([](const std::string& text) {
                 return text == "-1" || WholeNumber(1)(text).empty()
                            ? std::string()
                            : "expected -1 or a positive number, found " + text;
               });
}

std::optional<int> GroupSizeFlag::Read() const {
  return given_->count() > 0 ? std::optional<int>(group_size_) : std::nullopt;
}

CalibrationFlags::CalibrationFlags(CLI::App& command, const std::string& source_help,
                                   Calibration defaults)
    : calibration_(std::move(defaults)) {
  source_given_ =
      command.add_option("--calib", calibration_.source, source_help)->check(NotEmpty());
  command.add_option("--samples", calibration_.samples, "Calibration windows")
      ->check(WholeNumber(1, 1 << 20))
      ->capture_default_str();
  command.add_option("--seq-len", calibration_.sequence_tokens, "Tokens per calibration window")
      ->check(WholeNumber(2, 1 << 20))
      ->capture_default_str();
  AddSeed(command, calibration_.seed, "Seed of self-written calibration text");
  bos_given_ = AddBos(command, bos_)->default_str("window where the model names a BOS, else never");
}

Calibration CalibrationFlags::Read() const {
  Calibration calibration = calibration_;
  if (bos_given_->count() > 0) calibration.bos = ParseBos(bos_);
  return calibration;
}

CLI::Validator NotEmpty() {
  return CLI::Validator(
      [](const std::string& text) {
        return text.empty() ? std::string("expected a value, found an empty one") : std::string();
      },
      "");
}

CLI::Validator Trimmed() {
  return CLI::Validator(
      [](std::string& text) {
        text.erase(0, std::min(text.find_first_not_of(' '), text.size()));
        text.erase(text.find_last_not_of(' ') + 1);
        return std::string();
      },
      "");
}

void AddFormat(CLI::App& command, std::string& format, const std::string& help) {
  command.add_option("--format", format, help)
      ->transform(CLI::Validator(
          [](std::string& name) {
            if (name == "awq") name = "awq-gemm";
            return std::string();
          },
          ""))
      ->check(CLI::IsMember(FileFormats()))
      ->capture_default_str();
}

CLI::Validator WholeNumber(std::uint64_t least, std::uint64_t most) {
  return CLI::Validator(
      [least, most](const std::string& text) {
        std::uint64_t value = 0;
        const char* const end = text.data() + text.size();
        const auto [stop, failure] = std::from_chars(text.data(), end, value);
        if (failure == std::errc() && stop == end && value >= least && value <= most) {
          return std::string();
        }
        const bool open = most == std::numeric_limits<std::uint64_t>::max();
        return fmt::format("expected a whole number from {} {}, found {}", least,
                           open ? "on" : fmt::format("to {}", most), text);
      },
      "");
}

namespace {

CLI::Validator Number(double least, double most) {
  return CLI::Validator(
      [least, most](const std::string& text) {
        char* end = nullptr;
        const double value = std::strtod(text.c_str(), &end);
        const bool valid = !text.empty() && *end == '\0' && value >= least && value <= most;
        return valid ? std::string()
                     : fmt::format("expected a number from {} to {}, found {}", least, most, text);
      },
      "");
}

}  // namespace

void AddMaxNewTokens(CLI::App& command, std::size_t& tokens, const std::string& help) {
  command.add_option("-n", tokens, help)->check(WholeNumber(1, 1 << 24))->capture_default_str();
}

void AddSampling(CLI::App& command, Sampling& sampling) {
  const auto add = [&](const char* flag, double& value, double least, double most,
                       const char* help) {
    command.add_option(flag, value, help)->check(Number(least, most))->capture_default_str();
  };
  add("--temperature", sampling.temperature, 0, 100, "0: always the most likely token");
  command
      .add_option("--top-k", sampling.top_k,
                  "Draw from the so many most likely tokens; 0: from all")
      ->check(WholeNumber(0))
      ->capture_default_str();
  add("--top-p", sampling.top_p, 0, 1, "Of these, from the fewest that have P together");
  add("--min-p", sampling.min_p, 0, 1, "Of these, from all that have P of the most likely one's");
  add("--repeat-penalty", sampling.repeat_penalty, 0.01, 100,
      "Divides logits of tokens that were there; 1: none");
  AddSeed(command, sampling.seed, "Seed of the sampling");
  command
      .add_option("--stop", sampling.stop,
                  "End the text before this string; may be given several times")
      ->check(NotEmpty())
      ->allow_extra_args(false);
}

void NoteIdleSampling(const Sampling& sampling) {
  const bool cuts = sampling.top_k > 0 || sampling.top_p < 1 || sampling.min_p > 0;
  if (sampling.temperature > 0 || !(cuts || sampling.seed != 0)) return;
  PrintError(
      "awq: at --temperature 0 the most likely token is taken: --top-k, --top-p, --min-p and "
      "--seed do nothing\n");
}

CLI::Option* AddSeed(CLI::App& command, std::uint64_t& seed, const std::string& help) {
  return command.add_option("--seed", seed, help)->check(WholeNumber(0))->capture_default_str();
}

CLI::Option* AddBos(CLI::App& command, std::string& bos) {
  return command
      .add_option("--bos", bos,
                  "auto: what the tokenizer adds, once; window: every window begins with BOS; "
                  "never")
      ->check(CLI::IsMember({"auto", "window", "never"}));
}

void AddModel(CLI::App& command, std::string& model, const char* help) {
  command.add_option("MODEL", model, help)->check(NotEmpty())->required();
}

void AddArithmetic(CLI::App& command, Arithmetic& arithmetic) {
  const bool exact = arithmetic.activations == Activations::kExact;
  command
      .add_option_function<std::string>(
          "--activations",
          [&arithmetic](const std::string& name) {
            arithmetic.activations = name == "int8"    ? Activations::kInt8
                                     : name == "exact" ? Activations::kExact
                                                       : Activations::kAuto;
          },
          "What packed weights are multiplied by: exact; int8, rounded to 8 bits; or auto, int8 "
          "where the model has such weights")
      ->check(CLI::IsMember({"auto", "exact", "int8"}))
      ->default_str(exact ? "exact" : "auto");
  command
      .add_option_function<int>(
          "--head", [&arithmetic](int bits) { arithmetic.head_bits = bits; },
          "Bits of the output head: 16, as it is, or rounded to 8 or 4")
      ->check(CLI::IsMember({16, 8, 4}))
      ->default_str(exact ? "16" : "8 if the model is quantized, else 16");
  command
      .add_option_function<std::string>(
          "--kv",
          [&arithmetic](const std::string& name) {
            arithmetic.kv = name == "int8"  ? KvPrecision::kInt8
                            : name == "f16" ? KvPrecision::kF16
                                            : KvPrecision::kExact;
          },
          "What keys and values of past tokens are held in: exact, as computed (bf16 or f32); "
          "f16; or int8, rounded to 8 bits")
      ->check(CLI::IsMember({"exact", "f16", "int8"}))
      ->default_str("exact");
}

Bos ParseBos(const std::string& name) {
  return name == "window" ? Bos::kWindow : name == "never" ? Bos::kNever : Bos::kAuto;
}

std::string Printable(std::string_view text) {
  std::string shown;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    const auto next = static_cast<unsigned char>(i + 1 < text.size() ? text[i + 1] : 0);
    // U+0080 to U+009F are control characters as well.
    if (byte < 0x20 || byte == 0x7f || (byte == 0xc2 && next >= 0x80 && next < 0xa0)) {
      shown += fmt::format("\\x{:02x}", byte);
      if (byte == 0xc2) shown += fmt::format("\\x{:02x}", static_cast<unsigned char>(text[++i]));
    } else {
      shown += text[i];
    }
  }
  return shown;
}

void PrintError(const std::string& text) {
  std::fputs(text.c_str(), stderr);
  std::fflush(stderr);
}

namespace {

// The lines of a list that an error has begin with two spaces; other line ends are of names.
std::string PrintableLines(std::string_view text) {
  std::string shown;
  for (std::size_t end = text.find("\n  "); end != text.npos; end = text.find("\n  ")) {
    shown += Printable(text.substr(0, end)) + "\n";
    text.remove_prefix(end + 1);
  }
  return shown + Printable(text);
}

}  // namespace

int Fail(const Error& error) {
  PrintError(fmt::format("awq: {}\n", PrintableLines(error.message)));
  return 1;
}

int Misused(const Error& error) {
  Fail(error);
  return 2;
}

double PerSecond(std::size_t tokens, double seconds) {
  return seconds > 0 ? static_cast<double>(tokens) / seconds : 0;
}

std::string Counted(std::size_t count, std::string_view noun) {
  return fmt::format("{} {}{}", count, noun, count == 1 ? "" : "s");
}

std::string Bytes(std::size_t bytes) {
  const auto value = static_cast<double>(bytes);
  if (bytes < (std::size_t{1} << 20)) return fmt::format("{:.1f} KiB", value / 1024);
  if (bytes < (std::size_t{1} << 30)) return fmt::format("{:.1f} MiB", value / (1 << 20));
  return fmt::format("{:.2f} GiB", value / (1 << 30));
}

std::string OnDevice(const std::string& device) {
  return device == "cpu" ? "" : " on " + Printable(device);
}

std::string Duration(double seconds) {
  if (seconds < 100) return fmt::format("{:.1f} s", seconds);
  const auto whole = static_cast<long>(seconds + 0.5);
  if (whole < 3600) return fmt::format("{} min {} s", whole / 60, whole % 60);
  return fmt::format("{} h {} min", whole / 3600, whole % 3600 / 60);
}

}  // namespace awq::cli
