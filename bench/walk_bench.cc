// walk_bench: how long quantizing a model of a well-known shape takes, with random weights that are
// made in memory and random tokens: no model's files, no tokenizer, no text. The weights of one
// block stand for all of them, and one table for the embedding and the head; all the rest is what
// awq quantize does, and the model that it writes is removed.
#include <fmt/format.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/error.h"
#include "base/random.h"
#include "bench/shapes.h"
#include "io/scratch_file.h"
#include "pipeline/quantize.h"

namespace awq {
namespace {

namespace fs = std::filesystem;
using model::Role;

struct Options {
  std::string shape = "llama-2-7b";
  std::size_t layers = 0;  // 0: those of the shape
  std::string method = "awq-plus";
  int bits = 4;
  std::size_t group_size = 128;  // 0: whole rows
  std::size_t samples = 128;
  std::size_t sequence_tokens = 512;
  std::size_t threads = 0;
  int device = -1;
  std::string output;  // empty: io::ScratchDirectory()
  bool row_only = false;
};

// About normal (the sum of four uniform ones), the same ones every time.
Buffer<BF16> RandomMatrix(ThreadPool& pool, std::size_t rows, std::size_t cols, double deviation,
                          std::uint64_t seed) {
  Buffer<BF16> matrix(rows * cols);
  const double step = deviation / std::sqrt(4 * (256.0 * 256.0 - 1) / 12);  // of a uniform byte
  pool.ParallelFor(rows, [&](std::size_t r, std::size_t) {
    Random random(seed, r);
    BF16* const row = matrix.data() + r * cols;
    for (std::size_t k = 0; k < cols; k += 2) {
      std::uint64_t bits = random.Next();
      for (std::size_t i = k; i < std::min(k + 2, cols); ++i) {
        int sum = -2 * 255;
        for (int part = 0; part < 4; ++part, bits >>= 8) sum += static_cast<int>(bits & 255);
        row[i] = ToBF16(static_cast<float>(step * sum));
      }
    }
  });
  return matrix;
}

class RandomModel final : public checkpoint::StoredModel {
 public:
  RandomModel(ThreadPool& pool, const bench::NamedShape& shape, std::size_t layers,
              model::ModelConfig config)
      : config_(std::move(config)),
        path_(fmt::format("random:{}", shape.name)),
        text_(bench::ConfigText(shape, layers)),
        table_(RandomMatrix(pool, config_.vocab_size, config_.hidden_size, 0.02, 1)),
        ones_(std::max(config_.hidden_size, config_.head_dim), ToBF16(1.0F)) {
    for (const model::LinearRow& row : config_.arch->linears) {
      const std::size_t inputs = model::Width(config_, row.in);
      linears_[static_cast<std::size_t>(row.role)] = RandomMatrix(
          pool, model::Width(config_, row.out), inputs, 1 / std::sqrt(static_cast<double>(inputs)),
          2 + static_cast<std::uint64_t>(row.role));
    }
  }

  // What it takes, which is less than weight_bytes() says.
  std::size_t held_bytes() const { return table_bytes() + block_bytes(); }

  const model::ModelConfig& config() const override { return config_; }
  Result<model::BlockWeights> Block(std::size_t layer) const override {
    AWQ_TRY(CheckLayer(layer));
    model::BlockWeights block;
    for (const model::LinearRow& row : config_.arch->linears) {
      const auto role = static_cast<std::size_t>(row.role);
      model::Linear linear;
      linear.name = model::ModuleName(*config_.arch, layer, row.name);
      linear.out_features = model::Width(config_, row.out);
      linear.in_features = model::Width(config_, row.in);
      linear.weight = {DType::kBF16,
                       {linear.out_features, linear.in_features},
                       std::as_bytes(linears_[role].span())};
      block.linears[role] = std::move(linear);
    }
    for (const model::NormRow& row : config_.arch->norms) {
      if (!model::IsPresent(config_, row)) continue;
      block.norms[static_cast<std::size_t>(row.role)] = Ones(model::Width(config_, row.width));
    }
    return block;
  }
  Result<TensorView> Embedding() const override {
    return TensorView{
        DType::kBF16, {config_.vocab_size, config_.hidden_size}, std::as_bytes(table_.span())};
  }
  Result<TensorView> FinalNorm() const override { return Ones(config_.hidden_size); }
  Result<TensorView> Head() const override { return Embedding(); }
  void Release(std::size_t) const override {}
  void ReleaseAll() const override {}

