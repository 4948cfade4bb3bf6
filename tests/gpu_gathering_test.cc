// What the GPU's kernels, emulated, gather of a site's inputs, beside the same on the CPU.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <ostream>
#include <random>
#include <utility>
#include <vector>

#include "cuda/emulated_device.h"
#include "search/gpu/gathering.h"
#include "search/gpu/site.h"
#include "search/gpu/statistics.h"
#include "search/site.h"

namespace awq::search {
namespace {

Matrix<float> NormalMatrix(std::size_t rows, std::size_t cols, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  Matrix<float> m(rows, cols);
  for (float& x : m.span()) x = normal(random);
  return m;
}

Matrix<BF16> Rounded(const Matrix<float>& from) {
  Matrix<BF16> to(from.rows(), from.cols());
  std::ranges::transform(from.span(), to.span().begin(), ToBF16);
  return to;
}

struct Case {
  std::size_t in = 0;
  std::vector<std::size_t> calls;  // tokens of each
  bool paired = true;
};

void PrintTo(const Case& which, std::ostream* out) {
  *out << which.in << (which.paired ? "_paired" : "_alone");
  for (const std::size_t count : which.calls) *out << '_' << count;
}

// Rows of bf16; after each call its rows from 1 on, every third, are held out.
struct Inputs {
  explicit Inputs(const Case& which) : calls(which.calls), paired(which.paired) {
    const std::size_t tokens = std::accumulate(calls.begin(), calls.end(), std::size_t{0});
    Matrix<float> of_original = NormalMatrix(tokens, which.in, 3);
    Matrix<float> of_quantized = NormalMatrix(tokens, which.in, 4);
    for (std::size_t i = 0; i < of_original.size(); ++i) {
      if (i % which.in % 17 == 3) of_original.span()[i] *= 9;
      of_quantized.span()[i] = of_original.span()[i] + 0.1F * of_quantized.span()[i];
    }
    x = Rounded(of_quantized);
    y = Rounded(of_original);
  }
  static std::size_t HeldOut(std::size_t count) { return (count + 1) / 3; }

  // projection: weights [out, in], or none.
  StatisticsAccumulator OnHost(ThreadPool& pool, MatrixView<const BF16> projection = {}) const {
    StatisticsAccumulator gathered(x.cols(), Gather::kSequential);
    gathered.Project(projection);
    std::size_t first = 0;
    for (const std::size_t count : calls) {
      const auto rows = [&](const Matrix<BF16>& of) { return of.view().Rows(first, count); };
      const auto held = [&](const Matrix<BF16>& of) {
        return MatrixView<const BF16>(of.row(first + 1), HeldOut(count), of.cols(), 3 * of.cols());
      };
      if (paired) {
        gathered.Add(pool, rows(x), rows(y));
      } else {
        gathered.Add(pool, rows(x));
      }
      if (count > 1) gathered.HoldOut(held(x), paired ? held(y) : MatrixView<const BF16>());
      first += count;
    }
    return gathered;
  }

  gpu::DeviceAccumulator OnDevice(gpu::Queue& queue) const {
    gpu::DeviceAccumulator gathered(queue, x.cols(), paired);
    std::size_t first = 0;
    for (const std::size_t count : calls) {
      const auto upload = [&](const Matrix<BF16>& of) {
        return queue.Upload<BF16>(of.span().subspan(first * of.cols(), count * of.cols()));
      };
      const gpu::Buffer rows = upload(x);
      const gpu::Buffer targets = paired ? upload(y) : gpu::Buffer();
      gathered.Add(rows.data<void>(), targets.data<void>(), static_cast<int>(count));
      if (count > 1) {
        gathered.HoldOut(rows.data<void>(), targets.data<void>(), 1, 3,
                         static_cast<int>(HeldOut(count)));
      }
      first += count;
    }
    EXPECT_EQ(gathered.tokens(), first);
    return gathered;
  }

