#include "kernels/panels.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "base/check.h"
#include "base/error.h"
#include "math/vector.h"
#include "quant/group.h"

namespace awq::kernels {
namespace {

constexpr std::size_t kPanelsPerTask = 4;
// Of a row, before the next row's are filled in: what is written stays in the nearest cache.
constexpr std::size_t kInputsAtATime = 512;
constexpr std::size_t kThreeBitRun = 32;  // inputs whose codes lie together

// Codes of 2 bits are stored as those of 3, and where groups are too small for that, as those of 4.
std::size_t StoredBits(int bits, std::size_t group_size) {
  if (bits > 4) return 8;
  return bits <= 3 && group_size % kThreeBitRun == 0 ? 3 : 4;
}

std::size_t BlockInputs(std::size_t group_size, std::size_t bits) {
  const std::size_t run = bits == 3 ? kThreeBitRun : 8;
  for (std::size_t inputs = kMostBlockInputs; inputs > run; inputs -= run) {
    if (group_size % inputs == 0) return inputs;
  }
  return run;
}

// A row's inputs to their place: each four bytes kStep further than the last four's.
constexpr std::size_t kStep = 4 * kPanelRows;

void FillFourBits(const std::uint8_t* codes, std::size_t inputs, std::uint8_t* to) {
  for (std::size_t i = 0; i < inputs; i += 8, to += kStep) {
    std::uint64_t eight;
    std::memcpy(&eight, codes + i, sizeof(eight));
    const auto both = static_cast<std::uint32_t>(eight | eight >> 28);
    std::memcpy(to, &both, sizeof(both));
  }
}

// The same of four rows, `stride` apart, whose words end side by side.
void FillFourRows(const std::uint8_t* codes, std::size_t stride, std::size_t inputs,
                  std::uint8_t* to) {
  using Words __attribute__((vector_size(16))) = std::uint32_t;
  using Eights __attribute__((vector_size(16))) = std::uint64_t;
  constexpr std::size_t kAtOnce = 2 * sizeof(std::uint64_t);
  std::size_t i = 0;
  for (; i + kAtOnce <= inputs; i += kAtOnce, to += 2 * kStep) {
    Words rows[4];  // what is wanted of each is its words 0 and 2
    for (std::size_t r = 0; r < 4; ++r) {
      Eights eights;
      std::memcpy(&eights, codes + r * stride + i, sizeof(eights));
      eights |= eights >> 28;
      std::memcpy(&rows[r], &eights, sizeof(eights));
    }
    const Words a = __builtin_shufflevector(rows[0], rows[1], 0, 2, 4, 6);
    const Words b = __builtin_shufflevector(rows[2], rows[3], 0, 2, 4, 6);
    const Words first = __builtin_shufflevector(a, b, 0, 2, 4, 6);
    const Words second = __builtin_shufflevector(a, b, 1, 3, 5, 7);
    std::memcpy(to, &first, sizeof(first));
    std::memcpy(to + kStep, &second, sizeof(second));
  }
  for (std::size_t r = 0; r < 4; ++r) FillFourBits(codes + r * stride + i, inputs - i, to + 4 * r);
}

void FillEightBits(const std::uint8_t* codes, std::size_t inputs, std::uint8_t* to) {
  for (std::size_t i = 0; i < inputs; i += 4, to += kStep) std::memcpy(to, codes + i, 4);
}

void FillThreeBits(const std::uint8_t* codes, std::size_t inputs, std::uint8_t* to) {
  for (std::size_t i = 0; i < inputs; i += kThreeBitRun, to += 3 * kStep) {
    std::uint32_t thirds[3] = {};
    for (std::size_t k = 0; k < 8; ++k) {
      std::uint32_t four;
      std::memcpy(&four, codes + i + 4 * k, sizeof(four));
      thirds[k / 4] |= (four & 0x03030303U) << 2 * (k % 4);
      thirds[2] |= (four >> 2 & 0x01010101U) << k;
    }
    for (std::size_t third = 0; third < 3; ++third) {
      std::memcpy(to + third * kStep, &thirds[third], 4);
    }
  }
}

static_assert(sizeof(F16) == sizeof(std::uint16_t) && sizeof(BF16) == sizeof(std::uint16_t));

void Halve(std::span<const float> from, bool to_bf16, std::span<std::uint16_t> to) {
  if (to_bf16) {
    math::Convert(from, std::span(reinterpret_cast<BF16*>(to.data()), to.size()));
  } else {
    math::Convert(from, std::span(reinterpret_cast<F16*>(to.data()), to.size()));
  }
}

std::size_t GroupSize(const quant::QuantizedLinear& linear) {
  return linear.in_features() / std::max<std::size_t>(1, linear.groups());
}

std::size_t GroupSize(const quant::Spec& spec, std::size_t in_features) {
  return spec.group_size == 0 ? in_features : spec.group_size;
}

}  // namespace

bool Panels::CanHold(const quant::QuantizedLinear& linear) {
  quant::Spec spec = linear.spec;
  spec.group_size = GroupSize(linear);
  return linear.groups() > 0 && CanHold(spec, linear.in_features());
}

bool Panels::CanHold(const quant::Spec& spec, std::size_t in_features) {
  const std::size_t group_size = GroupSize(spec, in_features);
  return spec.bits <= kMostBits && !spec.act_order && group_size > 0 && group_size % 8 == 0 &&
         in_features % group_size == 0 && spec.scale_dtype != DType::kF32;
}

Panels::Panels(std::size_t out_features, std::size_t in_features, const quant::Spec& spec,
               std::size_t group_size, Arena* arena)
    : out_features_(out_features),
      in_features_(in_features),
      group_size_(group_size),
      bits_(StoredBits(spec.bits, group_size)),
      block_inputs_(BlockInputs(group_size, bits_)),
      scales_are_bf16_(spec.scale_dtype == DType::kBF16) {
  memory_ = arena != nullptr ? arena->Take(bytes()) : Arena(0).Take(bytes());
  codes_ = reinterpret_cast<std::uint8_t*>(memory_.get());
  scales_ = reinterpret_cast<std::uint16_t*>(codes_ + code_bytes());
  zeros_ = codes_ + code_bytes() + scale_count() * sizeof(std::uint16_t);
}

Panels::Panels(ThreadPool& pool, const quant::QuantizedLinear& linear, Arena* arena)
    : Panels(linear.out_features(), linear.in_features(), linear.spec, GroupSize(linear), arena) {
  AWQ_CHECK(CanHold(linear));
  pool.ParallelFor(panels(), [&](std::size_t panel, std::size_t) {
    FillPanel(linear, panel * kPanelRows, panel);
  });
}

namespace {

// Of one loop; they stay in a cache until they are unpacked.
constexpr std::size_t kFetchedTogether = std::size_t{8} << 20;
constexpr std::size_t kFetchedAtATime = std::size_t{256} << 10;

// A task: bytes to be fetched, or rows to be unpacked.
struct Part {
  std::size_t linear = 0;
  std::size_t first = 0;
  std::size_t count = 0;
  double middle = 0;  // in its linear, which goes from 0 to 1
};

void AppendParts(std::size_t linear, std::size_t size, std::size_t at_a_time,
                 std::vector<Part>& parts) {
  for (std::size_t first = 0; first < size; first += at_a_time) {
    const std::size_t count = std::min(at_a_time, size - first);
    const double middle = static_cast<double>(first) + static_cast<double>(count) / 2;
    parts.push_back({linear, first, count, middle / static_cast<double>(size)});
  }
}

// Where each linear's bytes begin; at the end, their number.
std::vector<std::size_t> FetchedPlaces(std::span<const Panels::Rows> linears) {
  std::vector<std::size_t> places = {0};
  for (const Panels::Rows& each : linears) places.push_back(places.back() + each.fetched_bytes);
  return places;
}

// How many of the first linears go through one loop.
std::size_t FetchedTogether(std::span<const Panels::Rows> linears) {
  std::size_t count = 1;
  std::size_t bytes = linears[0].fetched_bytes;
  for (; count < linears.size(); ++count) {
    bytes += linears[count].fetched_bytes;
    if (bytes > kFetchedTogether) break;
  }
  return count;
}

}  // namespace

quant::QuantizedLinear& UnpackScratch::TakeStripe(std::size_t worker, const quant::Spec& spec,
                                                  std::size_t rows, std::size_t in_features) {
  const std::size_t groups = in_features / GroupSize(spec, in_features);
  std::vector<quant::QuantizedLinear>& stripes = stripes_[worker];
  auto stripe = std::ranges::find_if(stripes, [&](const quant::QuantizedLinear& each) {
    return each.out_features() == rows && each.in_features() == in_features &&
           each.groups() == groups;
  });
  if (stripe == stripes.end()) {
    stripes.push_back({spec, {rows, in_features}, {rows, groups}, {rows, groups}});
    stripe = stripes.end() - 1;
  }
  stripe->spec = spec;
  return *stripe;
}

std::span<std::byte> UnpackScratch::TakeBytes(std::size_t bytes) {
  if (bytes_.size() < bytes) bytes_ = Buffer<std::byte>(bytes);
  return bytes_.span().first(bytes);
}

Result<std::vector<Panels>> Panels::FromRows(ThreadPool& pool, std::span<const Rows> linears,
                                             const PanelMemory& memory) {
  std::vector<Panels> all;
  all.reserve(linears.size());
  for (const Rows& linear : linears) {
    const std::size_t in = linear.shape[1];
    AWQ_CHECK(CanHold(linear.spec, in));
    all.push_back(
        Panels(linear.shape[0], in, linear.spec, GroupSize(linear.spec, in), memory.arena));
  }
  UnpackScratch own(pool);
  UnpackScratch& scratch = memory.scratch != nullptr ? *memory.scratch : own;
  for (std::size_t done = 0; done < all.size();) {
    const std::size_t count = FetchedTogether(linears.subspan(done));
    AWQ_TRY(Fill(pool, linears.subspan(done, count), scratch, std::span(all).subspan(done, count)));
    done += count;
  }
  return all;
}

Status Panels::Fill(ThreadPool& pool, std::span<const Rows> linears, UnpackScratch& scratch,
                    std::span<Panels> panels) {
  const std::vector<std::size_t> places = FetchedPlaces(linears);
  const std::span<std::byte> bytes = scratch.TakeBytes(places.back());
  std::vector<Part> fetches;
  std::vector<Part> stripes;
  for (std::size_t i = 0; i < linears.size(); ++i) {
    AppendParts(i, linears[i].fetched_bytes, kFetchedAtATime, fetches);
    AppendParts(i, linears[i].shape[0], quant::kStripeRows, stripes);
  }
  AWQ_TRY(TryParallelFor(pool, fetches.size(), [&](std::size_t task, std::size_t) {
    const Part& part = fetches[task];
    return linears[part.linear].fetch(part.first,
                                      bytes.subspan(places[part.linear] + part.first, part.count));
  }));
  // Each thread, which takes neighbours, then fills the part of every linear that it goes through
  // when they are multiplied.
  std::ranges::stable_sort(stripes, {}, &Part::middle);
  return TryParallelFor(pool, stripes.size(), [&](std::size_t task, std::size_t worker) -> Status {
    const auto& [i, first_row, rows, middle] = stripes[task];
    const Rows& linear = linears[i];
    quant::QuantizedLinear& stripe = scratch.TakeStripe(worker, linear.spec, rows, linear.shape[1]);
    AWQ_TRY(linear.unpack(bytes.subspan(places[i], linear.fetched_bytes), first_row, stripe));
    for (std::size_t row = 0; row < rows; row += kPanelRows) {
      panels[i].FillPanel(stripe, row, (first_row + row) / kPanelRows);
    }
    return {};
  });
}

Result<Panels> Panels::Rounded(ThreadPool& pool, const TensorView& weight, const quant::Spec& spec,
                               std::string_view name) {
  const std::size_t out = weight.shape[0];
  const std::size_t in = weight.shape[1];
  Panels panels(out, in, spec, GroupSize(spec, in), nullptr);
  const auto round = [&](std::size_t panel, std::size_t) -> Status {
    const std::size_t first = panel * kPanelRows;
    const std::size_t rows = std::min(kPanelRows, out - first);
    quant::QuantizedLinear rounded{spec, Matrix<std::uint8_t>(rows, in),
                                   Matrix<float>(rows, panels.groups()),
                                   Matrix<std::uint8_t>(rows, panels.groups())};
    AWQ_TRY(quant::RoundRows(weight.Rows(first, rows), name, rounded));
    panels.FillPanel(rounded, 0, panel);
    return {};
  };
  AWQ_TRY(TryParallelFor(pool, panels.panels(), round));
  return panels;
}

std::size_t Panels::panels() const { return CeilDiv(out_features_, kPanelRows); }

std::size_t Panels::bytes() const {
  return code_bytes() + scale_count() * sizeof(std::uint16_t) + panels() * groups() * zero_bytes();
}

void Panels::FillRow(const std::uint8_t* codes, std::size_t inputs, std::uint8_t* to) const {
  const auto fill = bits_ == 3 ? FillThreeBits : bits_ == 4 ? FillFourBits : FillEightBits;
  fill(codes, inputs, to);
}

void Panels::FillPanel(const quant::QuantizedLinear& linear, std::size_t first_row,
                       std::size_t panel) {
  std::uint8_t* codes = codes_ + panel * panel_code_bytes();
  std::uint16_t* scales = scales_ + panel * kPanelRows * groups();
  std::uint8_t* zeros = zeros_ + panel * groups() * zero_bytes();
  const std::size_t rows = std::min(kPanelRows, linear.out_features() - first_row);
  if (rows < kPanelRows) std::fill_n(codes, panel_code_bytes(), std::uint8_t{0});
  for (std::size_t first = 0; first < in_features_; first += kInputsAtATime) {
    const std::size_t count = std::min(kInputsAtATime, in_features_ - first);
    std::uint8_t* const to = codes + first * bits_ / 8 * kPanelRows;
    std::size_t r = 0;
    for (; bits_ == 4 && r + 4 <= rows; r += 4) {
      FillFourRows(linear.codes.row(first_row + r) + first, in_features_, count, to + 4 * r);
    }
    for (; r < rows; ++r) FillRow(linear.codes.row(first_row + r) + first, count, to + 4 * r);
  }
  if (rows < kPanelRows) std::fill_n(scales, kPanelRows * groups(), std::uint16_t{0});
  std::fill_n(zeros, groups() * zero_bytes(), std::uint8_t{0});
  std::vector<std::uint16_t> halves(groups());
  for (std::size_t r = 0; r < rows; ++r) {
    const std::size_t row = first_row + r;
    Halve({linear.scales.row(row), groups()}, scales_are_bf16_, halves);
    const bool is_high_half = r >= zero_bytes();
    std::uint8_t* zero = zeros + (is_high_half ? r - zero_bytes() : r);
    for (std::size_t g = 0; g < groups(); ++g, zero += zero_bytes()) {
      scales[g * kPanelRows + r] = halves[g];
      *zero |= static_cast<std::uint8_t>(linear.zeros(row, g) << (is_high_half ? 4 : 0));
    }
  }
}

PanelWeights Panels::WeightsOf(std::size_t panel) const {
  const std::size_t first_row = panel * kPanelRows;
  return {.codes = codes_ + panel * panel_code_bytes(),
          .bits = bits_,
          .scales = scales_ + first_row * groups(),
          .zeros = zeros_ + panel * groups() * zero_bytes(),
          .scales_are_bf16 = scales_are_bf16_,
          .groups = groups(),
          .group_inputs = group_size_};
}

template <class Multiply>
void Panels::ForTokens(std::size_t first, std::size_t panels, MatrixView<float> y,
                       const Multiply& multiply) const {
  const Run run{WeightsOf(first), panels};
  const std::size_t first_row = first * kPanelRows;
  const std::size_t rows = std::min(panels * kPanelRows, out_features_ - first_row);
  const bool full = rows == panels * kPanelRows;
  std::array<float, kMostPanels * kPanelRows * kMostTokens> rest;  // for a panel that is not full
  for (std::size_t t = 0; t < y.rows; t += kMostTokens) {
    const PanelOutputs outputs{.tokens = std::min(kMostTokens, y.rows - t),
                               .y = full ? y.row(t) + first_row : rest.data(),
                               .stride = full ? y.stride : panels * kPanelRows};
    multiply(run, t, outputs);
    for (std::size_t i = 0; !full && i < outputs.tokens; ++i) {
      std::copy_n(rest.data() + i * outputs.stride, rows, y.row(t + i) + first_row);
    }
  }
}

template <class Multiply>
void Panels::ForPanels(ThreadPool& pool, std::span<const Product> products, std::size_t at_once,
                       const Multiply& multiply) {
  const auto tasks_of = [](const Product& product) {
    return CeilDiv(product.weights->panels(), kPanelsPerTask);
  };
  std::size_t tasks = 0;
  for (const Product& product : products) {
    AWQ_CHECK_EQ(product.y.cols, product.weights->out_features_);
    tasks += tasks_of(product);
  }
  pool.ParallelFor(tasks, [&](std::size_t task, std::size_t) {
    const Product* product = products.data();
    for (; task >= tasks_of(*product); ++product) task -= tasks_of(*product);
    const std::size_t first = task * kPanelsPerTask;
    const std::size_t last = std::min(first + kPanelsPerTask, product->weights->panels());
    for (std::size_t p = first; p < last; p += at_once) {
      product->weights->ForTokens(p, std::min(at_once, last - p), product->y, multiply);
    }
  });
}

void Panels::Apply(ThreadPool& pool, const Int8Activations& x, std::span<const Product> products) {
  for (const Product& product : products) {
    AWQ_CHECK_EQ(x.in_features_, product.weights->in_features_);
    AWQ_CHECK(x.blocks_ == product.weights->int8_blocks());
    AWQ_CHECK_EQ(x.tokens_, product.y.rows);
  }
  const std::size_t in = x.in_features_;
  const std::size_t blocks = in / x.blocks_.block_inputs;
  const std::size_t groups = in / x.blocks_.group_inputs;
  // Few tokens wait for the codes, and read these best one after another.
  const std::size_t at_once = x.tokens_ > kMostTokens ? kMostPanels : 1;
  ForPanels(pool, products, at_once,
            [&](const Run& run, std::size_t t, const PanelOutputs& outputs) {
              x.set_->int8->multiply({.weights = run.first,
                                      .panels = run.panels,
                                      .block_inputs = x.blocks_.block_inputs,
                                      .x = x.codes_.data() + t * in,
                                      .x_scales = x.scales_.data() + t * blocks,
                                      .x_sums = x.sums_.data() + t * groups,
                                      .outputs = outputs});
            });
}

void Panels::Apply(ThreadPool& pool, const ExactActivations& x, std::span<const Product> products) {
  for (const Product& product : products) {
    AWQ_CHECK_EQ(x.in_features_, product.weights->in_features_);
    AWQ_CHECK_EQ(x.group_inputs_, product.weights->group_size_);
    AWQ_CHECK_EQ(x.tokens_, product.y.rows);
  }
  const auto multiply = x.in_pairs_ ? x.set_->exact->multiply_bf16 : x.set_->exact->multiply_f32;
  const std::size_t groups = x.in_features_ / x.group_inputs_;
  ForPanels(pool, products, 1, [&](const Run& run, std::size_t t, const PanelOutputs& outputs) {
    const std::size_t first = t * x.in_features_;
    const void* from = x.in_pairs_ ? static_cast<const void*>(x.pairs_.data() + first)
                                   : static_cast<const void*>(x.floats_.data() + first);
    multiply({.weights = run.first,
              .x = from,
              .x_sums = x.sums_.data() + t * groups,
              .outputs = outputs});
  });
}

}  // namespace awq::kernels
