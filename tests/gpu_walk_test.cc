// Calibration walked and models quantized by the GPU's kernels, emulated, beside the CPU.
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

#include "base/checked.h"
#include "base/error.h"
#include "checkpoint/reader.h"
#include "cuda/emulated_device.h"
#include "io/file.h"
#include "pipeline/compute.h"
#include "pipeline/memory.h"
#include "pipeline/published.h"
#include "pipeline/quantize.h"
#include "testing/paths.h"
#include "transformer/gpu/context.h"

namespace awq::pipeline {
namespace {

namespace fs = std::filesystem;
using checkpoint::ModelDirectory;
using model::Role;

constexpr std::size_t kSequences = 8, kLength = 20;

struct Size {
  std::size_t sequences = kSequences, length = kLength;
};

Matrix<std::int32_t> SomeTokens(std::size_t vocab, const Size& size = {}) {
  Matrix<std::int32_t> tokens(size.sequences, size.length);
  std::uint64_t state = 98765;
  for (std::int32_t& token : tokens.span()) {
    state = state * 6364136223846793005U + 1442695040888963407U;
    token = static_cast<std::int32_t>((state >> 33) % vocab);
  }
  return tokens;
}

// |a - b| / |b| over all elements.
double RelativeDistance(const Matrix<float>& a, const Matrix<float>& b) {
  double missing = 0, square = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    const auto x = static_cast<double>(a.data()[i]), y = static_cast<double>(b.data()[i]);
    missing += (x - y) * (x - y);
    square += y * y;
  }
  return std::sqrt(missing / square);
}

// One of the two, over some tokens of a model.
struct Walker {
  Walker(ThreadPool& threads, const ModelDirectory& model, std::optional<int> gpu,
         kernels::Packed packed = kernels::Packed::kDense, const Size& size = {})
      : pool(threads),
        compute(MakeCompute(threads, model.config(), math::Precision::kF32, gpu).value()),
        sequences(compute
                      ->MakeSequences(std::vector<std::size_t>(size.sequences, size.length),
                                      {.packed = packed})
                      .value()),
        states(sequences
                   ->Embed(model.Embedding().value(),
                           SomeTokens(model.config().vocab_size, size).span())
                   .value()) {}

  Matrix<float> Hidden(std::size_t width) const {
    Matrix<float> rows(sequences->tokens(), width);
    states->Load(pool, 0, rows);
    return rows;
  }

  ThreadPool& pool;
  std::unique_ptr<Compute> compute;
  std::unique_ptr<Sequences> sequences;
  std::unique_ptr<HiddenStates> states;
};

// What the first site of the first block reads, of some groups.
std::unique_ptr<search::SiteGathering> GatherFirstSite(const Walker& side,
                                                       const ModelDirectory& model,
                                                       const RunnableBlock& block,
                                                       std::span<const Sequences::Group> groups,
                                                       const TokenShare& share) {
  const model::SiteRow& site = model.config().arch->sites[0];
  auto gathered = side.compute->BeginSite(site, model.config().hidden_size, nullptr);
  for (const Sequences::Group& group : groups) {
    side.sequences->MakeInput(block, 0, site.readers[0], group, *side.states, Side::kOriginal);
    side.sequences->Gather(Side::kOriginal, false, share, *gathered);
  }
  return gathered;
}

// A weight that takes one of the inputs.
Matrix<float> OneInput(std::size_t width) {
  Matrix<float> unit(1, width, 0.0F);
  unit(0, 3) = 1;
  return unit;
}

class GpuWalk : public ::testing::TestWithParam<const char*> {
 protected:
  GpuWalk()
      : model_(ModelDirectory::Open(awq::testing::GoldenDir() / "models" / GetParam()).value()) {}

