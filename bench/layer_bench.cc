// Rounds single layers by every method and says what each leaves of round-to-nearest's error on
// inputs that it has not seen.
//
//   layer_bench FILE [--methods rtn,gptq,awq,awq-plus] [--bits 4,3] [--group-size 128] [--json
//   FILE]
//
// FILE (safetensors) has for some inputs NAME: NAME.calibration and NAME.heldout [tokens, in], and
// for linears that read them MODULE.weight [out, in].
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/error.h"
#include "base/threads.h"
#include "io/file.h"
#include "io/safetensors.h"
#include "math/vector.h"
#include "search/awq.h"
#include "search/gram_loss.h"
#include "search/site.h"

namespace awq {
namespace {

struct Layer {
  const char* weight;
  const char* inputs;
  bool clipped;  // by the published method, which leaves q and k alone
};

constexpr Layer kLayers[] = {
    {"layer1.self_attn.q_proj", "layer1.attn_in", false},
    {"layer1.self_attn.v_proj", "layer1.attn_in", true},
    {"layer3.mlp.gate_proj", "layer3.mlp_in", true},
    {"layer2.mlp.down_proj", "layer2.down_in", true},
};

Result<Matrix<float>> Load(const io::SafetensorsFile& file, const std::string& name) {
  for (const io::TensorInfo& info : file.tensors()) {
    if (info.name != name) continue;
    if (info.shape.size() != 2) break;
    Matrix<float> values(info.shape[0], info.shape[1]);
    math::Convert(file.View(info), values.span());
    return values;
  }
  return MakeError(ErrorCode::kNotFound, "tensor {}: expected a matrix, found none", name);
}

search::SiteStatistics Gather(ThreadPool& pool, const Matrix<float>& x) {
  search::StatisticsAccumulator accumulator(x.cols());
  accumulator.Add(pool, x);
  return std::move(accumulator).Finish();
}

struct Rounded {
  quant::QuantizedLinear linear;
  std::vector<float> scale;
};

Rounded RoundBy(ThreadPool& pool, const std::string& method, const Layer& layer,
                const Matrix<float>& weights, const Matrix<float>& inputs,
                const quant::Spec& spec) {
  const std::vector<float> identity(weights.cols(), 1.0F);
  if (method == "rtn") return {search::Round(pool, weights, spec), identity};
  search::SiteStatistics statistics = Gather(pool, inputs);
  const MatrixView<const float> view = weights;
  if (method == "awq") {
    const search::ScaleChoice choice = search::SearchScale(pool, {&view, 1}, statistics, spec);
    const Matrix<float> scaled = search::ScaledWeights(pool, weights, choice.scale);
    search::ScaleStatistics(pool, choice.scale, statistics);
    if (!layer.clipped) return {search::Round(pool, scaled, spec), choice.scale};
    const search::Clip clip = search::SearchClip(pool, scaled, statistics.gram, spec);
    return {search::Round(pool, scaled, spec, &clip), choice.scale};
  }
  const std::uint8_t clipped = layer.clipped ? 1 : 0;
  const search::SiteProblem problem{
      .linears = {{&view, 1}, spec}, .clipped = {&clipped, 1}, .tie = {}};
  search::SiteSolution solution =
      search::SolveSite(pool, problem, std::move(statistics),
                        method == "gptq" ? search::kGptqOptions : search::SiteOptions{});
  return {std::move(solution.linears.front().weights), std::move(solution.scale)};
}

// The mean over tokens of the squared output error on `gram`'s inputs.
double ErrorOf(ThreadPool& pool, const Matrix<float>& weights, const Rounded& rounded,
               const Matrix<float>& gram) {
  return search::GramLoss(
      pool, weights.rows(),
      [&](std::size_t row, float* d) {
        quant::Dequantize(rounded.linear, row, {d, 1, weights.cols()});
        for (std::size_t i = 0; i < weights.cols(); ++i) {
          d[i] = weights(row, i) - d[i] / rounded.scale[i];
        }
      },
      gram);
}

Status Run(const std::string& path, const std::vector<std::string>& methods,
           const std::vector<int>& bits, std::size_t group_size, nlohmann::json& rows) {
  ThreadPool pool;
  AWQ_ASSIGN(const io::SafetensorsFile file, io::SafetensorsFile::Open(path));
  for (const Layer& layer : kLayers) {
    AWQ_ASSIGN(const Matrix<float> weights, Load(file, std::string(layer.weight) + ".weight"));
    AWQ_ASSIGN(const Matrix<float> inputs, Load(file, std::string(layer.inputs) + ".calibration"));
    AWQ_ASSIGN(const Matrix<float> heldout, Load(file, std::string(layer.inputs) + ".heldout"));
    const Matrix<float> gram = std::move(Gather(pool, heldout).gram);
    for (const int width : bits) {
      const quant::Spec spec{width, group_size, false};
      const double rtn =
          ErrorOf(pool, weights, RoundBy(pool, "rtn", layer, weights, inputs, spec), gram);
      for (const std::string& method : methods) {
        const auto start = std::chrono::steady_clock::now();
        const Rounded rounded = RoundBy(pool, method, layer, weights, inputs, spec);
        const double seconds = SecondsSince(start);
        rows.push_back({{"layer", layer.weight},
                        {"method", method},
                        {"bits", width},
                        {"heldout_error_over_rtn", ErrorOf(pool, weights, rounded, gram) / rtn},
                        {"seconds", seconds}});
      }
    }
  }
  return {};
}

}  // namespace
}  // namespace awq

int main(int argc, char** argv) {
  CLI::App app{"Rounds single layers by every method; errors on held-out inputs, over rtn's"};
  std::string file;
  std::vector<std::string> methods = {"rtn", "gptq", "awq", "awq-plus"};
  std::vector<int> bits = {4, 3};
  std::size_t group_size = 128;
  std::string json;
  app.add_option("FILE", file, "Layers and their inputs")->required();
  app.add_option("--methods", methods)
      ->delimiter(',')
      ->check(CLI::IsMember({"rtn", "gptq", "awq", "awq-plus"}));
  app.add_option("--bits", bits)->delimiter(',')->check(CLI::Range(2, 8));
  app.add_option("--group-size", group_size);
  app.add_option("--json", json, "Also write the rows there");
  CLI11_PARSE(app, argc, argv);
  nlohmann::json rows = nlohmann::json::array();
  if (const awq::Status done = awq::Run(file, methods, bits, group_size, rows); !done) {
    fmt::print(stderr, "layer_bench: {}\n", done.error().message);
    return 1;
  }
  fmt::print("| layer | method | bits | held-out error over rtn's | seconds |\n");
  fmt::print("|---|---|---|---|---|\n");
  for (const auto& row : rows) {
    fmt::print("| {} | {} | {} | {:.4f} | {:.2f} |\n", row["layer"].get<std::string>(),
               row["method"].get<std::string>(), row["bits"].get<int>(),
               row["heldout_error_over_rtn"].get<double>(), row["seconds"].get<double>());
  }
  if (json.empty()) return 0;
  const awq::Status written = awq::io::WriteFileAtomically(json, rows.dump(1) + "\n");
  if (!written) fmt::print(stderr, "layer_bench: {}\n", written.error().message);
  return written ? 0 : 1;
}
