#include "pipeline/fingerprint.h"

#include <awq/version.h>

#include <cstdint>
#include <span>

#include "base/error.h"
#include "base/isa.h"
#include "io/file.h"

namespace awq::pipeline {
namespace {

// FNV-1a, 64 bits.
std::uint64_t Hash(std::span<const std::byte> bytes, std::uint64_t hash = 0xcbf29ce484222325U) {
  for (std::byte byte : bytes) {
    hash = (hash ^ static_cast<std::uint64_t>(byte)) * 0x100000001b3U;
  }
  return hash;
}

// Names, sizes and times of the weight files: reading gigabytes only to hash them would cost more
// than it saves.
Result<std::uint64_t> HashWeightFiles(const checkpoint::StoredModel& model) {
  AWQ_ASSIGN(const auto files, model.WeightFiles());
  std::uint64_t sum = 0;  // of one hash a file, so that their order does not matter
  for (const std::filesystem::path& file : files) {
    std::error_code failure;
    const auto size = std::filesystem::file_size(file, failure);
    const auto time = std::filesystem::last_write_time(file, failure);
    if (failure) return io::SystemError(file, "inspect it", failure.value());
    const std::string line =
        fmt::format("{} {} {}", file.filename().string(), size, time.time_since_epoch().count());
    sum += Hash(std::as_bytes(std::span(line)));
  }
  return sum;
}

}  // namespace

Result<std::string> ModelFingerprint(const checkpoint::StoredModel& model) {
  AWQ_ASSIGN(const auto config_file, model.SmallFile("config.json"));
  const std::string config = config_file.value_or("");
  AWQ_ASSIGN(const std::uint64_t weights, HashWeightFiles(model));
  return fmt::format("config {:016x} weights {:016x}", Hash(std::as_bytes(std::span(config))),
                     weights);
}

Result<std::string> Fingerprint(const checkpoint::StoredModel& model,
                                const Matrix<std::int32_t>& tokens,
                                const QuantizeOptions& options) {
  AWQ_ASSIGN(const std::string stored, ModelFingerprint(model));
  const PlanOptions& plan = options.plan;
  return fmt::format(
      "awq {} on {}{}{} method {} format {} bits {} group {} symmetric {} precision {} shard {} {} "
      "tokens {}x{} {:016x}",
      kVersion, IsaName(ActiveIsa()), math::HasFastBF16() ? "+bf16" : "", options.gpu ? "+gpu" : "",
      options.method->name, plan.format, plan.bits,
      plan.group_size ? std::to_string(*plan.group_size) : "auto", plan.symmetric,
      static_cast<int>(options.precision), options.shard_bytes, stored, tokens.rows(),
      tokens.cols(), Hash(std::as_bytes(tokens.span())));
}

}  // namespace awq::pipeline
