// consumer WEIGHTS TOKENIZER: what a user of the library may do with two model directories.
#include <awq/awq.h>
#include <awq/version.h>

#include <cstdio>

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  const auto model = awq::Inspect({.model = argv[1]});
  if (!model.ok()) {
    std::fprintf(stderr, "%s\n", model.error().message.c_str());
    return 1;
  }
  const auto ids = awq::Tokenize({.directory = argv[2], .text = "Once upon a time"});
  if (!ids.ok()) {
    std::fprintf(stderr, "%s\n", ids.error().message.c_str());
    return 1;
  }
  std::printf("awq %s: %s, %zu layers, %zu linears, %zu tokens\n", awq::kVersion,
              model->model_type.c_str(), model->layers, model->linears.size(), ids->size());
  const bool missing = awq::Inspect({.model = "/nonexistent"}).ok();
  return model->layers == 2 && !ids->empty() && !missing ? 0 : 1;
}
