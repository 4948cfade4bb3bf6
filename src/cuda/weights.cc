#include "cuda/weights.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <string>

namespace awq::cuda {
namespace {

constexpr int kMostSide = 1 << 20;
constexpr int kLanes = 32;
constexpr int kMostWords = 4 * 8;  // of a lane in a unit

int CeilDivide(int a, int b) { return (a + b - 1) / b; }

std::size_t Size(int x) { return static_cast<std::size_t>(x); }

int LaneOf(int row, int k) { return 4 * (row % 8) + k % 32 / 8; }

// Bits of a lane's words that hold (part of) a code.
struct Part {
  int word, shift, bits;
};
struct Place {
  Part low, high;  // high.bits is 0 where the code is in one part
};

Place PlaceOf(int bits, int row, int k) {
  const int block = row / 16, element = k % 2;
  const int product = 2 * (k / 32) + k % 8 / 4;
  const int r = 2 * (k % 4 / 2) + row / 8 % 2;
  if (bits == 4) {
    return {{4 * block + product, 4 * r + 16 * element, 4}, {}};
  }
  if (bits == 8) {
    return {{8 * block + 2 * product + r / 2, 8 * (2 * (r % 2) + element), 8}, {}};
  }
  const int pair = 4 * product + r;
  return {{3 * block + pair / 8, 2 * (pair % 8) + 16 * element, 2},
          {3 * block + 2, pair + 16 * element, 1}};
}

std::size_t RowPlace(int row) { return Size(row % 8 * 8 + row / 16 * 2 + row / 8 % 2); }

// PlaceOf for every row and input of a unit, with words counted over all lanes.
using Places = std::array<Place, kPanelRows * kUnitInputs>;

Places MakePlaces(int bits) {
  Places places;
  for (int row = 0; row < kPanelRows; ++row) {
    for (int k = 0; k < kUnitInputs; ++k) {
      Place place = PlaceOf(bits, row, k);
      place.low.word += LaneOf(row, k) * kMostWords;
      place.high.word += LaneOf(row, k) * kMostWords;
      places[Size(row * kUnitInputs + k)] = place;
    }
  }
  return places;
}

const Places& PlacesFor(int bits) {
  static const Places three = MakePlaces(3), four = MakePlaces(4), eight = MakePlaces(8);
  return bits == 3 ? three : bits == 4 ? four : eight;
}

unsigned Mask(const Part& part) { return (1u << part.bits) - 1; }

// A unit of the packed codes, as words of each lane.
class Unit {
 public:
  explicit Unit(int bits) : bits_(bits), places_(PlacesFor(bits)) {}

  void Read(const std::uint8_t* bytes) { Move(const_cast<std::uint8_t*>(bytes), false); }
  void Write(std::uint8_t* bytes) { Move(bytes, true); }

  void Put(int row, int k, unsigned code) {
    const Place& place = places_[Size(row * kUnitInputs + k)];
    words_[place.low.word] |= (code & Mask(place.low)) << place.low.shift;
    words_[place.high.word] |= (code >> place.low.bits & Mask(place.high)) << place.high.shift;
  }
  unsigned Get(int row, int k) const {
    const Place& place = places_[Size(row * kUnitInputs + k)];
    const auto part = [&](const Part& p) { return words_[p.word] >> p.shift & Mask(p); };
    return part(place.low) | part(place.high) << place.low.bits;
  }

 private:
  void Move(std::uint8_t* bytes, bool out) {
    for (int vector = 0; vector < bits_; ++vector) {
      for (int lane = 0; lane < kLanes; ++lane) {
        void* there = bytes + (vector * kLanes + lane) * kVectorBytes;
        void* here = words_ + lane * kMostWords + 4 * vector;
        std::memcpy(out ? there : here, out ? here : there, kVectorBytes);
      }
    }
  }

