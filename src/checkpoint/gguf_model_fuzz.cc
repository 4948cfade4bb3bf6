// A whole .gguf file: opened, every weight and small file read, its codes taken if it has some.
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <string>

#include "checkpoint/gguf_model.h"
#include "io/file.h"

namespace {

using namespace awq;

// One file of this process, in memory where the system has such a place.
const std::string& Path() {
  static const std::string path = [] {
    const char* folder = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
    return std::string(folder) + "/awq_gguf_model_fuzz." + std::to_string(getpid());
  }();
  return path;
}

struct Remover {
  ~Remover() { unlink(Path().c_str()); }
};

// Reads every byte, so that a view beyond the file is seen.
unsigned Sum(const TensorView& tensor) {
  unsigned sum = 0;
  for (const std::byte byte : tensor.bytes) sum += std::to_integer<unsigned>(byte);
  return sum;
}

unsigned ReadAll(const checkpoint::GgufModel& model) {
  unsigned sum = 0;
  for (const auto& table : {model.Embedding(), model.FinalNorm(), model.Head()}) {
    if (!table) std::abort();  // opening has checked them
    sum += Sum(*table);
  }
  for (std::size_t layer = 0; layer < model.config().num_hidden_layers; ++layer) {
    const auto block = model.Block(layer);
    if (!block) std::abort();
    for (const auto& linear : block->linears) {
      if (linear) sum += Sum(linear->weight);
    }
  }
  for (const char* name : {"config.json", "tokenizer.json", "quantization_report.json"}) {
    if (const auto file = model.SmallFile(name); file && *file)
      sum += static_cast<unsigned>((*file)->size());
  }
  return sum;
}

void TakeCodes(const checkpoint::GgufModel& model) {
  const auto spec = model.CodesSpec();
  if (!spec) return;
  static ThreadPool pool(1);
  for (const model::LinearRow& row : model.config().arch->linears) {
    const auto codes = model.CodesOf(pool, 0, row, *spec);
    if (!codes) continue;
    for (const std::uint8_t code : codes->linear.codes.span()) {
      if (code > spec->max_code()) std::abort();
    }
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const Remover remover;
  auto file = io::OutputFile::Create(Path());
  if (!file.ok() || !file->Write(0, std::as_bytes(std::span(data, size))).ok()) std::abort();
  if (!file->Close().ok()) std::abort();
  const auto model = checkpoint::GgufModel::Open(Path());
  if (!model.ok()) return 0;
  volatile unsigned sum = ReadAll(**model);
  static_cast<void>(sum);
  TakeCodes(**model);
  return 0;
}
