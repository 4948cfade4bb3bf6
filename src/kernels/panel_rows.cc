#include "kernels/panel_rows.h"

#include "base/isa.h"

namespace awq::kernels {
namespace {

PanelRow RowOf(Isa isa) {
  const std::string_view name = IsaName(isa);
  switch (isa) {
#if defined(__x86_64__)
    case Isa::kAvx512Bf16:
      return {name, &avx512bf16::kInt8Loops, &avx512bf16::kExactLoops};
    case Isa::kAvx512Vnni:
      return {name, &avx512vnni::kInt8Loops, &avx512vnni::kExactLoops};
    case Isa::kAvx512:
      return {name, &avx512::kInt8Loops, &avx512::kExactLoops};
    case Isa::kAvx2:
      return {name, &avx2::kInt8Loops, &avx2::kExactLoops};
#elif defined(__aarch64__)
    case Isa::kDotprod:
      return {name, &dotprod::kInt8Loops, &dotprod::kExactLoops};
    case Isa::kNeon:
      return {name, &neon::kInt8Loops, &neon::kExactLoops};
#endif
    default:
      return {name, &baseline::kInt8Loops, &baseline::kExactLoops};
  }
}

}  // namespace

const std::vector<PanelRow>& PanelRows() {
  static const std::vector<PanelRow> rows = [] {
    std::vector<PanelRow> found;
    for (const Isa isa : UsableIsas()) found.push_back(RowOf(isa));
    return found;
  }();
  return rows;
}

}  // namespace awq::kernels
