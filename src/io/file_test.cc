#include "io/file.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>
#include <zlib.h>

#include <algorithm>
#include <csignal>
#include <cstring>
#include <iterator>
#include <string>
#include <thread>
#include <vector>

#include "base/memory.h"
#include "testing/paths.h"

namespace awq::io {
namespace {

namespace fs = std::filesystem;
using awq::testing::TemporaryDirectory;

std::span<const std::byte> Bytes(std::string_view text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

std::string Gzip(std::string_view content) {
  z_stream stream{};
  EXPECT_EQ(deflateInit2(&stream, 9, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY), Z_OK);
  std::string out(deflateBound(&stream, content.size()) + 64, '\0');
  stream.next_in = const_cast<Bytef*>(reinterpret_cast<const Bytef*>(content.data()));
  stream.avail_in = static_cast<uInt>(content.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  EXPECT_EQ(deflate(&stream, Z_FINISH), Z_STREAM_END);
  out.resize(stream.total_out);
  deflateEnd(&stream);
  return out;
}

class FileTest : public ::testing::Test {
 protected:
  std::size_t Entries() const {
    return static_cast<std::size_t>(std::distance(fs::directory_iterator(directory_.path()), {}));
  }
  fs::path Put(std::string_view contents, const char* name = "file") {
    const fs::path path = directory_.path() / name;
    EXPECT_TRUE(WriteFileAtomically(path, contents).ok());
    return path;
  }
  TemporaryDirectory directory_;
};

TEST_F(FileTest, ReadsWhatWasWritten) {
  std::string contents(3'000'001, 'x');
  for (std::size_t i = 0; i < contents.size(); ++i) contents[i] = static_cast<char>(i * 7 % 251);
  for (const std::string& text : {std::string(), std::string("a"), contents}) {
    const auto read = ReadFile(Put(text));
    ASSERT_TRUE(read.ok()) << read.error().message;
    EXPECT_TRUE(*read == text);
  }
  EXPECT_EQ(Entries(), 1U) << "the temporary file is gone";
}

// Each writes a file of its own, so that what is there is what one of them wrote, whole.
TEST_F(FileTest, WritersOfOneFileDoNotDisturbEachOther) {
  const fs::path path = directory_.path() / "file";
  constexpr std::size_t kWriters = 4;
  constexpr std::size_t kBytes = 100'000;
  std::vector<Status> outcomes(kWriters);
  std::vector<std::thread> writers;
  for (std::size_t i = 0; i < kWriters; ++i) {
    writers.emplace_back([&, i] {
      for (int round = 0; round < 20 && outcomes[i]; ++round) {
        outcomes[i] = WriteFileAtomically(path, std::string(kBytes, static_cast<char>('a' + i)));
      }
    });
  }
  for (std::thread& writer : writers) writer.join();
  for (const Status& outcome : outcomes) EXPECT_TRUE(outcome.ok()) << outcome.error().message;
  const auto read = ReadFile(path);
  ASSERT_TRUE(read.ok()) << read.error().message;
  EXPECT_TRUE(*read == std::string(kBytes, read->front()));
  EXPECT_EQ(Entries(), 1U);
}

TEST_F(FileTest, TemporaryNamesAreNeverGivenTwice) {
  const fs::path path = directory_.path() / "file";
  const auto first = OutputFile::CreateTemporary(path);
  const auto second = OutputFile::CreateTemporary(path);
  ASSERT_TRUE(first.ok() && second.ok());
  EXPECT_NE(first->path(), second->path());
  for (const auto* file : {&*first, &*second}) {
    EXPECT_EQ(file->path().extension(), ".partial");
    EXPECT_EQ(file->path().parent_path(), directory_.path());
  }
}

TEST_F(FileTest, ReadsUpToTheLimitAndNoFurther) {
  const fs::path path = Put("12345");
  EXPECT_TRUE(ReadFile(path, 5).ok());
  const auto refused = ReadFile(path, 4);
  ASSERT_FALSE(refused.ok());
  EXPECT_NE(refused.error().message.find(path.string()), std::string::npos);
}

TEST_F(FileTest, NamesTheReason) {
  const auto absent = ReadFile(directory_.path() / "absent");
  ASSERT_FALSE(absent.ok());
  EXPECT_EQ(absent.error().code, ErrorCode::kNotFound);
  EXPECT_NE(absent.error().message.find("No such file"), std::string::npos);
  const auto directory = ReadFile(directory_.path());
  ASSERT_FALSE(directory.ok());
  EXPECT_EQ(directory.error().code, ErrorCode::kIo);
  EXPECT_NE(directory.error().message.find("Is a directory"), std::string::npos);
  EXPECT_FALSE(MappedFile::Open(directory_.path()).ok());
  const fs::path loop = directory_.path() / "loop";
  fs::create_symlink(loop, loop);
  EXPECT_FALSE(ReadFile(loop).ok());
  const fs::path pipe = directory_.path() / "pipe";
  ASSERT_EQ(mkfifo(pipe.c_str(), 0600), 0);
  EXPECT_FALSE(MappedFile::Open(pipe).ok());  // and does not hang
}

TEST_F(FileTest, InflatesGzipOfAllMembers) {
  std::string large;
  for (int i = 0; i < 400'000; ++i) large += std::to_string(static_cast<unsigned>(i) * 2654435761U);
  const std::string members = Gzip("hello ") + Gzip("") + Gzip(large);
  const auto read = ReadFile(Put(members));
  ASSERT_TRUE(read.ok()) << read.error().message;
  EXPECT_TRUE(*read == "hello " + large);
  EXPECT_TRUE(ReadFile(Put(members + std::string(100, '\0'))).ok());
}

TEST_F(FileTest, RefusesDamagedGzip) {
  const std::string good = Gzip("a text that is long enough to be compressed, compressed");
  for (std::size_t length = 2; length < good.size(); ++length) {
    EXPECT_FALSE(ReadFile(Put(good.substr(0, length))).ok()) << length;
  }
  EXPECT_FALSE(ReadFile(Put(good + "tail")).ok());
  std::string flipped = good;
  flipped[flipped.size() - 6] = static_cast<char>(flipped[flipped.size() - 6] ^ 1);  // the checksum
  EXPECT_FALSE(ReadFile(Put(flipped)).ok());
}

TEST_F(FileTest, StopsInflatingAtTheLimit) {
  const std::string bomb = Gzip(std::string(64 << 20, '\0'));
  ASSERT_LT(bomb.size(), std::size_t{100'000});
  const auto refused = ReadFile(Put(bomb), 1 << 20);
  ASSERT_FALSE(refused.ok());
  EXPECT_NE(refused.error().message.find("inflates to more"), std::string::npos);
}

TEST_F(FileTest, ReadsPartsOfWhatIsMapped) {
  std::string contents(100'000, '\0');
  for (std::size_t i = 0; i < contents.size(); ++i) contents[i] = static_cast<char>(i % 253);
  const fs::path path = Put(contents);
  const auto file = MappedFile::Open(path);
  ASSERT_TRUE(file.ok()) << file.error().message;
  const std::span<const std::byte> bytes = (*file)->bytes();
  for (const auto& [first, count] : std::vector<std::pair<std::size_t, std::size_t>>{
           {0, contents.size()}, {1, 4096}, {99'999, 1}, {100'000, 0}}) {
    std::string read(count, '?');
    ASSERT_TRUE(
        (*file)
            ->Read(bytes.subspan(first, count), std::as_writable_bytes(std::span(read)).data())
            .ok());
    EXPECT_EQ(read, contents.substr(first, count));
  }
  // What others have cut off since: the mapping has no way to say so.
  fs::resize_file(path, 60'000);
  std::vector<std::byte> rest(50'000);
  EXPECT_TRUE((*file)->Read(bytes.subspan(10'000, 50'000), rest.data()).ok());
  const Status gone = (*file)->Read(bytes.subspan(50'000, 50'000), rest.data());
  ASSERT_FALSE(gone.ok());
  EXPECT_TRUE(gone.error().message.starts_with(path.string() + ": expected 100000 bytes"));
  EXPECT_NE(gone.error().message.find("found 60000"), std::string::npos) << gone.error().message;
}

TEST_F(FileTest, MapsReleasesAndReadsAgain) {
  const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  std::string contents(4 * page + 10, '\0');
  for (std::size_t i = 0; i < contents.size(); ++i) contents[i] = static_cast<char>(i % 253);
  auto file = MappedFile::Open(Put(contents));
  ASSERT_TRUE(file.ok()) << file.error().message;
  const std::span<const std::byte> bytes = (*file)->bytes();
  ASSERT_EQ(bytes.size(), contents.size());
  for (const auto& [first, count] : std::vector<std::pair<std::size_t, std::size_t>>{
           {0, contents.size()}, {1, page}, {page - 1, 2}, {3 * page, page + 10}, {5, 0}}) {
    (*file)->Release(bytes.subspan(first, count));
    EXPECT_EQ(std::memcmp(bytes.data(), contents.data(), contents.size()), 0);
  }
}

TEST_F(FileTest, ReleasedPagesLeaveMemory) {
  constexpr std::size_t kBytes = std::size_t{32} << 20;
  auto file = MappedFile::Open(Put(std::string(kBytes, 'x')));
  ASSERT_TRUE(file.ok());
  std::size_t sum = 0;
  for (const std::byte byte : (*file)->bytes()) sum += std::to_integer<std::size_t>(byte);
  EXPECT_EQ(sum, kBytes * 'x');
  const std::size_t before = ReadMemoryUse().mapped_file_bytes;
  if (before < kBytes) GTEST_SKIP() << "the kernel does not count mapped pages here";
  (*file)->Release((*file)->bytes());
  EXPECT_LE(ReadMemoryUse().mapped_file_bytes, before - kBytes * 3 / 4);
}

TEST_F(FileTest, MapsAnEmptyFile) {
  auto file = MappedFile::Open(Put(""));
  ASSERT_TRUE(file.ok()) << file.error().message;
  EXPECT_TRUE((*file)->bytes().empty());
  (*file)->Release((*file)->bytes());
}

TEST_F(FileTest, WritesAtOffsetsInAnyOrder) {
  const fs::path path = directory_.path() / "out";
  {
    auto file = OutputFile::Create(path);
    ASSERT_TRUE(file.ok()) << file.error().message;
    ASSERT_TRUE(file->Preallocate(12).ok());
    EXPECT_EQ(fs::file_size(path), 12U);
    ASSERT_TRUE(file->Write(6, Bytes("world")).ok());
    file->StartSync(6, 100);  // also past the end
    ASSERT_TRUE(file->Write(0, Bytes("hello ")).ok());
    OutputFile moved = std::move(*file);
    ASSERT_TRUE(moved.Sync().ok());
    ASSERT_TRUE(moved.Close().ok());
    ASSERT_TRUE(moved.Close().ok());
  }
  EXPECT_EQ(*ReadFile(path), std::string("hello world\0", 12));
  {
    auto file = OutputFile::Create(path, /*keep_contents=*/true);
    ASSERT_TRUE(file->Write(0, Bytes("J")).ok());
  }
  EXPECT_EQ(ReadFile(path)->substr(0, 5), "Jello");
  { ASSERT_TRUE(OutputFile::Create(path).ok()); }
  EXPECT_EQ(*ReadFile(path), "");
}

// The system's limit on file sizes stands in for a full disk.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t bytes) : old_handler_(std::signal(SIGXFSZ, SIG_IGN)) {
    getrlimit(RLIMIT_FSIZE, &old_);
    const rlimit limit{bytes, old_.rlim_max};
    setrlimit(RLIMIT_FSIZE, &limit);
  }
  ~FileSizeLimit() {
    setrlimit(RLIMIT_FSIZE, &old_);
    std::signal(SIGXFSZ, old_handler_);
  }

 private:
  rlimit old_{};
  void (*old_handler_)(int);
};

TEST_F(FileTest, ReportsWritesThatTheSystemRefuses) {
  const fs::path path = Put("old");
  {
    const FileSizeLimit limit(4096);
    auto file = OutputFile::Create(directory_.path() / "out");
    ASSERT_TRUE(file.ok());
    const Status reserved = file->Preallocate(8192);
    ASSERT_FALSE(reserved.ok());
    EXPECT_NE(reserved.error().message.find("8192"), std::string::npos);
    const Status written = file->Write(0, Bytes(std::string(8192, 'x')));
    ASSERT_FALSE(written.ok());
    EXPECT_EQ(written.error().code, ErrorCode::kIo);
    EXPECT_NE(written.error().message.find("out: cannot write 4096 bytes at offset 4096"),
              std::string::npos)
        << written.error().message;
    EXPECT_FALSE(WriteFileAtomically(path, std::string(8192, 'x')).ok());
  }
  EXPECT_EQ(*ReadFile(path), "old");
  EXPECT_EQ(Entries(), 2U) << "file and out";
}

TEST_F(FileTest, ReportsAFullDisk) {
  auto file = OutputFile::Create(directory_.path() / "out");
  const Status status = file->Preallocate(std::size_t{1} << 50);  // a pebibyte
  ASSERT_FALSE(status.ok());
  EXPECT_EQ(status.error().code, ErrorCode::kIo);
  EXPECT_NE(status.error().message.find("out: "), std::string::npos);
}

TEST_F(FileTest, ReportsPathsThatCannotBe) {
  const fs::path below_file = Put("x") / "y";
  EXPECT_FALSE(OutputFile::Create(below_file).ok());
  EXPECT_FALSE(WriteFileAtomically(below_file, "z").ok());
  EXPECT_FALSE(SyncDirectory(directory_.path() / "absent").ok());
}

}  // namespace
}  // namespace awq::io
