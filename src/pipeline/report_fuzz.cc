// The text of a quantization_report.json: an error, or blocks that are read again as they are
// written.
#include <cstdint>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <string_view>

#include "pipeline/report.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace awq::pipeline;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto blocks = ParseBlockReports(text, "fuzz");
  if (!blocks.ok()) return 0;
  TotalsOf(*blocks);
  for (const BlockReport& block : *blocks) {
    const nlohmann::json json = ToJson(block);
    const auto again = BlockReportFromJson(json);
    if (!again.ok() || ToJson(*again) != json) std::abort();
  }
  return 0;
}
