#include "checkpoint/writer.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <csignal>
#include <nlohmann/json.hpp>
#include <random>
#include <set>

#include "checkpoint/reader.h"
#include "checkpoint/test_model.h"
#include "testing/paths.h"

namespace awq::checkpoint {
namespace {

namespace fs = std::filesystem;
using awq::testing::TemporaryDirectory;
using nlohmann::json;

struct Source {
  std::vector<io::TensorInfo> infos;
  std::vector<std::string> data;
};

// Seven tensors; number 3 is empty.
Source Tensors() {
  Source source;
  std::mt19937 random(5);
  for (std::size_t i = 0; i < 7; ++i) {
    const std::size_t rows = i == 3 ? 0 : 3 + i;
    const Shape shape = {rows, 10};
    source.infos.push_back({fmt::format("t{}", i), DType::kI16, shape, 0, rows * 20});
    std::string bytes(rows * 20, '\0');
    for (char& byte : bytes) byte = static_cast<char>(random());
    source.data.push_back(std::move(bytes));
  }
  return source;
}

std::span<const std::byte> Bytes(const std::string& text) { return std::as_bytes(std::span(text)); }

// Every file of a directory with its contents.
std::map<std::string, std::string> Contents(const fs::path& directory) {
  std::map<std::string, std::string> contents;
  for (const fs::directory_entry& entry : fs::directory_iterator(directory)) {
    contents[entry.path().filename().string()] = *io::ReadFile(entry.path());
  }
  return contents;
}

class WriterTest : public ::testing::Test {
 protected:
  Result<std::unique_ptr<DirectoryWriter>> Create(const std::string& fingerprint = "run 1",
                                                  std::size_t shard_bytes = 300) {
    return DirectoryWriter::Create(output_, source_.infos, {shard_bytes, fingerprint});
  }
  Status Write(DirectoryWriter& writer, std::size_t i) {
    return writer.WriteTensor(source_.infos[i].name, Bytes(source_.data[i]));
  }
  // From the first unit that is not done; stops, as if killed, in the middle of unit `stop`.
  void Run(std::size_t stop, bool finish, std::size_t shard_bytes = 300) {
    auto writer = Create("run 1", shard_bytes);
    ASSERT_TRUE(writer.ok()) << writer.error().message;
    ASSERT_TRUE((*writer)->WriteFile("config.json", "{}").ok());
    for (std::size_t i = 0; i < stop; ++i) {
      const std::string unit = fmt::format("unit {}", i);
      if ((*writer)->IsDone(unit) != nullptr) continue;
      ASSERT_TRUE(Write(**writer, i).ok());
      ASSERT_TRUE((*writer)->MarkDone(unit, {{"index", i}}).ok());
    }
    if (stop < source_.infos.size()) {
      const std::string garbage(source_.data[stop].size() / 2, '?');
      ASSERT_TRUE((*writer)->WriteTensor(source_.infos[stop].name, Bytes(garbage)).ok());
    }
    if (finish) {
      const Status finished = (*writer)->Finish();
      ASSERT_TRUE(finished.ok()) << finished.error().message;
    }
  }

