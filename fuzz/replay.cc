// Runs a fuzzer's entry point over its corpus, where libFuzzer is not: replay DIRECTORY.
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <system_error>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: %s CORPUS_DIRECTORY\n", argv[0]);
    return 2;
  }
  std::size_t files = 0;
  std::error_code missing;
  for (const auto& entry : std::filesystem::directory_iterator(argv[1], missing)) {
    std::printf("%s\n", entry.path().c_str());
    std::fflush(stdout);
    std::ifstream file(entry.path(), std::ios::binary);
    const std::vector<char> bytes(std::istreambuf_iterator<char>(file), {});
    std::vector<std::uint8_t> data(bytes.begin(), bytes.end());
    LLVMFuzzerTestOneInput(data.data(), data.size());
    // Every beginning of it too: files end early more often than they are forged.
    for (std::size_t size = 0; size < data.size(); size += 1 + data.size() / 64) {
      const std::vector<std::uint8_t> part(data.begin(),
                                           data.begin() + static_cast<std::ptrdiff_t>(size));
      LLVMFuzzerTestOneInput(part.data(), part.size());
    }
    ++files;
  }
  std::printf("%zu inputs in %s\n", files, argv[1]);
  return files > 0 ? 0 : 1;
}
