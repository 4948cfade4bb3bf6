// shape_bench: how fast models of well-known shapes run, with random weights that are made in
// memory: no files, no tokenizer. What tools/gpu_check runs of whole models; works on a CPU, too.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/memory.h"
#include "base/random.h"
#include "bench/shapes.h"
#include "model/arch.h"
#include "speed/speed.h"
#include "transformer/network.h"

namespace awq {
namespace {

struct Options {
  std::string shape = "llama-2-7b";
  std::size_t layers = 0;  // 0: those of the shape
  int bits = 4;
  std::size_t group_size = 128;
  std::size_t threads = 0;
  int device = -1;
  std::size_t prompt_tokens = 512;
  std::size_t new_tokens = 64;
  std::vector<std::size_t> batches = {1, 8};
  std::size_t repeats = 5;
};

// Codes, and scales that give weights of the variance of a fresh model's; the same ones every time.
class RandomCodes final : public model::PackedSource {
 public:
  RandomCodes(const quant::Spec& spec, std::size_t outputs, std::size_t inputs, std::uint64_t seed)
      : spec_(spec), outputs_(outputs), inputs_(inputs), seed_(seed) {
    spec_.group_size = std::min(spec_.group_size, inputs);
  }

  Result<quant::QuantizedLinear> Unpack() const override {
    const std::size_t groups = inputs_ / spec_.group_size;
    quant::QuantizedLinear all{spec_, Matrix<std::uint8_t>(outputs_, inputs_),
                               Matrix<float>(outputs_, groups),
                               Matrix<std::uint8_t>(outputs_, groups)};
    AWQ_TRY(UnpackRows(0, all));
    return all;
  }
  Status UnpackRows(std::size_t first_row, quant::QuantizedLinear& rows) const override {
    const double deviation = std::sqrt((std::ldexp(1.0, 2 * spec_.bits) - 1) / 12);
    const float scale = ToFloat(
        ToF16(static_cast<float>(1 / (std::sqrt(static_cast<double>(inputs_)) * deviation))));
    const auto mask = static_cast<std::uint8_t>(spec_.max_code());
    for (std::size_t r = 0; r < rows.out_features(); ++r) {
      Random random(seed_, first_row + r);
      std::uint8_t* const codes = rows.codes.row(r);
      for (std::size_t k = 0; k < inputs_; k += 8) {
        const std::uint64_t bits = random.Next();
        for (std::size_t i = 0; i < std::min<std::size_t>(8, inputs_ - k); ++i) {
          codes[k + i] = static_cast<std::uint8_t>(bits >> (8 * i)) & mask;
        }
      }
      std::fill_n(rows.scales.row(r), rows.scales.cols(), scale);
      std::fill_n(rows.zeros.row(r), rows.zeros.cols(),
                  static_cast<std::uint8_t>(spec_.mid_code()));
    }
    return {};
  }
  quant::Spec spec() const override { return spec_; }
  std::size_t stored_bytes() const override {
    return outputs_ * inputs_ * static_cast<std::size_t>(spec_.bits) / 8;
  }

 private:
  quant::Spec spec_;
  std::size_t outputs_, inputs_;
  std::uint64_t seed_;
};

class RandomSource final : public model::WeightSource {
 public:
  RandomSource(model::ModelConfig config, const Options& options)
      : config_(std::move(config)),
        spec_{.bits = options.bits, .group_size = options.group_size},
        table_(config_.vocab_size * config_.hidden_size),
        ones_(std::max(config_.hidden_size, config_.head_dim), ToBF16(1.0F)) {
    Random random(1);
    for (BF16& each : table_) each = ToBF16(static_cast<float>(random.Uniform() - 0.5));
  }

