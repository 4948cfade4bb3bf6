#include "kernels/panel_rows.h"

#include "base/isa.h"

namespace awq::kernels {
namespace {

std::vector<PanelRow> FindRows() {
  std::vector<PanelRow> rows;
#if defined(__x86_64__)
  const Isa active = ActiveIsa();
  const bool has_vnni = active == Isa::kAvx512 && __builtin_cpu_supports("avx512vnni");
  if (has_vnni && __builtin_cpu_supports("avx512bf16")) {
    rows.push_back({"avx512bf16", &avx512bf16::kInt8Loops, &avx512bf16::kExactLoops});
  }
  if (has_vnni) rows.push_back({"avx512vnni", &avx512vnni::kInt8Loops, &avx512vnni::kExactLoops});
  if (active == Isa::kAvx512) {
    rows.push_back({"avx512", &avx512::kInt8Loops, &avx512::kExactLoops});
  }
  if (active != Isa::kBaseline) rows.push_back({"avx2", &avx2::kInt8Loops, &avx2::kExactLoops});
#endif
  rows.push_back({"baseline", &baseline::kInt8Loops, &baseline::kExactLoops});
  return rows;
}

}  // namespace

const std::vector<PanelRow>& PanelRows() {
  static const std::vector<PanelRow> rows = FindRows();
  return rows;
}

}  // namespace awq::kernels
