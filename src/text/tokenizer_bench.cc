// Encoding of WikiText-2 in MB/s of text, on one thread.
#include <benchmark/benchmark.h>

#include <string>

#include "io/file.h"
#include "testing/paths.h"
#include "text/tokenizer.h"

namespace awq::text {
namespace {

void Encode(benchmark::State& state, const std::string& name) {
  const auto data = testing::DataDir();
  const auto tokenizer = Tokenizer::Load(data / "tokenizers" / name);
  const auto text = io::ReadFile(data / "text" / "wikitext2_test.txt");
  if (!tokenizer.ok() || !text.ok()) {
    state.SkipWithError("needs the shared data; point AWQ_TEST_DATA at it");
    return;
  }
  for (auto _ : state) {
    benchmark::DoNotOptimize((*tokenizer)->Encode(*text, true));
  }
  state.SetBytesProcessed(static_cast<std::int64_t>(text->size()) * state.iterations());
}

BENCHMARK_CAPTURE(Encode, gpt2, "gpt2");
BENCHMARK_CAPTURE(Encode, llama2, "llama2");
BENCHMARK_CAPTURE(Encode, mistral, "mistral");
BENCHMARK_CAPTURE(Encode, qwen2_5, "qwen2_5");
BENCHMARK_CAPTURE(Encode, smollm2, "smollm2");

}  // namespace
}  // namespace awq::text

BENCHMARK_MAIN();
