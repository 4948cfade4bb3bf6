#include "api/runtime.h"

#include <algorithm>
#include <cstdlib>

#include "base/error.h"
#include "base/isa.h"
#include "base/memory.h"
#include "hub/pull.h"

namespace awq {

std::vector<std::string> InstructionSets() { return IsaNames(); }

Status UseInstructionSet(const std::string& name) { return UseIsa(name); }

namespace api {

math::Precision ResolvePrecision(ComputePrecision wanted) {
  const bool bf16 = wanted == ComputePrecision::kBF16 ||
                    (wanted == ComputePrecision::kAuto && math::HasFastBF16());
  return bf16 ? math::Precision::kBF16 : math::Precision::kF32;
}

namespace {

// Has linears whose codes are multiplied as they are.
bool HasPanels(const checkpoint::StoredModel& model) {
  const auto& quantization = model.quantization();
  return quantization && std::ranges::any_of(quantization->groups, [](const auto& each) {
           return each.spec.bits <= kernels::Panels::kMostBits && !each.spec.act_order;
         });
}

transformer::KvType ToKvType(KvPrecision kv) {
  switch (kv) {
    case KvPrecision::kF16:
      return transformer::KvType::kF16;
    case KvPrecision::kInt8:
      return transformer::KvType::kInt8;
    case KvPrecision::kExact:
      break;
  }
  return transformer::KvType::kExact;
}

}  // namespace

Result<ModelArithmetic> Resolve(const Arithmetic& arithmetic, ComputePrecision precision,
                                const checkpoint::StoredModel& model) {
  const bool some = HasPanels(model);
  if (!some && arithmetic.activations == Activations::kInt8) {
    return MakeError(
        ErrorCode::kUnsupported,
        "{}: activations of 8 bits are for packed weights without act order, which this model "
        "has not; leave --activations int8 out",
        model.path().string());
  }
  // Where nothing else is said. Without vectors of bytes int8 is slower, not faster.
  const bool rounds = some && precision != ComputePrecision::kF32 && ActiveIsa() != Isa::kBaseline;
  const bool int8 = arithmetic.activations == Activations::kAuto
                        ? rounds
                        : arithmetic.activations == Activations::kInt8;
  const bool head_fits = model.config().hidden_size % 8 == 0;
  const int head_bits = arithmetic.head_bits.value_or(rounds && head_fits ? 8 : 16);
  if (head_bits != 16 && head_bits != 8 && head_bits != 4) {
    return MakeError(ErrorCode::kInvalidArgument, "head_bits is {}: expected 16, 8 or 4",
                     head_bits);
  }
  return ModelArithmetic{.packed = int8   ? kernels::Packed::kInt8
                                   : some ? kernels::Packed::kExact
                                          : kernels::Packed::kDense,
                         .head_bits = head_bits,
                         .kv = ToKvType(arithmetic.kv)};
}

Result<std::unique_ptr<transformer::Network>> MakeNetwork(ThreadPool& pool,
                                                          const checkpoint::StoredModel& model,
                                                          const Runtime& runtime,
                                                          const Arithmetic& arithmetic,
                                                          std::size_t positions) {
  transformer::NetworkOptions options;
  options.precision = ResolvePrecision(runtime.precision);
  options.positions = positions;
  options.memory_bytes = AvailableMemoryBytes();
  AWQ_ASSIGN(const ModelArithmetic resolved, Resolve(arithmetic, runtime.precision, model));
  options.packed = resolved.packed;
  options.head_bits = resolved.head_bits;
  options.kv = resolved.kv;
  return transformer::Network::Create(pool, model, options);
}

text::BosMode ToBosMode(Bos bos) {
  switch (bos) {
    case Bos::kWindow:
      return text::BosMode::kWindow;
    case Bos::kNever:
      return text::BosMode::kNever;
    case Bos::kAuto:
      break;
  }
  return text::BosMode::kAuto;
}

Result<std::optional<std::size_t>> ReadGroupSize(const std::optional<int>& group_size) {
  if (!group_size) return std::optional<std::size_t>();
  if (*group_size == 0 || *group_size < -1) {
    return MakeError(ErrorCode::kInvalidArgument,
                     "group size {}: expected -1 (whole rows) or a positive number", *group_size);
  }
  return std::optional<std::size_t>(*group_size == -1 ? 0 : static_cast<std::size_t>(*group_size));
}

Result<std::unique_ptr<checkpoint::StoredModel>> OpenModel(const std::string& path,
                                                           const Runtime& runtime) {
  AWQ_ASSIGN(const auto directory,
             hub::FindModel(path, /*weights=*/true, &std::getenv, runtime.progress));
  AWQ_ASSIGN(auto model, checkpoint::OpenModel(directory));
  const std::vector<std::string>& extra = model->extra_tensors();
  if (!extra.empty()) {
    Note(runtime,
         fmt::format("{}: {} tensors are no part of a {} of {} blocks, as config.json has it, "
                     "and are not used: {}{}",
                     path, extra.size(), model->config().model_type,
                     model->config().num_hidden_layers, extra.front(),
                     extra.size() > 1 ? ", ..." : ""));
  }
  return model;
}

void Note(const Runtime& runtime, const std::string& line) { awq::Note(runtime.progress, line); }

}  // namespace api
}  // namespace awq
