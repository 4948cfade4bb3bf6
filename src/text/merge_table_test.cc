#include "text/merge_table.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "text/word_cache.h"

namespace awq::text {
namespace {

using Ids = std::vector<std::int32_t>;
using Merges = std::map<std::pair<std::int32_t, std::int32_t>, std::pair<unsigned, std::int32_t>>;

MergeTable TableOf(const Merges& merges) {
  MergeTable table;
  table.Reserve(merges.size(), 42);
  for (const auto& [pair, merge] : merges) {
    table.Set(pair.first, pair.second, merge.first, merge.second);
  }
  return table;
}

// The definition, step by step.
Ids Reference(const Merges& merges, Ids ids) {
  for (;;) {
    std::size_t best = ids.size();
    unsigned best_rank = ~0U;
    for (std::size_t i = 0; i + 1 < ids.size(); ++i) {
      const auto found = merges.find({ids[i], ids[i + 1]});
      if (found == merges.end() || found->second.first >= best_rank) continue;
      best_rank = found->second.first;
      best = i;
    }
    if (best == ids.size()) return ids;
    ids[best] = merges.at({ids[best], ids[best + 1]}).second;
    ids.erase(ids.begin() + static_cast<std::ptrdiff_t>(best) + 1);
  }
}

TEST(MergeTableTest, EqualsTheDefinitionAtEveryLength) {
  std::mt19937 random(7);
  for (int round = 0; round < 300; ++round) {
    Merges merges;
    std::int32_t next = 4;
    for (unsigned rank = 0; rank < 40; ++rank) {
      const auto symbol = [&] { return static_cast<std::int32_t>(random() % unsigned(next)); };
      merges.insert({{symbol(), symbol()}, {rank * 7 % 40, next}});
      ++next;
    }
    const MergeTable table = TableOf(merges);
    for (const std::size_t length : {0U, 1U, 2U, 3U, 17U, 63U, 64U, 65U, 66U, 200U}) {
      Ids ids;
      for (std::size_t i = 0; i < length; ++i) {
        ids.push_back(static_cast<std::int32_t>(random() % 4));
      }
      const Ids expected = Reference(merges, ids);
      MergeScratch scratch;
      table.Merge(ids, scratch);
      ASSERT_EQ(ids, expected) << "length " << length;
    }
  }
}

// One letter a million times, with merges that halve it: queue operations stay near the number of
// letters (each merge adds at most two, and there are fewer merges than letters).
TEST(MergeTableTest, OneLetterIsLinear) {
  constexpr std::size_t kLetters = 1 << 20;
  Merges merges;
  for (std::int32_t i = 0; i < 5; ++i) merges.insert({{i, i}, {static_cast<unsigned>(i), i + 1}});
  const MergeTable table = TableOf(merges);
  Ids ids(kLetters, 0);
  MergeScratch scratch;
  table.Merge(ids, scratch);
  EXPECT_EQ(ids, Ids(kLetters / 32, 5));
  EXPECT_LT(scratch.steps, 4 * kLetters);
}

TEST(MergeTableTest, LaterMergeOfAPairReplaces) {
  MergeTable table;
  table.Reserve(2, 0);
  table.Set(1, 2, 0, 3);
  table.Set(1, 2, 1, 4);
  EXPECT_EQ(table.Find(1, 2), (RankedId{1} << 32 | 4));
  EXPECT_EQ(table.Find(2, 1), kNoMerge);
}

TEST(WordCacheTest, FindsWhatItKeepsAndForgetsWhenFull) {
  WordCache cache(1);
  for (std::int32_t i = 0; i < 400000; ++i) {
    const std::string word = "word" + std::to_string(i);
    EXPECT_FALSE(cache.Find(word).has_value());
    cache.Insert(word, Ids{i, i + 1});
    const auto found = cache.Find(word);
    ASSERT_TRUE(found.has_value());
    ASSERT_EQ(Ids(found->begin(), found->end()), Ids({i, i + 1}));
  }
  cache.Insert(std::string(WordCache::kMaxWordBytes + 1, 'a'), Ids{1});
  EXPECT_FALSE(cache.Find(std::string(WordCache::kMaxWordBytes + 1, 'a')).has_value());
}

}  // namespace
}  // namespace awq::text