  int bits_;
  const Places& places_;
  std::uint32_t words_[kLanes * kMostWords] = {};
};

// A unit of a panel, and how much of it there is.
struct UnitPlace {
  UnitPlace(const WeightShape& shape, const WeightLayout& layout, int panel, int unit)
      : first_input(unit * kUnitInputs),
        rows(std::min(kPanelRows, shape.outputs - panel * kPanelRows)),
        inputs(std::min(kUnitInputs, shape.inputs - first_input)),
        offset_bytes((Size(panel) * Size(layout.units) + Size(unit)) * Size(shape.bits) * kLanes *
                     kVectorBytes) {}
  int first_input, rows, inputs;
  std::size_t offset_bytes;
};

// Calls move(place in the packed arrays, place in the canonical ones or -1 for a row that does not
// exist) for each scale of a panel.
template <class Move>
void ForScales(const WeightShape& shape, const WeightLayout& layout, int panel, Move move) {
  for (int group = 0; group < layout.groups; ++group) {
    for (int row = 0; row < kPanelRows; ++row) {
      const std::size_t packed =
          (Size(panel) * Size(layout.groups) + Size(group)) * kPanelRows + RowPlace(row);
      const bool exists = panel * kPanelRows + row < shape.outputs;
      move(packed, exists ? std::ptrdiff_t{row} * layout.groups + group : std::ptrdiff_t{-1});
    }
  }
}

Fault Refuse(const char* what, int value) {
  return MakeFault(FaultKind::kUnsupported, std::string("quantized weights on the GPU: ") + what +
                                                ", not " + std::to_string(value));
}

}  // namespace

Fault CheckShape(const WeightShape& shape) {
  if (shape.bits != 3 && shape.bits != 4 && shape.bits != 8) {
    return Refuse("codes have 3, 4 or 8 bits", shape.bits);
  }
  if (shape.outputs < 1 || shape.outputs > kMostSide) {
    return Refuse("outputs are 1 to 2^20", shape.outputs);
  }
  if (shape.inputs < 1 || shape.inputs > kMostSide || shape.inputs % 32 != 0) {
    return Refuse("inputs are a multiple of 32, up to 2^20", shape.inputs);
  }
  if (shape.group_inputs < 1 || shape.group_inputs % 32 != 0) {
    return Refuse("the inputs of a group are a multiple of 32", shape.group_inputs);
  }
  return {};
}

WeightLayout LayOut(const WeightShape& shape) {
  WeightLayout layout;
  layout.panels = CeilDivide(shape.outputs, kPanelRows);
  layout.units = CeilDivide(shape.inputs, kUnitInputs);
  layout.groups = CeilDivide(shape.inputs, std::min(shape.inputs, shape.group_inputs));
  layout.codes_bytes =
      Size(layout.panels) * Size(layout.units) * Size(shape.bits) * kLanes * kVectorBytes;
  layout.zeros_bytes = Size(layout.panels) * Size(layout.groups) * kPanelRows;
  layout.scales_bytes = layout.zeros_bytes * sizeof(std::uint16_t);
  return layout;
}

void PackPanels(const WeightShape& shape, int first, int count, const CanonicalRows& from,
                const PackedArrays& to) {
  const WeightLayout layout = LayOut(shape);
  for (int i = 0; i < count; ++i) {
    const int panel = first + i;
    const std::uint8_t* codes = from.codes + Size(i) * kPanelRows * Size(shape.inputs);
    const std::size_t scales = Size(i) * kPanelRows * Size(layout.groups);
    for (int u = 0; u < layout.units; ++u) {
      const UnitPlace place(shape, layout, panel, u);
      Unit unit(shape.bits);
      for (int row = 0; row < place.rows; ++row) {
        const std::uint8_t* line = codes + Size(row) * Size(shape.inputs) + place.first_input;
        for (int k = 0; k < place.inputs; ++k) {
          unit.Put(row, k, line[k]);
        }
      }
      unit.Write(to.codes + place.offset_bytes);
    }
    ForScales(shape, layout, panel, [&](std::size_t packed, std::ptrdiff_t canonical) {
      to.scales[packed] = canonical < 0 ? std::uint16_t{0} : (from.scales + scales)[canonical];
      to.zeros[packed] = canonical < 0 ? std::uint8_t{0} : (from.zeros + scales)[canonical];
    });
  }
}

void UnpackPanels(const WeightShape& shape, int first, int count, const PackedArrays& from,
                  const MutableRows& to) {
  const WeightLayout layout = LayOut(shape);
  for (int i = 0; i < count; ++i) {
    const int panel = first + i;
    std::uint8_t* codes = to.codes + Size(i) * kPanelRows * Size(shape.inputs);
    const std::size_t scales = Size(i) * kPanelRows * Size(layout.groups);
    for (int u = 0; u < layout.units; ++u) {
      const UnitPlace place(shape, layout, panel, u);
      Unit unit(shape.bits);
      unit.Read(from.codes + place.offset_bytes);
      for (int row = 0; row < place.rows; ++row) {
        std::uint8_t* line = codes + Size(row) * Size(shape.inputs) + place.first_input;
        for (int k = 0; k < place.inputs; ++k) {
          line[k] = static_cast<std::uint8_t>(unit.Get(row, k));
        }
      }
    }
    ForScales(shape, layout, panel, [&](std::size_t packed, std::ptrdiff_t canonical) {
      if (canonical >= 0) {
        (to.scales + scales)[canonical] = from.scales[packed];
        (to.zeros + scales)[canonical] = from.zeros[packed];
      }
    });
  }
}

}  // namespace awq::cuda
