#include "api/runtime.h"

#include "base/isa.h"

namespace awq {

Status CheckEnvironment() {
  if (const auto isa = SelectIsa(); !isa) return isa.error();
  return {};
}

namespace api {

math::Precision ResolvePrecision(ComputePrecision wanted) {
  const bool bf16 = wanted == ComputePrecision::kBF16 ||
                    (wanted == ComputePrecision::kAuto && math::HasFastBF16());
  return bf16 ? math::Precision::kBF16 : math::Precision::kF32;
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

void Note(const Runtime& runtime, const std::string& line) {
  if (runtime.progress == nullptr) return;
  runtime.progress->Update({.stage = "", .done = 0, .total = 0, .unit = "", .note = line});
}

}  // namespace api
}  // namespace awq