  const std::optional<pack::Quantization>& quantization() const override { return quantization_; }
  const fs::path& path() const override { return path_; }
  std::size_t weight_bytes() const override {
    return 2 * table_bytes() + config_.num_hidden_layers * block_bytes();
  }
  const std::vector<std::string>& extra_tensors() const override { return extra_tensors_; }
  Result<std::optional<std::string>> SmallFile(std::string_view name) const override {
    return name == "config.json" ? std::optional(text_) : std::nullopt;
  }
  Result<std::vector<fs::path>> WeightFiles() const override { return std::vector<fs::path>(); }

 private:
  std::size_t table_bytes() const { return table_.size() * sizeof(BF16); }
  std::size_t block_bytes() const {
    std::size_t elements = 0;
    for (const Buffer<BF16>& linear : linears_) elements += linear.size();
    return elements * sizeof(BF16);
  }
  TensorView Ones(std::size_t width) const {
    return {DType::kBF16, {width}, std::as_bytes(ones_.span().first(width))};
  }

  model::ModelConfig config_;
  fs::path path_;
  std::string text_;
  Buffer<BF16> table_, ones_;
  std::array<Buffer<BF16>, model::kRoles> linears_;  // of every block
  std::optional<pack::Quantization> quantization_;
  std::vector<std::string> extra_tensors_;
};

// A folder of its own, which goes away with all that is in it.
class ScratchFolder {
 public:
  static Result<ScratchFolder> Create(const fs::path& parent) {
    std::string path = (parent / "walk_bench.XXXXXX").string();
    if (mkdtemp(path.data()) == nullptr) {
      return MakeError(ErrorCode::kIo, "{}: cannot make a folder there: {}", parent.string(),
                       std::generic_category().message(errno));
    }
    return ScratchFolder(path);
  }
  ScratchFolder(ScratchFolder&& other) noexcept : path_(std::exchange(other.path_, {})) {}
  ScratchFolder& operator=(ScratchFolder&&) = delete;
  ~ScratchFolder() {
    std::error_code ignored;
    if (!path_.empty()) fs::remove_all(path_, ignored);
  }
  const fs::path& path() const { return path_; }

 private:
  explicit ScratchFolder(fs::path path) : path_(std::move(path)) {}
  fs::path path_;
};

// Says on stderr every tenth of the way when it was reached, so that a run that is cut short has
// said something.
class Tenths final : public ProgressSink {
 public:
  void Update(const ProgressEvent& event) override {
    if (!event.note.empty()) fmt::print(stderr, "{}\n", event.note);
    const std::uint64_t tenths = event.total == 0 ? 0 : event.done * 10 / event.total;
    if (tenths <= tenths_) return;
    tenths_ = tenths;
    fmt::print(stderr, "{} {} % after {:.1f} s\n", event.stage, 10 * tenths, SecondsSince(start_));
  }