  TemporaryDirectory directory_;
  fs::path output_ = directory_.path() / "out";
  fs::path partial_ = directory_.path() / "out.partial";
  Source source_ = Tensors();
};

TEST_F(WriterTest, WritesShardsAndAnIndex) {
  Run(7, true);
  EXPECT_FALSE(fs::exists(partial_));
  const auto contents = Contents(output_);
  std::set<std::string> names;
  for (const auto& [name, text] : contents) names.insert(name);
  // 60, 80, 100 and 0 bytes fit into 300; then 140; 160 more would be exactly 300; 180 is left.
  EXPECT_EQ(names, (std::set<std::string>{"config.json", "model-00001-of-00003.safetensors",
                                          "model-00002-of-00003.safetensors",
                                          "model-00003-of-00003.safetensors",
                                          "model.safetensors.index.json"}));
  const json index = json::parse(contents.at("model.safetensors.index.json"));
  EXPECT_EQ(index["metadata"]["total_size"], 720);
  for (std::size_t i = 0; i < 7; ++i) {
    const std::string file = index["weight_map"][source_.infos[i].name];
    EXPECT_EQ(file, i < 4   ? "model-00001-of-00003.safetensors"
                    : i < 6 ? "model-00002-of-00003.safetensors"
                            : "model-00003-of-00003.safetensors");
    const auto opened = io::SafetensorsFile::Open(output_ / file);
    ASSERT_TRUE(opened.ok()) << opened.error().message;
    for (const io::TensorInfo& info : opened->tensors()) {
      if (info.name != source_.infos[i].name) continue;
      const auto bytes = opened->View(info).bytes;
      EXPECT_TRUE(std::equal(bytes.begin(), bytes.end(), Bytes(source_.data[i]).begin(),
                             Bytes(source_.data[i]).end()));
    }
    EXPECT_NE(contents.at(file).find(R"("__metadata__":{"format":"pt"})"), std::string::npos);
  }
}

TEST_F(WriterTest, OneShardNeedsNoIndex) {
  Run(7, true, 720);
  std::set<std::string> names;
  for (const auto& [name, text] : Contents(output_)) names.insert(name);
  EXPECT_EQ(names, (std::set<std::string>{"config.json", "model.safetensors"}));
}

TEST_F(WriterTest, BytesDoNotDependOnTheOrderOfWriting) {
  Run(7, true);
  const auto expected = Contents(output_);
  fs::remove_all(output_);
  auto writer = Create();
  ASSERT_TRUE(writer.ok()) << writer.error().message;
  for (std::size_t i = 7; i-- > 0;) {
    const auto bytes = Bytes(source_.data[i]);
    const std::string& name = source_.infos[i].name;
    const std::size_t half = bytes.size() / 2;
    ASSERT_TRUE((*writer)->WriteTensor(name, bytes.subspan(half), half).ok());
    ASSERT_TRUE((*writer)->WriteTensor(name, bytes.first(half)).ok());
  }
  ASSERT_TRUE((*writer)->WriteFile("config.json", "{}").ok());
  ASSERT_TRUE((*writer)->Finish().ok());
  EXPECT_EQ(Contents(output_), expected);
}

TEST_F(WriterTest, AnInterruptedRunContinues) {
  Run(7, true);
  const auto expected = Contents(output_);
  for (std::size_t stop = 0; stop < 7; ++stop) {
    fs::remove_all(output_);
    Run(stop, false);
    EXPECT_FALSE(fs::exists(output_));
    {
      auto writer = Create();
      ASSERT_TRUE(writer.ok()) << writer.error().message;
      for (std::size_t i = 0; i < 7; ++i) {
        const json* note = (*writer)->IsDone(fmt::format("unit {}", i));
        ASSERT_EQ(note != nullptr, i < stop);
        if (note != nullptr) {
          EXPECT_EQ((*note)["index"], i);
        }
      }
    }
    Run(7, true);
    EXPECT_EQ(Contents(output_), expected);
  }
}

TEST_F(WriterTest, StartsAfreshWhereItCannotContinue) {
  const auto is_continued = [&](const std::string& fingerprint, std::size_t shard_bytes) {
    const auto writer = Create(fingerprint, shard_bytes);
    EXPECT_TRUE(writer.ok()) << writer.error().message;
    return (*writer)->IsDone("unit 0") != nullptr;
  };
  Run(2, false);
  EXPECT_TRUE(is_continued("run 1", 300));
  EXPECT_FALSE(is_continued("run 2", 300));
  Run(2, false);
  EXPECT_FALSE(is_continued("run 1", 720));  // another layout
  EXPECT_FALSE(fs::exists(partial_ / "model-00001-of-00003.safetensors"));
  Run(2, false);
  fs::remove(partial_ / "journal.json");
  EXPECT_FALSE(is_continued("run 1", 300));
  Run(2, false);
  ASSERT_TRUE(io::WriteFileAtomically(partial_ / "journal.json", R"({"done":[]})").ok());
  EXPECT_FALSE(is_continued("run 1", 300));
  Run(2, false);
  fs::resize_file(partial_ / "model-00002-of-00003.safetensors", 100);
  EXPECT_FALSE(is_continued("run 1", 300));
  Run(2, false);
  {
    auto shard = io::OutputFile::Create(partial_ / "model-00003-of-00003.safetensors", true);
    ASSERT_TRUE(shard->Write(20, Bytes("?")).ok());  // in the header
  }
  EXPECT_FALSE(is_continued("run 1", 300));
  Run(7, true);
}

TEST_F(WriterTest, LeavesNoTemporaryFileOfAnEarlierRunBehind) {
  Run(2, false);
  const fs::path left = partial_ / "journal.json.7-0.partial";
  ASSERT_TRUE(io::OutputFile::Create(left).ok());
  Run(7, true);
  EXPECT_TRUE(fs::exists(output_ / "model-00001-of-00003.safetensors"));
  EXPECT_FALSE(fs::exists(output_ / left.filename()));
}

TEST_F(WriterTest, RefusesAnExistingOutput) {
  fs::create_directory(output_);
  const auto writer = Create();
  ASSERT_FALSE(writer.ok());
  EXPECT_EQ(writer.error().code, ErrorCode::kInvalidArgument);
  EXPECT_NE(writer.error().message.find("exists already"), std::string::npos);
  fs::remove(output_);
  fs::create_symlink(directory_.path() / "nowhere", output_);
  EXPECT_FALSE(Create().ok());
}

TEST_F(WriterTest, NeverReplacesAnOutputThatAppearedMeanwhile) {
  auto writer = Create();
  ASSERT_TRUE(writer.ok());
  for (std::size_t i = 0; i < 7; ++i) ASSERT_TRUE(Write(**writer, i).ok());
  fs::create_directory(output_);
  EXPECT_FALSE((*writer)->Finish().ok());
  EXPECT_TRUE(fs::is_empty(output_));
  EXPECT_TRUE(fs::exists(partial_ / "journal.json"));
}

TEST_F(WriterTest, RefusesAPartialDirectoryInUse) {
  const auto first = Create();
  ASSERT_TRUE(first.ok());
  const auto second = Create();
  ASSERT_FALSE(second.ok());
  EXPECT_NE(second.error().message.find("another awq process"), std::string::npos);
  EXPECT_TRUE(fs::exists(partial_ / "model-00001-of-00003.safetensors"));
}

TEST_F(WriterTest, NeverTouchesAPartialDirectoryOfSomebodyElse) {
  fs::create_directory(partial_);
  ASSERT_TRUE(io::WriteFileAtomically(partial_ / "thesis.txt", "years of work").ok());
  EXPECT_FALSE(Create().ok());
  EXPECT_TRUE(fs::exists(partial_ / "thesis.txt"));
  fs::remove_all(partial_);
  const fs::path elsewhere = directory_.path() / "elsewhere";
  fs::create_directory(elsewhere);
  fs::create_symlink(elsewhere, partial_);
  EXPECT_FALSE(Create().ok());
  EXPECT_TRUE(fs::is_empty(elsewhere));
  fs::remove(partial_);
  ASSERT_TRUE(io::WriteFileAtomically(partial_, "a file").ok());
  EXPECT_FALSE(Create().ok());
}

TEST_F(WriterTest, RefusesPlacesThatCannotBe) {
  output_ = directory_.path() / "absent" / "out";
  const auto absent = Create();
  ASSERT_FALSE(absent.ok());
  EXPECT_NE(absent.error().message.find("absent, does not exist"), std::string::npos);
  ASSERT_TRUE(io::WriteFileAtomically(directory_.path() / "file", "x").ok());
  output_ = directory_.path() / "file" / "out";
  EXPECT_FALSE(Create().ok());
  output_ = "";
  EXPECT_FALSE(Create().ok());
  output_ = directory_.path() / "slash" / "";
  const auto slash = Create();
  ASSERT_TRUE(slash.ok()) << slash.error().message;
  EXPECT_TRUE(fs::exists(directory_.path() / "slash.partial"));
}

TEST_F(WriterTest, RefusesImpossibleTensors) {
  source_.infos.push_back(source_.infos[0]);
  EXPECT_FALSE(Create().ok());
  source_.infos.back().name = "other";
  source_.infos.back().size_bytes += 1;
  EXPECT_FALSE(Create().ok());
  source_.infos.back() = {"huge", DType::kF32, {SIZE_MAX, SIZE_MAX}, 0, 4};
  EXPECT_FALSE(Create().ok());
  source_.infos.clear();
  EXPECT_FALSE(Create().ok());
  EXPECT_FALSE(fs::exists(partial_));
}

TEST_F(WriterTest, RefusesWritesOutsideTensorsAndNames) {
  auto writer = Create();
  ASSERT_TRUE(writer.ok());
  const std::string bytes(60, 'x');
  EXPECT_FALSE((*writer)->WriteTensor("t9", Bytes(bytes)).ok());
  EXPECT_FALSE((*writer)->WriteTensor("t0", Bytes(bytes), 1).ok());
  EXPECT_FALSE((*writer)->WriteTensor("t0", Bytes(bytes), SIZE_MAX).ok());
  EXPECT_TRUE((*writer)->WriteTensor("t0", Bytes(bytes)).ok());
  for (const char* name : {"../x", "a/b", "/etc/x", "", "..", "journal.json", ".awq.lock",
                           "model.safetensors", "model.safetensors.index.json", "x.partial"}) {
    EXPECT_FALSE((*writer)->WriteFile(name, "x").ok()) << name;
  }
  const Status unfinished = (*writer)->Finish();
  ASSERT_FALSE(unfinished.ok());
  EXPECT_NE(unfinished.error().message.find("tensor t1 was never written"), std::string::npos);
  EXPECT_FALSE(fs::exists(output_));
}

TEST_F(WriterTest, AFullDiskIsFoundBeforeTheWork) {
  source_.infos.push_back({"huge", DType::kU8, {std::size_t{1} << 50}, 0, std::size_t{1} << 50});
  const auto writer = Create();
  ASSERT_FALSE(writer.ok());
  EXPECT_EQ(writer.error().code, ErrorCode::kIo);
  EXPECT_NE(writer.error().message.find("out: the model takes "), std::string::npos)
      << writer.error().message;
  EXPECT_NE(writer.error().message.find(": free "), std::string::npos) << writer.error().message;
  EXPECT_FALSE(fs::exists(partial_));
}

// The system's limit on file sizes stands in for a disk that fills behind our back.
TEST_F(WriterTest, ReportsARefusedReservation) {
  rlimit old{};
  getrlimit(RLIMIT_FSIZE, &old);
  auto* const old_handler = std::signal(SIGXFSZ, SIG_IGN);
  const rlimit limit{128, old.rlim_max};
  setrlimit(RLIMIT_FSIZE, &limit);
  const auto writer = Create();
  setrlimit(RLIMIT_FSIZE, &old);
  std::signal(SIGXFSZ, old_handler);
  ASSERT_FALSE(writer.ok());
  EXPECT_NE(writer.error().message.find("model-00001-of-00003.safetensors: cannot reserve"),
            std::string::npos)
      << writer.error().message;
  EXPECT_FALSE(fs::exists(partial_));
}

// What is written reads back as the model it was.
TEST_F(WriterTest, TheReaderOpensIt) {
  const testing::TestModel model = testing::MakeQuantizedModel("qwen3");
  std::vector<io::TensorInfo> infos;
  for (const auto& [name, tensor] : model.tensors) {
    infos.push_back({name, tensor.dtype, tensor.shape, 0, tensor.bytes.size()});
  }
  auto writer = DirectoryWriter::Create(output_, infos, {20000, "x"});
  ASSERT_TRUE(writer.ok()) << writer.error().message;
  for (const auto& [name, tensor] : model.tensors) {
    ASSERT_TRUE((*writer)->WriteTensor(name, Bytes(tensor.bytes)).ok());
  }
  ASSERT_TRUE((*writer)->WriteFile("config.json", model.config.dump()).ok());
  ASSERT_TRUE((*writer)->Finish().ok());
  const auto opened = ModelDirectory::Open(output_);
  ASSERT_TRUE(opened.ok()) << opened.error().message;
  EXPECT_TRUE((*opened)->extra_tensors().empty());
  EXPECT_TRUE((*opened)->Block(1)->linear(model::Role::kDown).packed->Unpack().ok());
}

}  // namespace
}  // namespace awq::checkpoint
