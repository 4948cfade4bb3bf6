#include "cuda/linear_choice.h"

#include <algorithm>
#include <limits>

namespace awq::cuda {
namespace {

constexpr int kAny = std::numeric_limits<int>::max();

struct Row {
  int capability, most_tokens, most_mebiweights;
  LinearWay way;
  int tile_tokens;
};

constexpr Row kRows[] = {
#include "cuda/linear_choice.inc"
};

}  // namespace

LinearChoice ChooseLinear(int capability, const WeightShape& shape, int tokens) {
  int from = 0;
  for (const Row& row : kRows) {
    from = row.capability <= capability ? std::max(from, row.capability) : from;
  }
  const double mebiweights =
      static_cast<double>(shape.outputs) * static_cast<double>(shape.inputs) * 0x1p-20;
  for (const Row& row : kRows) {
    if (row.capability == from && tokens <= row.most_tokens &&
        mebiweights <= static_cast<double>(row.most_mebiweights)) {
      return {row.way, row.tile_tokens};
    }
  }
  return {};
}

}  // namespace awq::cuda
