#include "base/numa.h"

#include <gtest/gtest.h>

#include <fstream>
#include <string>

#include "testing/paths.h"

namespace awq {
namespace {

TEST(Numa, ListsOfCpus) {
  EXPECT_EQ(ParseCpuList("0-3,8,10-11\n"), (Cpus{0, 1, 2, 3, 8, 10, 11}));
  EXPECT_EQ(ParseCpuList("5"), Cpus{5});
  for (const char* none : {"", "\n", "x", "1-", "3-1", "1,,2", "1 2", "-1", "2,1", "0-65536",
                           "99999999999999999999", "1,"}) {
    EXPECT_TRUE(ParseCpuList(none).empty()) << none;
  }
}

class NumaNodesOf : public ::testing::Test {
 protected:
  void Write(const std::string& node, const std::string& list) {
    std::filesystem::create_directories(root_.path() / node);
    std::ofstream(root_.path() / node / "cpulist") << list << "\n";
  }
  testing::TemporaryDirectory root_;
};

TEST_F(NumaNodesOf, NodesHaveWhatTheProcessMayUse) {
  EXPECT_TRUE(NumaNodes({0, 1}, root_.path()).empty());
  Write("node0", "0-3,8-11");
  Write("node1", "4-7,12-15");
  Write("node2", "");  // of memory alone
  Write("node3", "16-19");
  EXPECT_EQ(NumaNodes({1, 2, 4, 9, 15, 30}, root_.path()), (std::vector<Cpus>{{1, 2, 9}, {4, 15}}));
}

TEST(Numa, ThreadsAreSpreadOverNodesNeighboursTogether) {
  const std::vector<Cpus> nodes = {{0, 1, 2, 3}, {4, 5, 6, 7}};
  EXPECT_EQ(PlaceThreads(8, nodes), (Cpus{0, 1, 2, 3, 4, 5, 6, 7}));
  EXPECT_EQ(PlaceThreads(4, nodes), (Cpus{0, 2, 4, 6}));
  EXPECT_EQ(PlaceThreads(3, nodes), (Cpus{0, 2, 5}));
  EXPECT_TRUE(PlaceThreads(9, nodes).empty());
  EXPECT_TRUE(PlaceThreads(2, {{0, 1, 2, 3}}).empty());
  EXPECT_TRUE(PlaceThreads(1, {}).empty());
}

}  // namespace
}  // namespace awq
