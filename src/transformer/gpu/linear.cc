#include "transformer/gpu/linear.h"

#include <algorithm>
#include <atomic>
#include <optional>
#include <utility>

#include "base/error.h"
#include "cuda/numbers.h"
#include "cuda/weights.h"
#include "math/vector.h"
#include "quant/group.h"

namespace awq::transformer::gpu {
namespace {

constexpr std::size_t kStripe = quant::kStripeRows;
static_assert(kStripe % cuda::kPanelRows == 0);

// Codes of fewer bits are codes of more.
int KernelBits(int bits) { return bits <= 3 ? 3 : bits == 4 ? 4 : 8; }

cuda::WeightShape ShapeOf(const quant::Spec& spec, std::size_t outputs, std::size_t inputs) {
  const std::size_t group = spec.group_size == 0 ? inputs : spec.group_size;
  return {static_cast<int>(outputs), static_cast<int>(inputs), KernelBits(spec.bits),
          static_cast<int>(group)};
}

bool CanHold(const quant::Spec& spec, std::size_t outputs, std::size_t inputs) {
  constexpr std::size_t kMost = std::size_t{1} << 20;
  if (spec.act_order || outputs > kMost || inputs > kMost) return false;
  return !cuda::CheckShape(ShapeOf(spec, outputs, inputs));
}

quant::QuantizedLinear Rows(const quant::Spec& spec, std::size_t rows, std::size_t inputs) {
  const std::size_t groups = spec.group_size == 0 ? 1 : inputs / spec.group_size;
  return {spec, Matrix<std::uint8_t>(rows, inputs), Matrix<float>(rows, groups),
          Matrix<std::uint8_t>(rows, groups)};
}

// fp16 scales; false where one is none.
bool ToHalves(std::span<const float> scales, std::span<std::uint16_t> halves) {
  bool exact = true;
  for (std::size_t i = 0; i < scales.size(); ++i) {
    const auto half = cuda::FromFloat<cuda::Half>(scales[i]);
    halves[i] = half.bits;
    exact = exact && cuda::ToFloat(half) == scales[i];
  }
  return exact;
}

Status OpenDense(Context& context, std::string_view name) {
  if (context.linears().dense().is_open()) return {};
  const cuda::Fault fault = context.linears().dense().Open();
  if (!fault) return {};
  return MakeError(ErrorCode::kUnsupported,
                   "{}: linears that are not packed need cuBLASLt on a GPU: {}", name,
                   fault.message);
}

// How the arrays of packed weights lie in one piece of memory, each at a multiple of 256 bytes.
struct Places {
  explicit Places(const cuda::WeightLayout& layout)
      : scales(RoundUp(layout.codes_bytes, 256)),
        zeros(scales + RoundUp(layout.scales_bytes, 256)),
        bytes(zeros + layout.zeros_bytes) {}
  std::size_t scales;
  std::size_t zeros;
  std::size_t bytes;
};

}  // namespace

std::size_t Linear::bytes() const {
  std::size_t bytes = 0;
  for (const Part& part : parts_) bytes += part.memory.bytes();
  return bytes;
}

std::size_t Linear::weights() const {
  std::size_t count = 0;
  for (const Part& part : parts_) count += part.outputs * part.inputs;
  return count;
}

Status Linear::Add(Context& context, Part part) {
  AWQ_TRY(context.status());
  part.first_output = outputs_;
  outputs_ += part.outputs;
  parts_.push_back(std::move(part));
  return {};
}

Result<bool> Linear::AddPacked(Context& context, ThreadPool& pool,
                               std::span<const Packed> linears) {
  AWQ_ASSIGN(std::optional<Part> part, MakePacked(context, pool, linears));
  if (part) AWQ_TRY(Add(context, std::move(*part)));
  return part.has_value();
}

Result<std::optional<Linear::Part>> Linear::MakePacked(Context& context, ThreadPool& pool,
                                                       std::span<const Packed> linears) {
  const Packed& first = linears.front();
  Part part;
  part.inputs = first.inputs;
  for (const Packed& each : linears) part.outputs += each.outputs;
  const cuda::WeightShape shape = ShapeOf(first.spec, part.outputs, part.inputs);
  const Places places(cuda::LayOut(shape));
  auto host = Buffer<std::uint8_t>::Zeros(places.bytes);
  std::uint8_t* const base = host.data();
  const cuda::PackedArrays arrays = {base, reinterpret_cast<std::uint16_t*>(base + places.scales),
                                     base + places.zeros};
  std::atomic<bool> exact = true;
  std::size_t first_output = 0;
  for (const Packed& each : linears) {
    const auto pack = [&](std::size_t task, std::size_t) -> Status {
      const std::size_t row = task * kStripe;
      const std::size_t count = std::min(kStripe, each.outputs - row);
      quant::QuantizedLinear rows = Rows(each.spec, count, each.inputs);
      AWQ_TRY(each.read(row, rows));
      std::vector<std::uint16_t> halves(rows.scales.size());
      if (!ToHalves(std::as_const(rows.scales).span(), halves)) exact = false;
      cuda::WeightShape own = shape;  // ends where these rows do
      own.outputs = static_cast<int>(first_output + row + count);
      const auto panel = static_cast<int>((first_output + row) / cuda::kPanelRows);
      cuda::PackPanels(own, panel, static_cast<int>(CeilDiv(count, cuda::kPanelRows)),
                       {rows.codes.data(), halves.data(), rows.zeros.data()}, arrays);
      return {};
    };
    AWQ_TRY(TryParallelFor(pool, CeilDiv(each.outputs, kStripe), pack));
    first_output += each.outputs;
  }
  if (!exact) return std::optional<Part>();
  part.memory = Uploaded(context, std::as_const(host).span());
  const auto* const device = part.memory.data<std::uint8_t>();
  part.packed = {shape, device, device + places.scales, device + places.zeros};
  AWQ_TRY(context.status());
  return std::optional<Part>(std::move(part));
}

Status Linear::AddDense(
    Context& context, ThreadPool& pool, const Shape& shape, std::string_view name,
    const std::function<Status(std::size_t first_row, MatrixView<float>)>& read) {
  AWQ_TRY(OpenDense(context, name));
  Part part;
  part.outputs = shape[0];
  part.inputs = shape[1];
  std::vector<std::uint16_t> host(part.outputs * part.inputs);
  const auto convert = [&](std::size_t task, std::size_t) -> Status {
    const std::size_t row = task * kStripe;
    Matrix<float> rows(std::min(kStripe, part.outputs - row), part.inputs);
    AWQ_TRY(read(row, rows.view()));
    std::uint16_t* const to = host.data() + row * part.inputs;
    for (std::size_t i = 0; i < rows.size(); ++i) {
      to[i] = type_ == cuda::Float::kHalf ? cuda::FromFloat<cuda::Half>(rows.data()[i]).bits
                                          : cuda::FromFloat<cuda::Bfloat16>(rows.data()[i]).bits;
    }
    return {};
  };
  AWQ_TRY(TryParallelFor(pool, CeilDiv(part.outputs, kStripe), convert));
  part.memory = Uploaded(context, std::span<const std::uint16_t>(host));
  return Add(context, std::move(part));
}

Linear Linear::OfParts(std::span<const std::size_t> outputs, std::size_t inputs, cuda::Float type) {
  Linear linear(type);
  for (const std::size_t count : outputs) {
    Part part;
    part.first_output = linear.outputs_;
    part.outputs = count;
    part.inputs = inputs;
    linear.outputs_ += count;
    linear.parts_.push_back(std::move(part));
  }
  return linear;
}

Status Linear::SetPart(Context& context, std::size_t part, std::span<const std::byte> weights) {
  AWQ_TRY(OpenDense(context, "this model"));
  Part& to = parts_[part];
  AWQ_CHECK_EQ(weights.size(), to.outputs * to.inputs * sizeof(std::uint16_t));
  if (to.memory.bytes() < weights.size()) {
    context.Do([&] { return to.memory.Allocate(weights.size()); });
  }
  to.packed = {};
  context.lane().Upload(weights.data(), weights.size(), to.memory.data());
  return context.status();
}

Result<bool> Linear::SetPart(Context& context, ThreadPool& pool, std::size_t part,
                             const quant::QuantizedLinear& weights) {
  Part& to = parts_[part];
  AWQ_CHECK_EQ(weights.out_features(), to.outputs);
  if (!CanHold(weights.spec, to.outputs, to.inputs)) return false;
  const auto read = [&](std::size_t first_row, quant::QuantizedLinear& rows) -> Status {
    for (std::size_t r = 0; r < rows.out_features(); ++r) {
      std::copy_n(weights.codes.row(first_row + r), rows.codes.cols(), rows.codes.row(r));
      std::copy_n(weights.scales.row(first_row + r), rows.groups(), rows.scales.row(r));
      std::copy_n(weights.zeros.row(first_row + r), rows.groups(), rows.zeros.row(r));
    }
    return {};
  };
  const Packed packed = {weights.spec, to.outputs, to.inputs, read, "a linear"};
  AWQ_ASSIGN(std::optional<Part> made, MakePacked(context, pool, {&packed, 1}));
  if (!made) return false;
  made->first_output = to.first_output;
  to = std::move(*made);
  return true;
}

Result<Linear> Linear::FromDense(Context& context, ThreadPool& pool, const TensorView& weight,
                                 cuda::Float type, std::string_view name) {
  Linear linear(type);
  AWQ_TRY(linear.AddDense(context, pool, weight.shape, name,
                          [&](std::size_t first_row, MatrixView<float> rows) -> Status {
                            math::Convert(weight.Rows(first_row, rows.rows),
                                          std::span(rows.data, rows.rows * rows.cols));
                            return {};
                          }));
  return linear;
}

Result<Linear> Linear::Rounded(Context& context, ThreadPool& pool, const TensorView& weight,
                               const quant::Spec& spec, cuda::Float type, std::string_view name) {
  const Shape& shape = weight.shape;
  if (!CanHold(spec, shape[0], shape[1])) {
    return MakeError(ErrorCode::kUnsupported,
                     "{} in {} bits on a GPU: its {} inputs are no multiple of 32; keep it in 16",
                     name, spec.bits, shape[1]);
  }
  const auto read = [&](std::size_t first_row, quant::QuantizedLinear& rows) {
    return quant::RoundRows(weight.Rows(first_row, rows.out_features()), name, rows);
  };
  Linear linear(type);
  const Packed packed = {spec, shape[0], shape[1], read, name};
  AWQ_ASSIGN(const bool exact, linear.AddPacked(context, pool, {&packed, 1}));
  AWQ_CHECK(exact);
  return linear;
}

Result<Linear> Linear::FromModel(Context& context, ThreadPool& pool,
                                 std::span<const model::Linear* const> linears, cuda::Float type) {
  Linear linear(type);
  AWQ_TRY(linear.AddModels(context, pool, linears));
  return linear;
}

// Neighbours of one spec are one part, so that one launch computes them.
Status Linear::AddModels(Context& context, ThreadPool& pool,
                         std::span<const model::Linear* const> linears) {
  const auto packs = [](const model::Linear& each) {
    return each.is_packed() && CanHold(each.packed->spec(), each.out_features, each.in_features);
  };
  while (!linears.empty()) {
    std::size_t count = 0;
    std::vector<Packed> run;
    for (; count < linears.size() && packs(*linears[count]); ++count) {
      const model::Linear& each = *linears[count];
      const quant::Spec spec = each.packed->spec();
      if (!run.empty() &&
          (!(spec == run.back().spec) || run.back().outputs % cuda::kPanelRows != 0)) {
        break;
      }
      run.push_back({spec, each.out_features, each.in_features,
                     [&each](std::size_t first_row, quant::QuantizedLinear& rows) {
                       return each.packed->UnpackRows(first_row, rows);
                     },
                     each.name});
    }
    bool done = false;
    if (!run.empty()) {
      AWQ_ASSIGN(done, AddPacked(context, pool, run));
    }
    if (!done) {
      count = std::max<std::size_t>(count, 1);
      for (const model::Linear* each : linears.first(count)) {
        AWQ_TRY(AddModelDense(context, pool, *each));
      }
    }
    linears = linears.subspan(count);
  }
  return {};
}

Status Linear::AddModelDense(Context& context, ThreadPool& pool, const model::Linear& linear) {
  const Shape shape = {linear.out_features, linear.in_features};
  std::optional<quant::QuantizedLinear> unpacked;
  if (linear.is_packed()) {
    AWQ_ASSIGN(unpacked, linear.packed->Unpack());
  }
  return AddDense(context, pool, shape, linear.name,
                  [&](std::size_t first_row, MatrixView<float> rows) -> Status {
                    if (unpacked) {
                      quant::Dequantize(*unpacked, first_row, rows);
                    } else {
                      math::Convert(linear.weight.Rows(first_row, rows.rows),
                                    std::span(rows.data, rows.rows * rows.cols));
                    }
                    return {};
                  });
}

void Linear::Apply(Context& context, const void* x, std::size_t tokens, float* y) const {
  for (const Part& part : parts_) Apply(context, part, x, tokens, y);
}

void Linear::Apply(Context& context, const Part& part, const void* x, std::size_t tokens,
                   float* y) const {
  if (part.packed.codes != nullptr) {
    cuda::LinearCall call;
    call.weights = part.packed;
    call.x_type = type_;
    call.x = x;
    call.tokens = static_cast<int>(tokens);
    call.y_type = cuda::Float::kSingle;
    call.y = y + part.first_output;
    call.y_stride = static_cast<int>(outputs_);
    return context.Do([&] { return context.linears().Multiply(call, context.stream()); });
  }
  cuda::DenseCall call;
  call.w = part.memory.data();
  call.x = x;
  call.y = y + part.first_output;
  call.outputs = static_cast<int>(part.outputs);
  call.inputs = static_cast<int>(part.inputs);
  call.tokens = static_cast<int>(tokens);
  call.y_stride = static_cast<int>(outputs_);
  call.x_type = type_;
  call.y_type = cuda::Float::kSingle;
  call.scratch = context.dense_scratch();
  call.scratch_bytes = Context::kDenseScratchBytes;
  context.Do([&] { return context.linears().dense().Multiply(call, context.stream()); });
}

}  // namespace awq::transformer::gpu
