#include <gtest/gtest.h>

#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "cuda/copy.h"
#include "cuda/emulated_device.h"
#include "cuda/linears.h"
#include "cuda/test_graph.h"
#include "cuda/test_linear.h"

namespace awq::cuda {
namespace {

class EmulatedGraph : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_FALSE(stream_.Create());
    ASSERT_FALSE(a_.Allocate(kBytes));
    ASSERT_FALSE(b_.Allocate(kBytes));
    ASSERT_FALSE(pinned_.Allocate(kBytes));
    ASSERT_FALSE(FillBytes(a_.data(), 1, kBytes, stream()));
    ASSERT_FALSE(FillBytes(b_.data(), 2, kBytes, stream()));
    ASSERT_FALSE(stream_.Synchronize());
  }
  ~EmulatedGraph() override { SetEmulatedMachine({}); }

  StreamHandle stream() const { return stream_.handle(); }
  int FirstByte(const DeviceMemory& memory) const {
    unsigned char byte = 0;
    EXPECT_FALSE(CopyToHost(&byte, memory.data(), 1, nullptr));
    return byte;
  }
  Fault Run(const Graph& graph) const {
    AWQ_CUDA_TRY(graph.Launch(stream()));
    return stream_.Synchronize();
  }
  // What `call` says while the stream is recorded, and that the recording is lost.
  template <class Call>
  std::string Refused(Call call) {
    Graph graph;
    EXPECT_FALSE(graph.Begin(stream()));
    const Fault fault = call();
    EXPECT_TRUE(fault);
    EXPECT_TRUE(CopyOnDevice(b_.data(), a_.data(), kBytes, stream()));
    EXPECT_TRUE(graph.End(stream())) << fault.message;
    EXPECT_FALSE(graph.is_ready());
    EXPECT_TRUE(graph.Launch(stream()));
    EXPECT_FALSE(stream_.Synchronize());
    return fault.message;
  }

  static constexpr std::size_t kBytes = 64;
  Stream stream_;
  DeviceMemory a_, b_;
  PinnedMemory pinned_;
};

TEST_F(EmulatedGraph, DoesWhatADeviceDoes) {
  EXPECT_EQ(CheckGraph(true), "");
  EXPECT_EQ(CheckGraph(false), "");
}

TEST_F(EmulatedGraph, RunsWhatWasRecordedInItsOrder) {
  Graph graph;
  EXPECT_FALSE(graph.is_ready());
  EXPECT_TRUE(graph.Launch(stream()));
  std::memset(pinned_.data(), 3, kBytes);
  ASSERT_FALSE(graph.Begin(stream()));
  ASSERT_FALSE(CopyOnDevice(b_.data(), a_.data(), kBytes, stream()));
  ASSERT_FALSE(CopyToDevice(a_.data(), pinned_.data(), kBytes, stream()));
  ASSERT_FALSE(FillBytes(a_.data<char>() + 32, 7, 32, stream()));
  const std::size_t launches = CountEmulatedUse().launches;
  EXPECT_EQ(FirstByte(b_), 2) << "nothing has been run";
  ASSERT_FALSE(graph.End(stream()));
  EXPECT_TRUE(graph.is_ready());
  EXPECT_EQ(FirstByte(b_), 2);
  std::memset(pinned_.data(), 4, kBytes);  // is read when the graph runs
  ASSERT_FALSE(Run(graph));
  EXPECT_EQ(CountEmulatedUse().launches, launches + 1);
  EXPECT_EQ(FirstByte(b_), 1);
  EXPECT_EQ(FirstByte(a_), 4);
  const Graph moved = std::move(graph);
  ASSERT_FALSE(Run(moved));
  EXPECT_EQ(FirstByte(b_), 4);
}

TEST_F(EmulatedGraph, IsReplacedByTheNextRecording) {
  Graph graph;
  for (const unsigned char value : std::vector<unsigned char>{5, 6}) {
    ASSERT_FALSE(graph.Begin(stream()));
    ASSERT_FALSE(FillBytes(a_.data(), value, kBytes, stream()));
    ASSERT_FALSE(graph.End(stream()));
    ASSERT_FALSE(Run(graph));
    EXPECT_EQ(FirstByte(a_), value);
  }
}

TEST_F(EmulatedGraph, RefusesWhatNoRecordingMayDo) {
  DeviceMemory more;
  PinnedMemory more_pinned;
  char byte = 0;
  EXPECT_NE(Refused([&] { return more.Allocate(1); }), "");
  EXPECT_NE(Refused([&] { return more_pinned.Allocate(1); }), "");
  EXPECT_NE(Refused([&] { return Synchronize(); }), "");
  EXPECT_NE(Refused([&] { return stream_.Synchronize(); }), "");
  EXPECT_NE(Refused([&] { return CopyToDevice(a_.data(), &byte, 1, stream()); }), "");
  EXPECT_NE(Refused([&] { return CopyToHost(&byte, a_.data(), 1, stream()); }), "");
  EXPECT_NE(Refused([&] { return Graph().Begin(stream()); }), "");
}

