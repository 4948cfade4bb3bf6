#include "io/shard_index.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace awq::io {
namespace {

TEST(Index, NamesOfFiles) {
  for (const char* name : {"model.safetensors", "a b.safetensors", "..x"}) {
    EXPECT_TRUE(IsPlainFileName(name)) << name;
  }
  for (const std::string& name : {std::string("."), std::string(".."), std::string("a/b"),
                                  std::string("/a"), std::string("a\nb"), std::string(256, 'a')}) {
    EXPECT_FALSE(IsPlainFileName(name)) << name;
  }
}

TEST(ShardNames, EachOnce) {
  const auto shards = ReadShardNames(
      R"({"weight_map": {"x": "b.safetensors", "y": "a.safetensors", "z": "b.safetensors"}})", "i");
  ASSERT_TRUE(shards.ok());
  EXPECT_EQ(*shards, (std::vector<std::string>{"a.safetensors", "b.safetensors"}));
  for (const char* text :
       {"[]", "{}", R"({"weight_map": []})", R"({"weight_map": {}})", R"({"weight_map": {"x": 1}})",
        R"({"weight_map": {"x": "../a.safetensors"}})",
        R"({"weight_map": {"x": "b/a.safetensors"}})", R"({"weight_map": {"x": "a.bin"}})"}) {
    EXPECT_FALSE(ReadShardNames(text, "i").ok()) << text;
  }
}

}  // namespace
}  // namespace awq::io