  const model::ModelConfig& config() const override { return config_; }
  Result<model::BlockWeights> Block(std::size_t layer) const override {
    model::BlockWeights block;
    for (const model::LinearRow& row : config_.arch->linears) {
      model::Linear linear;
      linear.name = model::ModuleName(*config_.arch, layer, row.name);
      linear.out_features = model::Width(config_, row.out);
      linear.in_features = model::Width(config_, row.in);
      const auto role = static_cast<std::size_t>(row.role);
      linear.packed = std::make_shared<RandomCodes>(spec_, linear.out_features, linear.in_features,
                                                    layer * model::kRoles + role);
      block.linears[role] = std::move(linear);
    }
    for (const model::NormRow& row : config_.arch->norms) {
      if (row.present != nullptr && !(config_.*row.present)) continue;
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

 private:
  TensorView Ones(std::size_t width) const {
    return {DType::kBF16, {width}, std::as_bytes(ones_.span().first(width))};
  }

  model::ModelConfig config_;
  quant::Spec spec_;
  Buffer<BF16> table_, ones_;
};

void Show(const char* what, std::size_t tokens, std::size_t batch,
          const Result<speed::Speed>& made) {
  if (!made) {
    fmt::print("| {} | {} | {} | {} | | | |\n", what, tokens, batch, made.error().message);
    return;
  }
  const speed::Spread& each = made->tokens_per_second;
  fmt::print(
      "| {} | {} | {} | {:.1f} [{:.1f}, {:.1f}] | {:.1f} | {:.0f} | {} |\n", what, tokens, batch,
      each.median, each.least, each.most, made->bytes_per_second / 1e9,
      100 * made->share_of_reading,
      made->share_of_product > 0 ? fmt::format("{:.0f}", 100 * made->share_of_product) : "-");
}

Status Run(const Options& options) {
  AWQ_ASSIGN(model::ModelConfig config,
             bench::MakeConfig(bench::FindShape(options.shape), options.layers));
  const RandomSource source(std::move(config), options);
  ThreadPool pool(options.threads);
  transformer::NetworkOptions network_options;
  network_options.positions = options.prompt_tokens + options.new_tokens;
  network_options.head_bits = 8;
  if (options.device >= 0) {
    network_options.gpu = options.device;
  } else {
    network_options.precision =
        math::HasFastBF16() ? math::Precision::kBF16 : math::Precision::kF32;
    network_options.packed = kernels::Packed::kInt8;
  }
  AWQ_ASSIGN(const auto network, transformer::Network::Create(pool, source, network_options));
  speed::SpeedTest test(*network, options.repeats);
  const Result<speed::Speed> prefill = test.Prefill(options.prompt_tokens);
  fmt::print(
      "{}, {} blocks, {} bits in groups of {}: {} on {}, {} MiB of weights a step, {} MiB "
      "at the peak in the host's memory\n\n",
      options.shape, network->config().num_hidden_layers, options.bits, options.group_size,
      network->arithmetic(), network->device(),
      (network->BlockWork().weight_bytes + network->HeadWork().weight_bytes) >> 20,
      ReadMemoryUse().peak_resident_bytes >> 20);
  fmt::print(
      "| | prompt | batch | tokens/s, median [least, most] | GB/s | of what memory gave, % "
      "| of a dense product, % |\n|---|---|---|---|---|---|---|\n");
  Show("prefill", options.prompt_tokens, 1, prefill);
  for (const std::size_t batch : options.batches) {
    Show("decode", options.prompt_tokens, batch,
         test.Decode(options.prompt_tokens, options.new_tokens, batch));
  }
  fmt::print("\n");
  return {};
}

int Main(int argc, char** argv) {
  Options options;
  CLI::App app("Speed of models of well-known shapes with random weights");
  app.add_option("--shape", options.shape)
      ->check(CLI::IsMember(bench::ShapeNames()))
      ->capture_default_str();
  app.add_option("--layers", options.layers, "Fewer blocks than the shape has");
  app.add_option("--bits", options.bits)->check(CLI::Range(2, 8))->capture_default_str();
  app.add_option("--group-size", options.group_size)->capture_default_str();
  app.add_option("--threads", options.threads);
  app.add_option("--device", options.device, "Number of a GPU; -1: the CPU")->capture_default_str();
  app.add_option("--prompt", options.prompt_tokens)->capture_default_str();
  app.add_option("--gen", options.new_tokens)->capture_default_str();
  app.add_option("--batch", options.batches)->delimiter(',')->capture_default_str();
  app.add_option("--repeat", options.repeats)->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  const Status done = Run(options);
  if (!done) fmt::print(stderr, "shape_bench: {}\n", done.error().message);
  return done ? 0 : 1;
}

}  // namespace
}  // namespace awq

int main(int argc, char** argv) { return awq::Main(argc, argv); }
