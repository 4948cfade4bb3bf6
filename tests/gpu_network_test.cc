// Whole networks on the GPU's kernels, emulated, beside the same on the CPU.
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>
#include <numeric>
#include <vector>

#include "cuda/emulated_device.h"
#include "generate/engine.h"
#include "testing/network_cases.h"
#include "testing/random_model.h"
#include "testing/rounded_model.h"
#include "transformer/gpu/network.h"
#include "transformer/network.h"

namespace awq::transformer {
namespace {

using kernels::Precision;
using testing::Tokens;
using testing::Variant;
using testing::Variants;

constexpr std::size_t kTokens = 40;

model::ModelConfig Config() {
  model::ModelConfig config = testing::SmallConfig();
  config.hidden_size = 128;
  config.intermediate_size = 160;
  config.num_attention_heads = 8;
  config.num_key_value_heads = 4;
  config.head_dim = 16;
  return config;
}

NetworkOptions OnGpu(NetworkOptions options = {}) {
  options.gpu = 0;
  options.f16 = true;
  if (options.positions == 0) options.positions = kTokens;
  return options;
}

using Cut = std::vector<std::size_t>;  // tokens of each call, one after another

// Logits of all tokens, run in pieces; the network keeps what is between to itself.
Matrix<float> LogitsOf(ThreadPool& pool, const model::WeightSource& source,
                       const std::vector<std::int32_t>& tokens, const NetworkOptions& options,
                       const Cut& cut) {
  auto network = Network::Create(pool, source, options);
  if (!network) {
    ADD_FAILURE() << network.error().message;
    return {};
  }
  const model::ModelConfig& config = source.config();
  const auto cache =
      (*network)->MakeCache({.layers = config.num_hidden_layers, .capacity_tokens = tokens.size()});
  Matrix<float> logits(tokens.size(), config.vocab_size);
  std::size_t done = 0;
  for (const std::size_t count : cut) {
    const Status ran =
        (*network)->Run(std::span(tokens).subspan(done, count), {{count, done, 0}}, *cache);
    EXPECT_TRUE(ran) << ran.error().message;
    std::vector<std::size_t> rows(count);
    std::iota(rows.begin(), rows.end(), std::size_t{0});
    EXPECT_TRUE((*network)->LogitsOf(rows, logits.view().Rows(done, count)));
    done += count;
  }
  return logits;
}

double Rms(const Matrix<float>& m) {
  double sum = 0;
  for (const float x : m.span()) sum += static_cast<double>(x) * static_cast<double>(x);
  return std::sqrt(sum / static_cast<double>(m.size()));
}

// Root mean square of the difference, of that of b.
double Distance(const Matrix<float>& a, const Matrix<float>& b) {
  EXPECT_EQ(a.size(), b.size());
  Matrix<float> difference(b.rows(), b.cols());
  for (std::size_t i = 0; i < a.size(); ++i) difference.data()[i] = a.data()[i] - b.data()[i];
  return Rms(difference) / Rms(b);
}

// What is rounded to 11 bits, .58 of half a step on average: 4 inputs, keys, values, queries and
// attention weights in each of 2 blocks, and the head's input. Independent errors add in squares;
// sharp attention amplifies them a few times.
const double kHalfError = 4 * std::sqrt(17.0) * 0.58 * 0x1p-12;

TEST(GpuNetwork, LogitsAreTheCpus) {
  ThreadPool pool(2);
  const std::vector<std::int32_t> tokens = Tokens(kTokens, 1);
  for (const Variant& variant : Variants(9)) {
    SCOPED_TRACE(variant.name);
    model::ModelConfig config = Config();
    variant.change(config);
    const testing::RandomModel source(config, DType::kF16);
    const NetworkOptions exact{.positions = kTokens};
    const Matrix<float> cpu = LogitsOf(pool, source, tokens, exact, {kTokens});
    for (const Cut& cut : {Cut{kTokens}, Cut{3, 20, 1, 1, 15}}) {
      const double distance = Distance(LogitsOf(pool, source, tokens, OnGpu(), cut), cpu);
      EXPECT_LT(distance, kHalfError);
      EXPECT_GT(distance, 0);
    }
  }
}

TEST(GpuNetwork, Bfloat16AndNarrowKeysStayNear) {
  ThreadPool pool(2);
  const std::vector<std::int32_t> tokens = Tokens(kTokens, 1);
  const testing::RandomModel source(Config(), DType::kBF16);
  const Matrix<float> cpu =
      LogitsOf(pool, source, tokens, NetworkOptions{.positions = kTokens}, {kTokens});
  const Cut cut = {20, 1, 1, 18};
  NetworkOptions options = OnGpu();
  options.f16 = false;
  EXPECT_LT(Distance(LogitsOf(pool, source, tokens, options, cut), cpu), 8 * kHalfError);
  options.f16 = true;
  options.kv = KvType::kInt8;
  // Steps of 1/127 of the largest of 16, which is some 2.3 times their root mean square.
  const double codes = 4 * std::sqrt(4.0) * 2.3 / 127 / std::sqrt(12.0);
  EXPECT_LT(Distance(LogitsOf(pool, source, tokens, options, cut), cpu), codes);
}

// Whatever the kernels hold is computed from its codes; the rest is made dense.
TEST(GpuNetwork, PackedLinearsOfAllKindsAreTheCpus) {
  ThreadPool pool(2);
  const std::vector<std::int32_t> tokens = Tokens(kTokens, 2);
  model::ModelConfig config = Config();
  config.qkv_bias = true;
  const testing::RandomModel source(config, DType::kF16);
  struct Kind {
    quant::Spec spec;
    bool is_packed;
  };
  const std::vector<Kind> kinds = {
      {{.bits = 4, .group_size = 32}, true},
      {{.bits = 4, .group_size = 32, .symmetric = true, .scale_dtype = DType::kBF16}, true},
      {{.bits = 3, .group_size = 32}, true},
      {{.bits = 8, .group_size = 0}, true},
      {{.bits = 5, .group_size = 32}, true},
      {{.bits = 4, .group_size = 16}, false}};
  for (const Kind& kind : kinds) {
    SCOPED_TRACE(fmt::format("{} bits, groups of {}", kind.spec.bits, kind.spec.group_size));
    const testing::RoundedModel rounded(source, kind.spec);
    const NetworkOptions exact{.positions = kTokens, .packed = kernels::Packed::kDense};
    const Matrix<float> cpu = LogitsOf(pool, rounded, tokens, exact, {kTokens});
    EXPECT_LT(Distance(LogitsOf(pool, rounded, tokens, OnGpu(), {12, 1, 27}), cpu), kHalfError);
    auto network = Network::Create(pool, rounded, OnGpu());
    ASSERT_TRUE(network);
    const Network::Work work = (*network)->BlockWork();
    const double bits =
        8.0 * static_cast<double>(work.weight_bytes) / static_cast<double>(work.multiplications);
    EXPECT_EQ(bits < 10, kind.is_packed) << bits;
  }
}

TEST(GpuNetwork, RoundedHeadsAreTheCpus) {
  ThreadPool pool(2);
  const std::vector<std::int32_t> tokens = Tokens(kTokens, 2);
  const testing::RandomModel source(Config(), DType::kF16);
  for (const int bits : {8, 4}) {
    NetworkOptions options{.positions = kTokens, .head_bits = bits};
    const Matrix<float> cpu = LogitsOf(pool, source, tokens, options, {kTokens});
    EXPECT_LT(Distance(LogitsOf(pool, source, tokens, OnGpu(options), {kTokens}), cpu), kHalfError);
  }
}

// With hidden states of the caller's, whole and block by block.
TEST(GpuNetwork, PiecesGiveWhatTheWholeDoes) {
  ThreadPool pool(2);
  const testing::RandomModel source(Config(), DType::kF16);
  const model::ModelConfig& config = source.config();
  const std::vector<std::int32_t> tokens = Tokens(4 * 10, 3);
  const Batch whole_batch = {{10, 0, 0}, {10, 0, 1}, {10, 0, 2}, {10, 0, 3}};
  for (const std::size_t keep_bytes : {std::size_t{0}, SIZE_MAX}) {
    auto network =
        Network::Create(pool, source, OnGpu({.positions = 10, .keep_bytes = keep_bytes}));
    ASSERT_TRUE(network);
    const auto all = (*network)->MakeCache(
        {.layers = config.num_hidden_layers, .slots = 4, .capacity_tokens = 10});
    ASSERT_TRUE((*network)->Run(tokens, whole_batch, *all));
    Matrix<float> expected(2, config.vocab_size);
    const std::vector<std::size_t> last = {39, 9};  // not all, not in order
    ASSERT_TRUE((*network)->LogitsOf(last, expected.view()));

    Matrix<float> whole(40, config.hidden_size);
    ASSERT_TRUE((*network)->Embed(tokens, whole));
    Matrix<float> parts = Matrix<float>(40, config.hidden_size);
    std::copy(whole.span().begin(), whole.span().end(), parts.data());
    for (std::size_t slot = 0; slot < 4; ++slot) all->Truncate(slot, 0);
    ASSERT_TRUE((*network)->RunBlocks(whole_batch, *all, whole));
    const auto one =
        (*network)->MakeCache({.layers = 1, .slots = 2, .capacity_tokens = 10, .page_tokens = 10});
    const std::vector<Batch> batches(2, Batch{{10, 0, 0}, {10, 0, 1}});
    for (std::size_t layer = 0; layer < config.num_hidden_layers; ++layer) {
      ASSERT_TRUE((*network)->RunBlock(layer, batches, *one, parts));
    }
    EXPECT_LT(Distance(parts, whole), 1e-5);
    for (std::size_t i = 0; i < 2; ++i) {
      Matrix<float> logits(1, config.vocab_size);
      ASSERT_TRUE((*network)->Logits(std::as_const(whole).view().Rows(last[i], 1), logits));
      for (std::size_t v = 0; v < config.vocab_size; ++v) {
        EXPECT_NEAR(logits(0, v), expected(i, v), 1e-5 * Rms(expected));
      }
    }
  }
}

// Sequences that share a prompt's pages, copy them to write, and differ in length.
TEST(GpuNetwork, AnEngineGivesEverySequenceWhatItGetsAlone) {
  ThreadPool pool(2);
  const testing::RandomModel source(Config(), DType::kF16);
  const std::vector<std::int32_t> prompt = Tokens(20, 7);
  const auto generate = [&](std::size_t sequences, KvType kv) {
    auto network = Network::Create(pool, source, OnGpu({.positions = 60, .kv = kv}));
    EXPECT_TRUE(network);
    generate::Engine engine(**network, {.sequences = sequences});
    std::vector<std::vector<std::int32_t>> made(3);
    for (std::size_t i = 0; i < made.size(); ++i) {
      generate::Request request{prompt, {.max_new_tokens = 5 + 2 * i}};
      request.prompt.resize(20 - i);
      request.on_end = [&made, i](const Result<generate::GenerateReport>& report) {
        ASSERT_TRUE(report) << report.error().message;
        made[i] = report->tokens;
      };
      EXPECT_TRUE(engine.Add(std::move(request)));
    }
    while (!engine.idle()) {
      const Status step = engine.Step();
      EXPECT_TRUE(step) << step.error().message;
      if (!step) break;
    }
    return made;
  };
  for (const KvType kv : {KvType::kExact, KvType::kInt8}) {
    const auto alone = generate(1, kv);
    EXPECT_EQ(alone[2].size(), 9U);
    EXPECT_EQ(generate(3, kv), alone);
  }
}

// Batches of decode steps, one after another: how many sequences each has.
const std::vector<std::size_t> kSteps = {1, 1, 1, 3, 3, 3, 1, 1, 1, 3};

std::vector<generate::Sampler> Samplers(const generate::SamplerOptions& options) {
  std::vector<generate::Sampler> samplers;
  for (std::uint64_t slot = 0; slot < 3; ++slot) samplers.emplace_back(options, slot);
  return samplers;
}

// Calls step(network, cache, tokens, batch, rows, samplers) for each of kSteps; its tokens are the
// next step's. How often steps were run as graphs.
template <class Step>
std::size_t RunSteps(const model::WeightSource& source, const generate::SamplerOptions& options,
                     const Step& step) {
  ThreadPool pool(2);
  auto network = Network::Create(pool, source, OnGpu());
  EXPECT_TRUE(network);
  const auto cache = (*network)->MakeCache(
      {.layers = source.config().num_hidden_layers, .slots = 3, .capacity_tokens = kTokens});
  auto samplers = Samplers(options);
  std::vector<std::size_t> positions(3, 0);
  std::vector<std::int32_t> next = {3, 4, 5};
  for (const std::size_t count : kSteps) {
    Batch batch;
    std::vector<std::size_t> rows;
    for (std::size_t slot = 0; slot < count; ++slot) {
      batch.push_back({1, positions[slot]++, slot});
      rows.push_back(slot);
    }
    const std::vector<std::int32_t> tokens(next.begin(),
                                           next.begin() + static_cast<std::ptrdiff_t>(count));
    step(**network, *cache, tokens, batch, rows, samplers, next);
  }
  return dynamic_cast<gpu::DeviceNetwork&>(**network).replays();
}

TEST(GpuNetwork, StepsThatAreRecordedDrawWhatLogitsGive) {
  const testing::RandomModel source(Config(), DType::kF16);
  const generate::SamplerOptions all[] = {
      {},
      {.temperature = 0.8F, .seed = 3},
      {.temperature = 1.5F,
       .top_k = 20,
       .top_p = 0.95F,
       .repeat_penalty = 1.3F,
       .banned_tokens = {1, 2, 7},
       .wide_tokens = 2,
       .wide_temperature = 3},
  };
  for (const generate::SamplerOptions& options : all) {
    std::vector<std::int32_t> drawn, expected;
    const std::size_t replays =
        RunSteps(source, options,
                 [&](Network& network, KvCache& cache, const auto& tokens, const Batch& batch,
                     const auto& rows, auto& samplers, std::vector<std::int32_t>& next) {
                   std::vector<Draw> draws;
                   for (const std::size_t row : rows) draws.push_back(samplers[row].draw());
                   const auto done = network.RunAndDraw(tokens, batch, cache, rows, draws,
                                                        std::span(next).first(rows.size()));
                   ASSERT_TRUE(done) << done.error().message;
                   ASSERT_TRUE(*done);
                   for (const std::size_t row : rows) {
                     ASSERT_TRUE(samplers[row].Take(next[row], 50));
                     drawn.push_back(next[row]);
                   }
                 });
    RunSteps(source, options,
             [&](Network& network, KvCache& cache, const auto& tokens, const Batch& batch,
                 const auto& rows, auto& samplers, std::vector<std::int32_t>& next) {
               Matrix<float> logits(rows.size(), 50);
               ASSERT_TRUE(network.Run(tokens, batch, cache));
               ASSERT_TRUE(network.LogitsOf(rows, logits));
               for (const std::size_t row : rows) {
                 next[row] = samplers[row].Next({logits.row(row), 50}).value();
                 expected.push_back(next[row]);
               }
             });
    EXPECT_EQ(drawn, expected);
    // Not the first step of 1 and of 3, nor the first of 1 after scratch memory had to grow for 3.
    EXPECT_EQ(replays, kSteps.size() - 3);
  }
}

TEST(GpuNetwork, LogitsThatAreNotFiniteAreAnError) {
  ThreadPool pool(1);
  testing::RandomModel source(Config(), DType::kF16);
  std::vector<float> norm(128, 1.0F);
  norm[5] = std::numeric_limits<float>::quiet_NaN();
  source.final_norm() = source.Store({128}, norm);
  auto network = Network::Create(pool, source, OnGpu());
  ASSERT_TRUE(network);
  const auto made = generate::Generate(**network, Tokens(4, 1), {.max_new_tokens = 2});
  ASSERT_FALSE(made);
  EXPECT_NE(made.error().message.find("not finite"), std::string::npos);
}

class OnMachine {
 public:
  explicit OnMachine(const cuda::EmulatedMachine& machine) : before_(cuda::EmulatedMachineNow()) {
    cuda::SetEmulatedMachine(machine);
  }
  ~OnMachine() { cuda::SetEmulatedMachine(before_); }
  OnMachine(const OnMachine&) = delete;
  OnMachine& operator=(const OnMachine&) = delete;