  ThreadPool pool_{2};
  std::unique_ptr<ModelDirectory> model_;
};

// Weights and what they multiply are rounded to bf16, each by 2^-8 at the most and 0.8 2^-9 in the
// root mean square, at random: a product's outputs are off by 2^-9 of their size, about. A block
// has four of them one after another on the way to its output, and attention with two.
constexpr double kBlockError = 6 * 0x1p-9;

TEST_P(GpuWalk, RunsBlocksAsTheCpuDoes) {
  Walker cpu(pool_, *model_, {}), gpu(pool_, *model_, 0);
  const std::size_t width = model_->config().hidden_size;
  EXPECT_EQ(RelativeDistance(gpu.Hidden(width), cpu.Hidden(width)), 0);
  for (std::size_t layer = 0; layer < model_->config().num_hidden_layers; ++layer) {
    const model::BlockWeights weights = model_->Block(layer).value();
    for (Walker* side : {&cpu, &gpu}) {
      const BlockPtr block = side->compute->Prepare(weights).value();
      const auto before = side->sequences->Copy(*side->states).value();
      side->sequences->Run(*block, layer, *side->states);
      ASSERT_TRUE(side->compute->Wait().ok());
      Matrix<float> kept(1, width), now(1, width);
      before->Load(pool_, 0, kept);
      side->states->Load(pool_, 0, now);
      EXPECT_GT(RelativeDistance(kept, now), 0);  // a copy of its own
    }
    EXPECT_LT(RelativeDistance(gpu.Hidden(width), cpu.Hidden(width)),
              static_cast<double>(layer + 1) * kBlockError);
  }
}

// Sequences that go through a block in more than one group, each longer than a page of its keys.
TEST(GpuWalkInGroups, RunsBlocksAsTheCpuDoes) {
  const Size size{.sequences = 17, .length = 140};
  ThreadPool pool(2);
  const auto model =
      ModelDirectory::Open(awq::testing::GoldenDir() / "models" / "llama_gqa_tied").value();
  const std::size_t width = model->config().hidden_size;
  Walker cpu(pool, *model, {}, kernels::Packed::kDense, size);
  Walker gpu(pool, *model, 0, kernels::Packed::kDense, size);
  ASSERT_GT(gpu.sequences->groups().size(), 1U);
  ASSERT_GT(size.length, cuda::kPageTokens);
  EXPECT_EQ(RelativeDistance(gpu.Hidden(width), cpu.Hidden(width)), 0);
  const Matrix<float> unit = OneInput(width);
  const MatrixView<const float> view = unit;
  const model::BlockWeights weights = model->Block(0).value();
  std::vector<double> energies;
  for (Walker* side : {&cpu, &gpu}) {
    const BlockPtr block = side->compute->Prepare(weights).value();
    const auto gathered = GatherFirstSite(*side, *model, *block, side->sequences->groups(),
                                          {.counted = 7, .held = 1, .step = 7});
    energies.push_back(gathered->Arithmetic({{&view, 1}, {4, 16, false}})->Energy(0));
    side->sequences->Run(*block, 0, *side->states);
    ASSERT_TRUE(side->compute->Wait().ok());
  }
  EXPECT_NEAR(energies[1], energies[0], 0x1.02p-7 * energies[0]);
  EXPECT_LT(RelativeDistance(gpu.Hidden(width), cpu.Hidden(width)), kBlockError);
}

// What becomes of a block as it is quantized: codes, dense and packed, and what replaces them.
TEST_P(GpuWalk, RunsQuantizedBlocksAsTheCpuDoes) {
  const PlanOptions options = {.format = "", .group_size = 16};
  const Plan plan = MakePlan(model_->config(), options).value();
  const model::BlockWeights weights = model_->Block(0).value();
  BlockReport report;
  const StoredBlock stored =
      QuantizePublished(pool_, model_->config(), plan, *FindMethod("rtn"), 0, weights, {}, report)
          .value()
          .stored;
  const std::size_t width = model_->config().hidden_size;
  for (const auto packed : {kernels::Packed::kDense, kernels::Packed::kExact}) {
    Walker cpu(pool_, *model_, {}, packed), gpu(pool_, *model_, 0, packed);
    for (Walker* side : {&cpu, &gpu}) {
      const BlockPtr block = MakeBlock(*side->compute, model_->config(), stored, packed).value();
      if (side == &gpu) {  // all again, over what was there
        ASSERT_TRUE(block->SetLinear(Role::kQ, stored.linear(Role::kQ)).ok());
      }
      side->sequences->Run(*block, 0, *side->states);
      ASSERT_TRUE(side->compute->Wait().ok());
    }
    EXPECT_LT(RelativeDistance(gpu.Hidden(width), cpu.Hidden(width)), kBlockError);
  }
}

// As many tokens of a group as are asked for, and of those after them every so many.
TEST_P(GpuWalk, GathersTheShareThatTheCpuDoes) {
  const std::size_t width = model_->config().hidden_size;
  const model::BlockWeights weights = model_->Block(0).value();
  const Matrix<float> unit = OneInput(width);
  const MatrixView<const float> view = unit;
  const TokenShare share{.counted = 7, .held = 9, .step = 4};
  Walker cpu(pool_, *model_, {}), gpu(pool_, *model_, 0);
  std::vector<std::unique_ptr<search::SiteArithmetic>> found;
  std::vector<std::unique_ptr<search::SiteGathering>> gathered;
  const auto group = cpu.sequences->groups()[0];
  for (Walker* side : {&cpu, &gpu}) {
    const BlockPtr block = side->compute->Prepare(weights).value();
    gathered.push_back(GatherFirstSite(*side, *model_, *block, {&group, 1}, share));
    ASSERT_TRUE(side->compute->Wait().ok());
    found.push_back(gathered.back()->Arithmetic({{&view, 1}, {4, 16, false}}));
  }
  EXPECT_EQ(found[0]->held_out_rows(), CeilDiv(group.tokens - share.held, share.step));
  EXPECT_EQ(found[1]->held_out_rows(), found[0]->held_out_rows());
  // Squares of one input, which a bf16 has rounded by 2^-8 at the most.
  EXPECT_NEAR(found[1]->Energy(0), found[0]->Energy(0), 0x1.02p-7 * found[0]->Energy(0));
  for (std::size_t i = 0; i < width; ++i) {
    const auto want = static_cast<double>(found[0]->mean_abs()[i]);
    EXPECT_NEAR(found[1]->mean_abs()[i], want, 0x1.01p-8 * want);
  }
  found.clear();
  gathered.clear();
  const std::size_t held = cuda::CountEmulatedUse().bytes;
  gpu.sequences->ReleaseScratch();
  EXPECT_LT(cuda::CountEmulatedUse().bytes, held);
}

INSTANTIATE_TEST_SUITE_P(Fixtures, GpuWalk,
                         ::testing::Values("llama_gqa_tied", "llama_bias", "llama3_rope", "mistral",
                                           "qwen3"));

Result<QuantizeReport> QuantizeFixture(const char* name, const fs::path& output, const char* method,
                                       std::optional<int> gpu, ProgressSink* progress = nullptr,
                                       math::Precision on_cpu = math::Precision::kF32) {
  ThreadPool pool(2);
  AWQ_ASSIGN(const auto model, ModelDirectory::Open(awq::testing::GoldenDir() / "models" / name));
  QuantizeOptions options;
  options.method = FindMethod(method);
  options.output = output;
  options.plan.group_size = 16;
  options.precision = gpu ? math::Precision::kBF16 : on_cpu;
  options.gpu = gpu;
  options.progress = progress;
  return Quantize(pool, *model, SomeTokens(model->config().vocab_size), options);
}

class GpuQuantize : public ::testing::TestWithParam<const char*> {
 protected:
  awq::testing::TemporaryDirectory scratch_;
};

// The first site reads the same in both, but for bf16, which moves an error's energy by some 2^-8;
// codes that are close to the middle between two fall otherwise. What comes after it reads what
// these have lost, which scatters: on the CPU f32 and bf16 differ by as much from linear to linear.
TEST_P(GpuQuantize, LosesWhatTheCpuLoses) {
  const auto cpu = QuantizeFixture("llama_gqa_tied", scratch_.path() / "cpu", GetParam(), {});
  const auto gpu = QuantizeFixture("llama_gqa_tied", scratch_.path() / "gpu", GetParam(), 0);
  ASSERT_TRUE(cpu.ok()) << cpu.error().message;
  ASSERT_TRUE(gpu.ok()) << gpu.error().message;
  EXPECT_EQ(cpu->device, "cpu");
  EXPECT_EQ(cpu->peak_gpu_bytes, 0U);
  EXPECT_EQ(gpu->device, "emulated");
  EXPECT_GT(gpu->peak_gpu_bytes, kSequences * kLength * 64 * sizeof(float));  // a stream
  const RunSize size{.precision = math::Precision::kBF16,
                     .sequences = kSequences,
                     .sequence_tokens = kLength,
                     .group_size = 16};
  const auto model = ModelDirectory::Open(awq::testing::GoldenDir() / "models" / "llama_gqa_tied");
  // Of what the base holds, the emulator has cuBLASLt's scratch memory alone.
  EXPECT_LE(gpu->peak_gpu_bytes + kGpuBaseBytes,
            EstimateGpuMemory((*model)->config(), *FindMethod(GetParam()), size) +
                transformer::gpu::Context::kDenseScratchBytes);
  double log_ratios = 0;
  std::size_t linears = 0;
  for (std::size_t layer = 0; layer < cpu->blocks.size(); ++layer) {
    for (std::size_t i = 0; i < cpu->blocks[layer].linears.size(); ++i) {
      const LinearReport& a = cpu->blocks[layer].linears[i];
      const LinearReport& b = gpu->blocks[layer].linears[i];
      EXPECT_EQ(a.name, b.name);
      const search::ErrorPair& x = a.quality->held_out;
      const search::ErrorPair& y = b.quality->held_out;
      if (linears < 3) {
        EXPECT_NEAR(y.rtn, x.rtn, 0x1p-6 * x.rtn) << a.name;
        EXPECT_NEAR(y.chosen, x.chosen, 0.05 * x.chosen) << a.name;
      }
      log_ratios += std::log(y.chosen / x.chosen);
      ++linears;
    }
  }
  EXPECT_NEAR(std::exp(log_ratios / static_cast<double>(linears)), 1, 0.2);
  EXPECT_TRUE(ModelDirectory::Open(scratch_.path() / "gpu").ok());
}

INSTANTIATE_TEST_SUITE_P(Methods, GpuQuantize, ::testing::Values("awq-plus-polish", "awq", "gptq"));

std::map<std::string, std::string> FilesOf(const fs::path& directory) {
  std::map<std::string, std::string> files;
  for (const auto& entry : fs::directory_iterator(directory)) {
    if (entry.path().filename() == "quantization_report.json") continue;  // holds times
    files[entry.path().filename().string()] = io::ReadFile(entry.path()).value();
  }
  return files;
}

struct GpuQuantizing : ::testing::Test {
  void TearDown() override { cuda::SetEmulatedMachine({}); }
};

// Stops a run when its second block begins.
class Interrupt final : public ProgressSink {
 public:
  void Update(const ProgressEvent& event) override {
    if (2 * event.done > event.total) throw std::runtime_error("interrupted");
  }
};

TEST_F(GpuQuantizing, ContinuesWhatWasInterrupted) {
  const awq::testing::TemporaryDirectory scratch;
  const fs::path output = scratch.path() / "out";
  Interrupt interrupt;
  EXPECT_THROW((void)QuantizeFixture("llama_gqa_tied", output, "gptq", 0, &interrupt),
               std::runtime_error);
  for (const auto precision : {math::Precision::kF32, math::Precision::kBF16}) {
    const auto elsewhere =
        QuantizeFixture("llama_gqa_tied", output, "gptq", {}, nullptr, precision);
    ASSERT_FALSE(elsewhere.ok());
    EXPECT_NE(elsewhere.error().message.find("was begun on a GPU: --device cuda goes on with it"),
              std::string::npos);
  }
  const auto continued = QuantizeFixture("llama_gqa_tied", output, "gptq", 0);
  ASSERT_TRUE(continued.ok()) << continued.error().message;
  EXPECT_EQ(continued->resumed_blocks, 1U);
  ASSERT_TRUE(QuantizeFixture("llama_gqa_tied", scratch.path() / "once", "gptq", 0).ok());
  EXPECT_EQ(FilesOf(output), FilesOf(scratch.path() / "once"));
}

TEST_F(GpuQuantizing, SaysWhatIsMissing) {
  const awq::testing::TemporaryDirectory scratch;
  const auto message = [&](const cuda::EmulatedMachine& machine) {
    cuda::SetEmulatedMachine(machine);
    const auto report = QuantizeFixture("llama_gqa_tied", scratch.path() / "out", "gptq", 0);
    EXPECT_FALSE(fs::exists(scratch.path() / "out"));
    return report.ok() ? "done" : report.error().message;
  };
  const auto done = QuantizeFixture("llama_gqa_tied", scratch.path() / "done", "gptq", 0);
  ASSERT_TRUE(done.ok()) << done.error().message;
  // Full at once, when something is first multiplied, and while a site is solved.
  const std::size_t used = cuda::CountEmulatedUse().bytes;
  for (const double share : {0.0001, 0.5, 0.9999}) {
    cuda::EmulatedMachine small;
    small.memory_bytes =
        used + static_cast<std::size_t>(share * static_cast<double>(done->peak_gpu_bytes));
    EXPECT_NE(message(small).find("out of GPU memory"), std::string::npos) << share;
  }
  cuda::EmulatedMachine none;
  none.devices = 0;
  EXPECT_NE(message(none).find("leave --device out for the CPU"), std::string::npos);
  cuda::EmulatedMachine without_library;
  without_library.has_dense_library = false;
  EXPECT_NE(message(without_library).find("cuBLASLt"), std::string::npos);
}

// Llama-2-7B's shape: no less than what certainly lies there together when its widest site is
// factored, and what docs/gpu.md says.
TEST_F(GpuQuantizing, IsSaidToTakeWhatTheShapesAskFor) {
  model::ModelConfig config =
      ModelDirectory::Open(awq::testing::GoldenDir() / "models" / "llama").value()->config();
  config.hidden_size = 4096;
  config.intermediate_size = 11008;
  config.num_attention_heads = config.num_key_value_heads = 32;
  config.head_dim = 128;
  config.num_hidden_layers = 32;
  config.vocab_size = 32000;
  const RunSize size{.precision = math::Precision::kBF16,
                     .sequences = 128,
                     .sequence_tokens = 512,
                     .group_size = 128};
  const std::size_t state = size.tokens() * config.hidden_size * sizeof(float);
  const std::size_t square = config.intermediate_size * config.intermediate_size * sizeof(float);
  const std::size_t block = 2 * (4 * config.hidden_size * config.hidden_size +
                                 3 * config.hidden_size * config.intermediate_size);
  const std::size_t down = config.hidden_size * config.intermediate_size * sizeof(float);
  const auto said = [&](const char* method) {
    return EstimateGpuMemory(config, *FindMethod(method), size);
  };
  // H and its factor; where targets are corrected, a second stream and C as well, and the change.
  EXPECT_GE(said("gptq"), state + block + 2 * square + down);
  EXPECT_GE(said("awq-plus"), 2 * state + block + 3 * square + 2 * down);
  EXPECT_GE(said("awq"), state + block + square + down);
  EXPECT_LE(said("awq-plus"), std::size_t{7} << 30);
  EXPECT_LE(said("awq"), said("awq-plus"));
}

TEST_F(GpuQuantizing, RefusesShapesThatItsKernelsDoNotTake) {
  const awq::testing::TemporaryDirectory scratch;
  ThreadPool pool(1);
  model::ModelConfig config =
      ModelDirectory::Open(awq::testing::GoldenDir() / "models" / "llama").value()->config();
  config.head_dim = 12;
  const auto made = MakeCompute(pool, config, math::Precision::kBF16, 0);
  ASSERT_FALSE(made.ok());
  EXPECT_NE(made.error().message.find("head_dim of 12"), std::string::npos);
}

}  // namespace
}  // namespace awq::pipeline
