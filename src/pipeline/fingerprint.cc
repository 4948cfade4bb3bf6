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
Result<std::uint64_t> HashWeightFiles(const std::filesystem::path& directory) {
  std::uint64_t sum = 0;  // of one hash a file, so that the directory's order does not matter
  std::error_code failure;
  for (const auto& entry : std::filesystem::directory_iterator(directory, failure)) {
    if (entry.path().extension() != ".safetensors") continue;
    const std::string line =
        fmt::format("{} {} {}", entry.path().filename().string(), entry.file_size(failure),
                    entry.last_write_time(failure).time_since_epoch().count());
    sum += Hash(std::as_bytes(std::span(line)));
  }
  if (failure) {
    return MakeError(ErrorCode::kIo, "{}: cannot list its files: {}", directory.string(),
                     failure.message());
  }
  return sum;
}

}  // namespace

Result<std::string> DirectoryFingerprint(const std::filesystem::path& directory) {
  AWQ_ASSIGN(const std::string config, io::ReadFile(directory / "config.json"));
  AWQ_ASSIGN(const std::uint64_t weights, HashWeightFiles(directory));
  return fmt::format("config {:016x} weights {:016x}", Hash(std::as_bytes(std::span(config))),
                     weights);
}

Result<std::string> Fingerprint(const checkpoint::ModelDirectory& model,
                                const Matrix<std::int32_t>& tokens,
                                const QuantizeOptions& options) {
  AWQ_ASSIGN(const std::string directory, DirectoryFingerprint(model.path()));
  const PlanOptions& plan = options.plan;
  return fmt::format(
      "awq {} on {}{} method {} format {} bits {} group {} symmetric {} precision {} shard {} {} "
      "tokens {}x{} {:016x}",
      kVersion, IsaName(ActiveIsa()), math::HasFastBF16() ? "+bf16" : "", options.method->name,
      plan.format, plan.bits, plan.group_size ? std::to_string(*plan.group_size) : "auto",
      plan.symmetric, static_cast<int>(options.precision), options.shard_bytes, directory,
      tokens.rows(), tokens.cols(), Hash(std::as_bytes(tokens.span())));
}

}  // namespace awq::pipeline