  std::vector<std::size_t> calls;
  bool paired;
  Matrix<BF16> x, y;
};

void ExpectSameBits(const Matrix<float>& found, const Matrix<float>& want, const char* what) {
  EXPECT_EQ(found.rows(), want.rows()) << what;
  EXPECT_TRUE(std::ranges::equal(found.span(), want.span())) << what;
}

// Of T tokens: of either side within 2 (T + 1) u of mean |a_i b_j|, which is at most the root of
// the means of their squares.
void ExpectMeans(const Matrix<float>& found, const Matrix<float>& want,
                 const std::vector<double>& a_squares, const std::vector<double>& b_squares,
                 std::size_t tokens) {
  ASSERT_EQ(found.rows(), want.rows());
  const double unit = 4 * static_cast<double>(tokens + 1) * 0x1p-24;
  for (std::size_t i = 0; i < want.rows(); ++i) {
    for (std::size_t j = 0; j < want.cols(); ++j) {
      ASSERT_NEAR(found(i, j), want(i, j), unit * std::sqrt(a_squares[i] * b_squares[j]))
          << i << ", " << j;
    }
  }
}

class OnGpu : public testing::Test {
 protected:
  OnGpu() { lane_.Open(0); }

  ThreadPool pool_{2};
  cuda::Lane lane_;
  gpu::Queue queue_{lane_};
};

class GpuGathering : public OnGpu, public testing::WithParamInterface<Case> {};

TEST_P(GpuGathering, GathersWhatTheCpuDoes) {
  const Inputs inputs(GetParam());
  const SiteStatistics want = inputs.OnHost(pool_).Finish();
  gpu::DeviceAccumulator gathered = inputs.OnDevice(queue_);
  EXPECT_EQ(gathered.CountNonfinite(), 0U);
  gpu::DeviceStatistics there = std::move(gathered).Finish();
  EXPECT_EQ(there.nonfinite, 0U);
  EXPECT_EQ(there.sketch.paired, inputs.paired);
  const SiteStatistics found = gpu::Downloaded(queue_, std::move(there));
  ASSERT_EQ(queue_.fault().message, "");
  EXPECT_EQ(found.tokens, want.tokens);
  EXPECT_EQ(found.max_abs, want.max_abs);
  ASSERT_EQ(found.mean_abs.size(), want.mean_abs.size());
  std::vector<double> squares, of_difference;
  for (std::size_t i = 0; i < want.mean_abs.size(); ++i) {
    // fp64 sums in another order, rounded to fp32.
    EXPECT_NEAR(found.mean_abs[i], want.mean_abs[i], want.mean_abs[i] * 0x1p-23F);
    squares.push_back(static_cast<double>(want.gram(i, i)));
    double sum = 0;
    for (std::size_t t = 0; t < inputs.x.rows(); ++t) {
      const float d = ToFloat(ToBF16(ToFloat(inputs.y(t, i)) - ToFloat(inputs.x(t, i))));
      sum += static_cast<double>(d) * static_cast<double>(d);
    }
    of_difference.push_back(sum / static_cast<double>(want.tokens));
    for (std::size_t j = 0; j < i; ++j) ASSERT_EQ(found.gram(i, j), found.gram(j, i));
  }
  ExpectMeans(found.gram, want.gram, squares, squares, want.tokens);
  ExpectMeans(found.cross, want.cross, of_difference, squares, want.tokens);
  ExpectSameBits(found.sketch, want.sketch, "sketch");
  ExpectSameBits(found.target_sketch, want.target_sketch, "the targets' sketch");
  ExpectSameBits(found.held_out.inputs, want.held_out.inputs, "held-out inputs");
  ExpectSameBits(found.held_out.targets, want.held_out.targets, "held-out targets");
}

INSTANTIATE_TEST_SUITE_P(All, GpuGathering,
                         testing::Values(Case{136, {1, 37, 130}, true},
                                         Case{136, {70, 1, 2}, false},
                                         Case{8, {5, 2100}, true}),  // more than a chunk
                         testing::PrintToStringParamName());

TEST_F(OnGpu, EveryNonFiniteInputIsCounted) {
  for (const bool paired : {false, true}) {
    Inputs inputs({16, {4, 30}, paired});
    inputs.x(0, 3) = BF16{0x7f80};
    inputs.x(33, 15) = BF16{0xff80};
    inputs.x(5, 7) = BF16{0x7fc1};  // held out, too
    inputs.y(8, 2) = BF16{0xffc0};  // likewise
    inputs.y(9, 2) = BF16{0x7f80};
    const std::size_t want = inputs.OnHost(pool_).nonfinite();
    EXPECT_EQ(want, paired ? 7U : 4U);
    gpu::DeviceAccumulator gathered = inputs.OnDevice(queue_);
    EXPECT_EQ(gathered.CountNonfinite(), want);
    EXPECT_EQ(std::move(gathered).Finish().nonfinite, want);
    EXPECT_EQ(queue_.fault().message, "");
  }
}

// What was gathered there is solved there.
TEST_F(OnGpu, LeadsToTheSameSite) {
  const Inputs inputs({64, {50, 90}, true});
  const Matrix<float> weights = NormalMatrix(10, 64, 10);
  const std::vector<MatrixView<const float>> linears = {weights};
  const std::vector<std::uint8_t> clipped = {1};
  SiteProblem problem;
  problem.linears = {linears, {4, 32, false}};
  problem.clipped = clipped;
  const SiteSolution want = SolveSite(pool_, problem, inputs.OnHost(pool_).Finish());
  gpu::DeviceStatistics statistics = inputs.OnDevice(queue_).Finish();
  gpu::DeviceArithmetic arithmetic(queue_, problem.linears, statistics);
  const SiteSolution found = SolveSite(arithmetic, problem, {});
  ASSERT_EQ(queue_.fault().message, "");
  EXPECT_EQ(found.exponents, want.exponents);
  EXPECT_EQ(found.damping, want.damping);
  EXPECT_EQ(found.linears[0].chosen, want.linears[0].chosen);
  EXPECT_NEAR(found.linears[0].correction, want.linears[0].correction, 1e-3);
  const double error = want.linears[0].quality.held_out.chosen;
  EXPECT_NEAR(found.linears[0].quality.held_out.chosen, error, 0.02 * error);
}

// What the kernels do not hold is solved on the CPU, and what comes after it too.
TEST_F(OnGpu, HandsOverWhatItsKernelsDoNotHold) {
  const Inputs inputs({24, {30}, false});
  const gpu::Buffer rows = queue_.Upload<BF16>(inputs.x.span());
  gpu::DeviceGathering gathering(pool_, queue_, 24, false);
  gathering.Add({rows.data<void>(), nullptr, 30}, 30, 30, 1);
  const SiteStatistics want = inputs.OnHost(pool_).Finish();
  const Matrix<float> weights = NormalMatrix(10, 24, 10);
  const MatrixView<const float> view = weights;
  const std::vector<Scale> identity = {Scale(24, 1.0F)};
  for (const std::size_t group_size : {8U, 6U, 8U}) {
    const ScaledLinears linears{{&view, 1}, {4, group_size, false}};
    const auto arithmetic = gathering.Arithmetic(linears);
    const double loss = ExactScaleLosses(pool_, linears, identity, want.gram).front();
    EXPECT_NEAR(arithmetic->ExactLosses(identity).front(), loss, 1e-3 * loss);
    EXPECT_EQ(std::vector(arithmetic->mean_abs().begin(), arithmetic->mean_abs().end()),
              want.mean_abs);
  }
  EXPECT_FALSE(gpu::CanHold({4, 6, false}, 24, queue_.shared_bytes()));
  EXPECT_EQ(queue_.fault().message, "");
}

TEST_F(OnGpu, HoldsOutEveryStepthRow) {
  const Inputs inputs({24, {30}, false});
  const gpu::Buffer rows = queue_.Upload<BF16>(inputs.x.span());
  const Matrix<float> weights = NormalMatrix(10, 24, 10);
  const MatrixView<const float> view = weights;
  for (const std::size_t step : {1U, 4U}) {
    gpu::DeviceGathering gathering(pool_, queue_, 24, false);
    gathering.Add({rows.data<void>(), nullptr, 30}, 20, 21, step);
    const auto arithmetic = gathering.Arithmetic({{&view, 1}, {4, 8, false}});
    EXPECT_EQ(arithmetic->held_out_rows(), (9 + step - 1) / step);
    double energy = 0;
    for (std::size_t t = 21; t < 30; t += step) {
      for (std::size_t r = 0; r < 10; ++r) {
        double y = 0;
        for (std::size_t i = 0; i < 24; ++i) {
          y += static_cast<double>(weights(r, i)) * static_cast<double>(ToFloat(inputs.x(t, i)));
        }
        energy += y * y;
      }
    }
    EXPECT_NEAR(arithmetic->Energy(0), energy, 1e-4 * energy);
  }
}

// In more pieces than the lane has buffers.
TEST_F(OnGpu, UploadsWhatIsLong) {
  std::vector<std::uint32_t> words((3 * cuda::Lane::kPieceBytes + 4096) / sizeof(std::uint32_t));
  std::iota(words.begin(), words.end(), 0U);
  const gpu::Buffer there = queue_.Upload<std::uint32_t>(words);
  EXPECT_EQ(queue_.Read(there.data<std::uint32_t>(), words.size()), words);
}

TEST_F(OnGpu, StatisticsComeBackAsTheyWent) {
  const Matrix<BF16> weights = Rounded(NormalMatrix(5, 24, 10));
  for (const bool projected : {false, true}) {
    const Inputs inputs({24, {30}, true});
    const auto gather = [&] {
      return inputs.OnHost(pool_, projected ? weights.view() : MatrixView<const BF16>()).Finish();
    };
    const SiteStatistics want = gather();
    EXPECT_EQ(want.projected.rows(), projected ? 5U : 0U);
    const SiteStatistics found = gpu::Downloaded(queue_, gpu::Uploaded(queue_, gather()));
    EXPECT_EQ(found.tokens, want.tokens);
    EXPECT_EQ(found.mean_abs, want.mean_abs);
    EXPECT_EQ(found.max_abs, want.max_abs);
    ExpectSameBits(found.gram, want.gram, "gram");
    ExpectSameBits(found.cross, want.cross, "cross");
    ExpectSameBits(found.projected, want.projected, "projected");
    ExpectSameBits(found.sketch, want.sketch, "sketch");
    ExpectSameBits(found.target_sketch, want.target_sketch, "the targets' sketch");
    ExpectSameBits(found.held_out.inputs, want.held_out.inputs, "held-out inputs");
    ExpectSameBits(found.held_out.targets, want.held_out.targets, "held-out targets");
  }
  EXPECT_EQ(queue_.fault().message, "");
}

// What was taken and given back makes room for what is larger.
TEST(GpuQueue, GivesUpWhatNobodyHasForWhatIsAskedFor) {
  const std::size_t before = cuda::CountEmulatedUse().bytes;
  cuda::EmulatedMachine small;
  small.memory_bytes = before + (std::size_t{100} << 10);
  cuda::SetEmulatedMachine(small);
  {
    cuda::Lane lane;
    lane.Open(0);
    gpu::Queue queue(lane);
    const gpu::Buffer held = queue.Take<char>(20 << 10);
    for (int i = 0; i < 2; ++i) (void)queue.Take<char>(30 << 10);
    EXPECT_EQ(queue.bytes(), 52U << 10) << "taken again";
    const gpu::Buffer large = queue.Take<char>(72 << 10);
    EXPECT_EQ(queue.fault().message, "");
    EXPECT_EQ(cuda::CountEmulatedUse().bytes - before, queue.bytes());
    EXPECT_EQ(queue.bytes(), 92U << 10);
    (void)queue.Take<char>(12 << 10);
    EXPECT_EQ(queue.fault().kind, cuda::FaultKind::kOutOfMemory);
  }
  cuda::SetEmulatedMachine({});
}

TEST(GpuGatheringWithoutMemory, SaysSo) {
  const Inputs inputs({136, {3, 2}, true});
  cuda::EmulatedMachine small;
  small.memory_bytes = cuda::CountEmulatedUse().bytes + (std::size_t{300} << 10);
  cuda::SetEmulatedMachine(small);
  {
    cuda::Lane lane;
    lane.Open(0);
    gpu::Queue queue(lane);
    gpu::Downloaded(queue, inputs.OnDevice(queue).Finish());  // ends, and is of no use
    EXPECT_EQ(queue.fault().kind, cuda::FaultKind::kOutOfMemory);
  }
  cuda::SetEmulatedMachine({});
}

}  // namespace
}  // namespace awq::search
