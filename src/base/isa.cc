#include "base/isa.h"

#include <array>
#include <cstdlib>

#include "base/error.h"

namespace awq {
namespace {

constexpr std::array<Isa, 3> kBestFirst = {Isa::kAvx512, Isa::kAvx2, Isa::kBaseline};

bool CpuHas(Isa isa) {
#if defined(__x86_64__)
  switch (isa) {
    case Isa::kAvx512:
      return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
             __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
    case Isa::kAvx2:
      return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    case Isa::kBaseline:
      return true;
  }
#endif
  return isa == Isa::kBaseline;
}

}  // namespace

std::string_view IsaName(Isa isa) {
  switch (isa) {
    case Isa::kAvx512:
      return "avx512";
    case Isa::kAvx2:
      return "avx2";
    case Isa::kBaseline:
      break;
  }
  return "baseline";
}

Result<Isa> SelectIsa() {
  const char* forced = std::getenv("AWQ_FORCE_ISA");
  for (Isa isa : kBestFirst) {
    if (forced == nullptr || *forced == '\0') {
      if (CpuHas(isa)) return isa;
    } else if (IsaName(isa) == forced) {
      if (CpuHas(isa)) return isa;
      return MakeError(ErrorCode::kUnsupported, "AWQ_FORCE_ISA={}: this CPU lacks it", forced);
    }
  }
  return MakeError(ErrorCode::kInvalidArgument,
                   "AWQ_FORCE_ISA={}: expected baseline, avx2 or avx512", forced);
}

Isa ActiveIsa() {
  static const Isa active = [] {
    auto selected = SelectIsa();
    return selected ? *selected : Isa::kBaseline;
  }();
  return active;
}

}  // namespace awq
