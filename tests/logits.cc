// awq_logits MODEL IDS OUT: the logits of one sequence in fp32, for tools/interop/check.
//
// IDS holds the sequence's token ids as decimal numbers between blanks. OUT gets [tokens,
// vocabulary] 32-bit floats, in the machine's order of bytes.
#include <cstdio>
#include <sstream>
#include <string>
#include <vector>

#include "base/error.h"
#include "checkpoint/stored_model.h"
#include "io/file.h"
#include "transformer/network.h"

namespace awq {
namespace {

constexpr std::size_t kMaxBytes = std::size_t{1} << 20;

Result<std::vector<std::int32_t>> ReadIds(const char* path) {
  AWQ_ASSIGN(const std::string text, io::ReadFile(path, kMaxBytes));
  std::vector<std::int32_t> ids;
  std::istringstream in(text);
  for (std::int32_t id = 0; in >> id;) ids.push_back(id);
  if (in.eof() && !ids.empty()) return ids;
  return MakeError(ErrorCode::kInvalidArgument,
                   "{}: expected token ids between blanks, found something else after {} of them",
                   path, ids.size());
}

Status Run(const char* model_path, const char* ids_path, const char* out_path) {
  AWQ_ASSIGN(const auto model, checkpoint::OpenModel(model_path));
  AWQ_ASSIGN(const std::vector<std::int32_t> ids, ReadIds(ids_path));
  const model::ModelConfig& config = model->config();
  constexpr auto kF32 = kernels::Precision::kF32;
  ThreadPool pool;
  AWQ_ASSIGN(const auto network,
             transformer::Network::Create(pool, *model, {kF32, ids.size(), SIZE_MAX}));
  transformer::KvCache cache(config, kF32, {config.num_hidden_layers, 1, ids.size()});
  Matrix<float> hidden(ids.size(), config.hidden_size);
  AWQ_TRY(network->Embed(ids, hidden.view()));
  AWQ_TRY(network->RunBlocks({{ids.size(), 0, 0}}, cache, hidden));
  Matrix<float> logits(ids.size(), config.vocab_size);
  AWQ_TRY(network->Logits(hidden.view(), logits));
  return io::WriteFileAtomically(out_path, {reinterpret_cast<const char*>(logits.row(0)),
                                            logits.rows() * logits.cols() * sizeof(float)});
}

}  // namespace
}  // namespace awq

int main(int argc, char** argv) {
  if (argc != 4) {
    std::fputs("awq_logits MODEL IDS OUT\n", stderr);
    return 2;
  }
  const awq::Status status = awq::Run(argv[1], argv[2], argv[3]);
  if (!status) std::fprintf(stderr, "%s\n", status.error().message.c_str());
  return status ? 0 : 1;
}