 private:
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
  std::uint64_t tenths_ = 0;
};

Matrix<std::int32_t> RandomTokens(const Options& options, std::size_t vocabulary) {
  Matrix<std::int32_t> tokens(options.samples, options.sequence_tokens);
  Random random(0);
  for (std::int32_t& token : tokens.span()) {
    token = static_cast<std::int32_t>(random.Below(vocabulary));
  }
  return tokens;
}

double SolvingSeconds(const pipeline::QuantizeReport& report) {
  double seconds = 0;
  for (const pipeline::BlockReport& block : report.blocks) {
    for (const pipeline::SiteReport& site : block.sites) seconds += site.seconds;
    for (const pipeline::LinearReport& linear : block.linears) seconds += linear.seconds;
  }
  return seconds;
}

void Show(const Options& options, const RandomModel& model, const std::string& device,
          const pipeline::QuantizeReport& report) {
  constexpr double kMiB = 1 << 20;
  if (!options.row_only) {
    fmt::print(
        "| shape | blocks | method | tokens | on | s | s a block | searching and rounding, % | "
        "peak "
        "host memory, MiB (the random model in it) | peak GPU memory, MiB |\n"
        "|---|---|---|---|---|---|---|---|---|---|\n");
  }
  const std::size_t blocks = report.blocks.size();
  fmt::print(
      "| {} | {} | {}, {} bits, {} | {} | {} | {:.1f} | {:.2f} | {:.0f} | {:.0f} ({:.0f}) | "
      "{} |\n",
      options.shape, blocks, report.method, report.bits,
      report.group_size < 0 ? "whole rows" : fmt::format("groups of {}", report.group_size),
      report.calibration_tokens == 0
          ? "-"
          : fmt::format("{} x {}", options.samples, options.sequence_tokens),
      device, report.seconds, report.seconds / static_cast<double>(blocks),
      100 * SolvingSeconds(report) / report.seconds,
      static_cast<double>(report.peak_resident_bytes) / kMiB,
      static_cast<double>(model.held_bytes()) / kMiB,
      report.peak_gpu_bytes == 0 ? "-" : fmt::format("{}", report.peak_gpu_bytes >> 20));
}

Status Run(const Options& options) {
  const bench::NamedShape& shape = bench::FindShape(options.shape);
  AWQ_ASSIGN(model::ModelConfig config, bench::MakeConfig(shape, options.layers));
  pipeline::QuantizeOptions run;
  run.method = pipeline::FindMethod(options.method);
  run.plan.bits = options.bits;
  run.plan.group_size = options.group_size;
  // Of what is written, the format with all bits and groups.
  if (options.bits != 4) run.plan.format = "compressed-tensors";
  ThreadPool pool(options.threads);
  const RandomModel model(pool, shape, options.layers, std::move(config));
  Matrix<std::int32_t> tokens;
  if (run.method->calibrates()) tokens = RandomTokens(options, model.config().vocab_size);
  run.precision = math::HasFastBF16() ? math::Precision::kBF16 : math::Precision::kF32;
  if (options.device >= 0 && run.method->calibrates()) {  // as awq quantize does it
    run.gpu = options.device;
    run.precision = math::Precision::kBF16;
  }
  AWQ_ASSIGN(const ScratchFolder scratch,
             ScratchFolder::Create(options.output.empty() ? io::ScratchDirectory()
                                                          : fs::path(options.output)));
  run.output = scratch.path() / "quantized";
  run.calibration_source = "random tokens";
  Tenths progress;
  run.progress = &progress;
  run.meter = std::make_shared<pipeline::Meter>();  // from here on
  AWQ_ASSIGN(const pipeline::QuantizeReport report, pipeline::Quantize(pool, model, tokens, run));
  const std::string where =
      run.gpu ? report.device
              : fmt::format("{}, {} threads, {}", report.device, pool.size(),
                            run.precision == math::Precision::kBF16 ? "bf16" : "f32");
  Show(options, model, where, report);
  return {};
}

int Main(int argc, char** argv) {
  Options options;
  CLI::App app("Time to quantize models of well-known shapes with random weights");
  std::vector<std::string> methods;
  for (const pipeline::Method& each : pipeline::Methods()) {
    if (each.storable()) methods.emplace_back(each.name);
  }
  app.add_option("--shape", options.shape)
      ->check(CLI::IsMember(bench::ShapeNames()))
      ->capture_default_str();
  app.add_option("--layers", options.layers, "Another number of blocks than the shape has");
  app.add_option("--method", options.method)->check(CLI::IsMember(methods))->capture_default_str();
  app.add_option("--bits", options.bits)->check(CLI::Range(2, 8))->capture_default_str();
  app.add_option("--group-size", options.group_size, "0: whole rows")->capture_default_str();
  app.add_option("--samples", options.samples)->capture_default_str();
  app.add_option("--seq-len", options.sequence_tokens)->capture_default_str();
  app.add_option("--threads", options.threads);
  app.add_option("--device", options.device, "Number of a GPU; -1: the CPU")->capture_default_str();
  app.add_option("--output", options.output,
                 "Folder to write in; what is written is removed (default: $TMPDIR or /var/tmp)");
  app.add_flag("--row", options.row_only, "The table's row without its head");
  CLI11_PARSE(app, argc, argv);
  try {
    const Status done = Run(options);
    if (done) return 0;
    fmt::print(stderr, "walk_bench: {}\n", done.error().message);
  } catch (const std::exception& failure) {
    fmt::print(stderr, "walk_bench: {}\n", failure.what());
  }
  return 1;
}

}  // namespace
}  // namespace awq

int main(int argc, char** argv) { return awq::Main(argc, argv); }