 private:
  cuda::EmulatedMachine before_;
};

std::string ErrorOf(const cuda::EmulatedMachine& machine, const NetworkOptions& options) {
  const OnMachine on(machine);
  ThreadPool pool(1);
  const testing::RandomModel source(Config(), DType::kF16);
  const auto network = Network::Create(pool, source, options);
  return network ? "" : network.error().message;
}

TEST(GpuNetwork, WhatIsMissingIsSaid) {
  cuda::EmulatedMachine none;
  none.devices = 0;
  EXPECT_NE(ErrorOf(none, OnGpu()).find("looking for a GPU"), std::string::npos)
      << ErrorOf(none, OnGpu());
  NetworkOptions third = OnGpu();
  third.gpu = 2;
  EXPECT_NE(ErrorOf({}, third).find("there is no GPU 2"), std::string::npos);
  cuda::EmulatedMachine old;
  old.major = 7;
  EXPECT_NE(ErrorOf(old, OnGpu()).find("compute capability 7"), std::string::npos);
  {
    const OnMachine on(old);
    EXPECT_FALSE(gpu::DescribeDevice(0)) << "what --device auto takes for a GPU that can be used";
  }
  cuda::EmulatedMachine plain;
  plain.has_dense_library = false;
  EXPECT_NE(ErrorOf(plain, OnGpu()).find("the output head"), std::string::npos);
}

// Whatever else this thread has used since.
TEST(GpuNetwork, WhatItTakesIsItsOwnDevices) {
  cuda::EmulatedMachine two;
  two.devices = 2;
  const OnMachine on(two);
  ThreadPool pool(1);
  const testing::RandomModel source(Config(), DType::kF16);
  NetworkOptions options = OnGpu();
  options.gpu = 1;
  auto network = Network::Create(pool, source, options);
  ASSERT_TRUE(network) << network.error().message;
  const auto free_bytes = [](int device) {
    std::size_t bytes = 0, total_bytes = 0;
    EXPECT_FALSE(cuda::UseDevice(device));
    EXPECT_FALSE(cuda::FreeMemory(&bytes, &total_bytes));
    return bytes;
  };
  const std::size_t of_second = free_bytes(1), of_first = free_bytes(0);
  generate::Engine engine(**network, {});
  ASSERT_TRUE(engine.Add({Tokens(5, 1), {.max_new_tokens = 2}}));
  ASSERT_TRUE(engine.Step());
  EXPECT_EQ(free_bytes(0), of_first);
  EXPECT_LT(free_bytes(1), of_second);
  EXPECT_FALSE(cuda::UseDevice(0));
}

TEST(GpuNetwork, TooLittleMemoryIsSaidAtAnyTime) {
  ThreadPool pool(1);
  const testing::RandomModel source(Config(), DType::kF16);
  std::size_t used = 0;
  {
    auto network = Network::Create(pool, source, OnGpu());
    ASSERT_TRUE(network);
    used = cuda::CountEmulatedUse().bytes;
  }
  EXPECT_EQ(cuda::CountEmulatedUse().bytes, 0U) << "memory that nobody has any more";
  std::size_t refused = 0;
  for (std::size_t memory = 1000; memory < used; memory += used / 40) {
    cuda::EmulatedMachine small;
    small.memory_bytes = memory;
    const std::string message = ErrorOf(small, OnGpu());
    EXPECT_NE(message.find("GPU memory"), std::string::npos) << memory << ": " << message;
    if (message.find("are missing") != std::string::npos) ++refused;
  }
  EXPECT_GT(refused, 0U) << "never said beforehand";
  // Enough for the model, too little for keys and values.
  cuda::EmulatedMachine small;
  small.memory_bytes = used + 2000;
  const OnMachine on(small);
  auto network = Network::Create(pool, source, OnGpu());
  ASSERT_TRUE(network);
  generate::Engine engine(**network, {});
  ASSERT_TRUE(engine.Add({Tokens(5, 1), {.max_new_tokens = 2}}));
  const Status status = engine.Step();
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code, ErrorCode::kOutOfMemory);
  EXPECT_NE(status.error().message.find("were asked for"), std::string::npos);
}

}  // namespace
}  // namespace awq::transformer
