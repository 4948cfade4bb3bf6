// What tests of loops that are compiled once per instruction set share.
#pragma once

#include <gtest/gtest.h>

#include <bit>
#include <cstddef>
#include <cstdint>
#include <random>
#include <string_view>
#include <vector>

#include "base/isa.h"

namespace awq::testing {

// The sets that every folder has tables for and this CPU has, the baseline first.
inline std::vector<Isa> IsasOfThisCpu() {
  std::vector<Isa> isas;
  for (const Isa isa : {Isa::kBaseline, Isa::kAvx2, Isa::kAvx512}) {
    if (SelectIsa(IsaName(isa)).ok()) isas.push_back(isa);
  }
  return isas;
}

template <class Loops>
struct Table {
  std::string_view name;
  const Loops* loops;
};

inline std::vector<std::uint32_t> BitsOf(const std::vector<float>& values) {
  std::vector<std::uint32_t> bits;
  for (float x : values) bits.push_back(std::bit_cast<std::uint32_t>(x));
  return bits;
}

// Runs every table's loops and expects the bits that the first gives; returns those values.
template <class Loops, class Run>
std::vector<float> SameOnAll(const std::vector<Table<Loops>>& tables, Run run) {
  std::vector<float> first;
  for (const Table<Loops>& table : tables) {
    const std::vector<float> values = run(*table.loops);
    if (first.empty()) first = values;
    EXPECT_EQ(BitsOf(values), BitsOf(first)) << table.name;
  }
  return first;
}

inline std::vector<float> NormalFloats(std::size_t n, unsigned seed, float deviation = 1) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0, deviation);
  std::vector<float> values(n);
  for (float& x : values) x = normal(random);
  return values;
}

}  // namespace awq::testing
