// What the launches of cuda/ops.h, sample.h and statistics.h must do right, on the emulator and on
// a device.
#pragma once

#include <vector>

#include "cuda/test_attention.h"
#include "cuda/test_gram.h"
#include "cuda/test_kv_rows.h"
#include "cuda/test_sample.h"
#include "cuda/test_statistics.h"
#include "cuda/test_token_rows.h"

namespace awq::cuda {

inline std::vector<OpsRow> AllOpsRows() {
  std::vector<OpsRow> all;
  for (const auto& rows :
       {TokenRows(), KvRows(), AttentionRows(), SampleRows(), GramRows(), StatisticsRows()}) {
    all.insert(all.end(), rows.begin(), rows.end());
  }
  return all;
}

}  // namespace awq::cuda
