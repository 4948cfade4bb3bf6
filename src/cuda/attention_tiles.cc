#include <algorithm>

#include "cuda/ops.h"

namespace awq::cuda {

std::vector<Tile> TilesOf(const Segment& segment, int row, int shared) {
  const int most = std::max(1, kTileRows / shared);
  std::vector<Tile> tiles;
  for (int last = segment.position + segment.tokens; last > segment.position;) {
    const int first = std::max((last - 1) / most * most, segment.position);
    tiles.push_back({row + first - segment.position, last - first, first, segment.slot});
    last = first;
  }
  return tiles;
}

}  // namespace awq::cuda
