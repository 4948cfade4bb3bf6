#include "base/isa.h"

#include <fmt/ranges.h>

#include <array>
#include <atomic>
#include <cstdlib>

#include "base/error.h"

#if defined(__aarch64__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

namespace awq {
namespace {

// In the order of Isa.
constexpr std::array<std::string_view, 7> kNames = {"baseline", "neon",       "dotprod",   "avx2",
                                                    "avx512",   "avx512vnni", "avx512bf16"};

bool CpuHas(Isa isa) {
  switch (isa) {
#if defined(__x86_64__)
    case Isa::kAvx512Bf16:
      return CpuHas(Isa::kAvx512Vnni) && __builtin_cpu_supports("avx512bf16");
    case Isa::kAvx512Vnni:
      return CpuHas(Isa::kAvx512) && __builtin_cpu_supports("avx512vnni");
    case Isa::kAvx512:
      return CpuHas(Isa::kAvx2) && __builtin_cpu_supports("avx512f") &&
             __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
             __builtin_cpu_supports("avx512vl");
    case Isa::kAvx2:
      return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#elif defined(__aarch64__)
    case Isa::kDotprod:
      return (getauxval(AT_HWCAP) & HWCAP_ASIMDDP) != 0;
    case Isa::kNeon:
      return true;
#endif
    default:
      return isa == Isa::kBaseline;
  }
}

// From this one down.
std::vector<Isa> CpuIsas(std::size_t best) {
  std::vector<Isa> isas;
  for (std::size_t i = best + 1; i-- > 0;) {
    if (CpuHas(static_cast<Isa>(i))) isas.push_back(static_cast<Isa>(i));
  }
  return isas;
}

std::vector<Isa> CpuIsas() { return CpuIsas(kNames.size() - 1); }

std::vector<std::string_view> NamesOf(const std::vector<Isa>& isas) {
  std::vector<std::string_view> names;
  for (const Isa isa : isas) names.push_back(IsaName(isa));
  return names;
}

Result<Isa> SelectAsTold(std::string_view name) {
  const char* forced = std::getenv("AWQ_FORCE_ISA");
  if (!name.empty() || forced == nullptr) return SelectIsa(name);
  auto isa = SelectIsa(forced);
  if (isa) return isa;
  return MakeError(isa.error().code, "AWQ_FORCE_ISA={}: {}", forced, isa.error().message);
}

std::atomic<Isa>& Active() {
  static std::atomic<Isa> active = [] {
    const auto told = SelectAsTold("");
    return told ? *told : Isa::kBaseline;
  }();
  return active;
}

}  // namespace

std::string_view IsaName(Isa isa) { return kNames[static_cast<std::size_t>(isa)]; }

std::vector<std::string> IsaNames() { return {kNames.begin(), kNames.end()}; }

Result<Isa> SelectIsa(std::string_view name) {
  const std::vector<Isa> here = CpuIsas();
  if (name.empty()) return here.front();
  for (const Isa isa : here) {
    if (IsaName(isa) == name) return isa;
  }
  for (const std::string_view known : kNames) {
    if (known != name) continue;
    return MakeError(ErrorCode::kUnsupported, "this CPU lacks the instruction set {}; it has {}",
                     name, fmt::join(NamesOf(here), ", "));
  }
  return MakeError(ErrorCode::kInvalidArgument, "there is no instruction set {}; expected {}", name,
                   fmt::join(kNames, ", "));
}

Status UseIsa(std::string_view name) {
  AWQ_ASSIGN(const Isa isa, SelectAsTold(name));
  Active() = isa;
  return {};
}

Isa ActiveIsa() { return Active(); }

std::vector<Isa> UsableIsas() { return CpuIsas(static_cast<std::size_t>(ActiveIsa())); }

}  // namespace awq