TEST_F(EmulatedGraph, IsLostWhereMemoryIsGivenBack) {
  DeviceMemory memory;
  ASSERT_FALSE(memory.Allocate(1));
  Graph graph;
  ASSERT_FALSE(graph.Begin(stream()));
  memory = DeviceMemory();
  EXPECT_EQ(graph.End(stream()).message, "recording a graph: giving back GPU memory");
}

TEST_F(EmulatedGraph, HasEventsThatNobodyWaitsFor) {
  Event before, inside;
  ASSERT_FALSE(before.Create());
  ASSERT_FALSE(inside.Create());
  ASSERT_FALSE(before.Record(stream()));
  Graph graph;
  ASSERT_FALSE(graph.Begin(stream()));
  ASSERT_FALSE(inside.Record(stream()));
  ASSERT_FALSE(graph.End(stream()));
  double seconds = 0;
  EXPECT_TRUE(inside.Synchronize());
  EXPECT_TRUE(inside.SecondsSince(before, &seconds));
}

TEST_F(EmulatedGraph, NeedsAStreamOfItsOwn) {
  Graph graph;
  EXPECT_EQ(graph.Begin(nullptr).kind, FaultKind::kUnsupported);
  EXPECT_TRUE(graph.End(stream()));
  ASSERT_FALSE(graph.Begin(stream()));
  EXPECT_TRUE(graph.End(nullptr));
  graph = Graph();  // ends the recording
  EXPECT_FALSE(CopyOnDevice(b_.data(), a_.data(), kBytes, stream()));
  EXPECT_FALSE(stream_.Synchronize());
  EXPECT_EQ(FirstByte(b_), 1);
}

class GraphOfLinears : public EmulatedGraph {
 protected:
  // The message of recording one of `tokens`, and whether it gives what it must.
  std::string Record(Linears& linears, int tokens) {
    const LinearProblem problem(LinearRow{{64, 32, 4, 32}, tokens});
    DeviceMemory codes, scales, zeros, x, y;
    const auto upload = [](DeviceMemory& memory, const auto& from) {
      const std::size_t bytes = from.size() * sizeof(from[0]);
      EXPECT_FALSE(memory.Allocate(bytes));
      EXPECT_FALSE(CopyToDevice(memory.data(), from.data(), bytes, nullptr));
    };
    upload(codes, problem.packed.codes);
    upload(scales, problem.packed.scales);
    upload(zeros, problem.packed.zeros);
    upload(x, problem.x);
    std::vector<unsigned char> found = problem.EmptyOutput();
    EXPECT_FALSE(y.Allocate(found.size()));
    LinearCall call;
    call.weights = {problem.row.shape, codes.data(), scales.data(), zeros.data()};
    call.x = x.data();
    call.tokens = tokens;
    call.y_type = Float::kSingle;
    call.y = y.data();
    Graph graph;
    EXPECT_FALSE(graph.Begin(stream()));
    const Fault fault = linears.Multiply(call, stream());
    const Fault ended = graph.End(stream());
    EXPECT_EQ(ended.kind, fault.kind);
    if (fault) {
      return fault.message;
    }
    for (int run = 0; run < 2; ++run) {
      EXPECT_FALSE(FillBytes(y.data(), 0xff, y.bytes(), stream()));
      EXPECT_EQ(graph.Launch(stream()).message, "");
      EXPECT_FALSE(CopyToHost(found.data(), y.data(), found.size(), stream()));
      EXPECT_EQ(stream_.Synchronize().message, "");
      EXPECT_EQ(Compare(problem, found, tokens > 512), "");
    }
    return "";
  }
};

TEST_F(GraphOfLinears, TakesEveryWayThatMemoryIsReservedFor) {
  Linears linears;
  ASSERT_FALSE(linears.Create(0));
  EXPECT_EQ(Record(linears, 1), "");
  EXPECT_EQ(Record(linears, 9), "");
  EXPECT_NE(Record(linears, 513), "");
  ASSERT_FALSE(linears.Reserve(32));
  const std::size_t bytes = CountEmulatedUse().bytes;
  EXPECT_EQ(Record(linears, 513), "");
  EXPECT_EQ(CountEmulatedUse().bytes, bytes);
}

TEST_F(GraphOfLinears, NeedsNothingReservedWithoutTheDenseLibrary) {
  SetEmulatedMachine({.has_dense_library = false});
  Linears linears;
  ASSERT_FALSE(linears.Create(0));
  const std::size_t bytes = CountEmulatedUse().bytes;
  ASSERT_FALSE(linears.Reserve(32));
  EXPECT_EQ(CountEmulatedUse().bytes, bytes);
}

}  // namespace
}  // namespace awq::cuda
