#include "api/runtime.h"

#include <algorithm>
#include <cstdlib>

#include "api/device.h"
#include "base/error.h"
#include "base/isa.h"
#include "base/memory.h"
#include "hub/pull.h"
#include "pipeline/memory.h"

namespace awq {

std::vector<std::string> InstructionSets() { return IsaNames(); }

std::string CudaArchitectures() { return AWQ_CUDA_BUILT_FOR; }

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

namespace {

Status CheckHead(const transformer::NetworkOptions& options) {
  const int bits = options.head_bits;
  if (bits == 16 || bits == 8 || bits == 4) return {};
  return MakeError(ErrorCode::kInvalidArgument, "head_bits is {}: expected 16, 8 or 4", bits);
}

Result<transformer::NetworkOptions> ResolveOnGpu(int device, const Runtime& runtime,
                                                 const Arithmetic& arithmetic,
                                                 const checkpoint::StoredModel& model) {
  const bool rounds = HasPanels(model) && model.config().hidden_size % 32 == 0;
  transformer::NetworkOptions options;
  options.head_bits = arithmetic.head_bits.value_or(rounds ? 8 : 16);
  options.kv = ToKvType(arithmetic.kv);
  options.gpu = device;
  options.f16 = runtime.precision == ComputePrecision::kF16;
  AWQ_TRY(CheckHead(options));
  return options;
}

Result<transformer::NetworkOptions> ResolveOnCpu(const Runtime& runtime,
                                                 const Arithmetic& arithmetic,
                                                 const checkpoint::StoredModel& model) {
  const bool some = HasPanels(model);
  if (!some && arithmetic.activations == Activations::kInt8) {
    return MakeError(
        ErrorCode::kUnsupported,
        "{}: activations of 8 bits are for packed weights without act order, which this model "
        "has not; leave --activations int8 out",
        model.path().string());
  }
  if (runtime.precision == ComputePrecision::kF16) {
    return MakeError(ErrorCode::kUnsupported,
                     "precision f16 is for a GPU (--device cuda); the CPU computes in bf16 or f32");
  }
  // Where nothing else is said. Without vectors of bytes int8 is slower, not faster.
  const bool rounds =
      some && runtime.precision != ComputePrecision::kF32 && ActiveIsa() != Isa::kBaseline;
  const bool int8 = arithmetic.activations == Activations::kAuto
                        ? rounds
                        : arithmetic.activations == Activations::kInt8;
  const bool head_fits = model.config().hidden_size % 8 == 0;
  transformer::NetworkOptions options;
  options.precision = ResolvePrecision(runtime.precision);
  options.packed = int8   ? kernels::Packed::kInt8
                   : some ? kernels::Packed::kExact
                          : kernels::Packed::kDense;
  options.head_bits = arithmetic.head_bits.value_or(rounds && head_fits ? 8 : 16);
  options.kv = ToKvType(arithmetic.kv);
  AWQ_TRY(CheckHead(options));
  return options;
}

}  // namespace

Result<transformer::NetworkOptions> Resolve(const Runtime& runtime, const Arithmetic& arithmetic,
                                            const checkpoint::StoredModel& model) {
  GpuNeeds needs{.config = &model.config(), .bytes = model.weight_bytes()};
  if (runtime.precision == ComputePrecision::kF32) {
    needs.obstacle = "precision f32: a GPU computes in bf16 or f16; leave --precision out";
  } else if (arithmetic.activations == Activations::kInt8) {
    needs.obstacle = "activations of 8 bits are for the CPU; leave --activations int8 out";
  }
  AWQ_ASSIGN(const std::optional<int> gpu, ChooseGpu(runtime, needs));
  return gpu ? ResolveOnGpu(*gpu, runtime, arithmetic, model)
             : ResolveOnCpu(runtime, arithmetic, model);
}

Result<std::optional<int>> GpuOfWalk(const Runtime& runtime, const model::ModelConfig& config,
                                     std::size_t needed_bytes) {
  if (runtime.precision == ComputePrecision::kF16) {
    return MakeError(ErrorCode::kUnsupported,
                     "precision f16: this computes in f32 or bf16, on a GPU in bf16");
  }
  GpuNeeds needs{.config = &config, .bytes = needed_bytes};
  needs.least_bytes = needed_bytes - std::min(needed_bytes, pipeline::kGpuBaseBytes);
  if (runtime.precision == ComputePrecision::kF32) {
    needs.obstacle = "precision f32: a GPU computes in bf16 here; leave --precision out";
  }
  return ChooseGpu(runtime, needs);
}

Status OnlyOnCpu(const Runtime& runtime, std::string_view what) {
  if (runtime.precision == ComputePrecision::kF16) {
    return MakeError(ErrorCode::kUnsupported, "{}: precision f16 is for a GPU", what);
  }
  if (runtime.device == "cpu") return {};
  return MakeError(ErrorCode::kUnsupported, "{} on device {}: only the CPU does that today", what,
                   runtime.device);
}

Result<std::unique_ptr<transformer::Network>> MakeNetwork(ThreadPool& pool,
                                                          const checkpoint::StoredModel& model,
                                                          const Runtime& runtime,
                                                          const Arithmetic& arithmetic,
                                                          std::size_t positions) {
  AWQ_ASSIGN(transformer::NetworkOptions options, Resolve(runtime, arithmetic, model));
  options.positions = positions;
  options.memory_bytes = AvailableMemoryBytes();
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

std::size_t CheckedThreads(const Runtime& runtime, std::size_t threads) {
  const std::size_t cpus = AvailableCpus();
  if (threads > cpus) {
    Note(runtime,
         fmt::format("{} threads on {} CPU{}: those in excess make it slower, not faster; without "
                     "--threads there is one for each CPU",
                     threads, cpus, cpus == 1 ? "" : "s"));
  }
  return threads;
}

void Note(const Runtime& runtime, const std::string& line) { awq::Note(runtime.progress, line); }

}  // namespace api
}  // namespace awq
