#include "base/arena.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <cstring>
#include <utility>
#include <vector>

#include "base/memory.h"

namespace awq {
namespace {

TEST(Arena, PiecesAreAlignedApartAndOutliveIt) {
  std::vector<std::pair<std::shared_ptr<std::byte>, std::size_t>> pieces;
  {
    Arena arena(1000);
    for (const std::size_t bytes : {1U, 64U, 65U, 900U, 5000U, 3U}) {
      pieces.emplace_back(arena.Take(bytes), bytes);
    }
  }
  for (std::size_t i = 0; i < pieces.size(); ++i) {
    const auto& [memory, bytes] = pieces[i];
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(memory.get()) % kAlignmentBytes, 0U);
    std::memset(memory.get(), static_cast<int>(i), bytes);
  }
  for (std::size_t i = 0; i < pieces.size(); ++i) {
    const auto& [memory, bytes] = pieces[i];
    for (std::size_t b = 0; b < bytes; ++b) ASSERT_EQ(memory.get()[b], static_cast<std::byte>(i));
  }
}

TEST(Arena, PiecesShareSlabs) {
  if (kHeapIsWatched) GTEST_SKIP() << "every piece is watched by itself";
  Arena arena(1024);
  const auto first = arena.Take(100);
  const auto second = arena.Take(100);
  EXPECT_EQ(second.get(), first.get() + 128);
  const auto large = arena.Take(2000);  // of a slab of its own
  EXPECT_EQ(first.use_count(), 2);      // the arena has let go of theirs
}

TEST(Arena, MoreThanThereIsIsRefused) {
  Arena arena;
  EXPECT_THROW(arena.Take(SIZE_MAX), std::bad_alloc);
  // The address sanitizer's own answer to this is to end the program.
  if (!kHeapIsWatched) {
    EXPECT_THROW(arena.Take(SIZE_MAX / 4), std::bad_alloc);
  }
  EXPECT_NE(arena.Take(8).get(), nullptr);
}

}  // namespace
}  // namespace awq
