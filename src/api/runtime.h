// Public options -> what the folders below take.
#pragma once

#include <awq/awq.h>

#include <cstddef>
#include <memory>
#include <optional>
#include <string>

#include "checkpoint/stored_model.h"
#include "kernels/linear.h"
#include "math/matmul.h"
#include "text/windows.h"
#include "transformer/network.h"

namespace awq::api {

math::Precision ResolvePrecision(ComputePrecision wanted);
// For what only the CPU does.
Status OnlyOnCpu(const Runtime& runtime, std::string_view what);
// Which GPU walks calibration tokens through the model, none for the CPU. Errors: as ChooseGpu; a
// precision that is not the device's.
Result<std::optional<int>> GpuOfWalk(const Runtime& runtime, const model::ModelConfig& config,
                                     std::size_t needed_bytes);

// For a network of so many positions.
Result<std::unique_ptr<transformer::Network>> MakeNetwork(ThreadPool& pool,
                                                          const checkpoint::StoredModel& model,
                                                          const Runtime& runtime,
                                                          const Arithmetic& arithmetic,
                                                          std::size_t positions);
// What both say of this model: all but positions and limits of memory. Errors: a device that is
// unknown or not there; kInt8 where no linears are for it, or on a GPU; a precision that the device
// has not; a head of neither 16, 8 nor 4 bits.
Result<transformer::NetworkOptions> Resolve(const Runtime& runtime, const Arithmetic& arithmetic,
                                            const checkpoint::StoredModel& model);

text::BosMode ToBosMode(Bos bos);

// -1 becomes 0, as plans have it. Error: 0, or below -1.
Result<std::optional<std::size_t>> ReadGroupSize(const std::optional<int>& group_size);

// Opens a local model, or one of the hub by its name (hub::FindModel), and tells the sink of
// tensors that its architecture does not use.
Result<std::unique_ptr<checkpoint::StoredModel>> OpenModel(const std::string& path,
                                                           const Runtime& runtime);

// So many, as a ThreadPool takes them; tells the sink where they are more than the CPUs.
std::size_t CheckedThreads(const Runtime& runtime, std::size_t threads);
inline std::size_t CheckedThreads(const Runtime& runtime) {
  return CheckedThreads(runtime, runtime.threads);
}

// Tells the sink one line worth reading; nothing without a sink.
void Note(const Runtime& runtime, const std::string& line);

}  // namespace awq::api
