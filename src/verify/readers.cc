#include "verify/readers.h"

#include <algorithm>

#include "verify/facts.h"

namespace awq::verify {
namespace {

const std::vector<std::string_view> kAllTypes = {"llama", "mistral", "qwen2", "qwen3"};
const std::vector<std::size_t> kMarlinGroups = {0, 32, 64, 128};
const std::vector<std::string_view> kAwqKeys = {"/bits|/w_bit", "/group_size|/q_group_size",
                                                "/zero_point"};
const std::vector<std::string_view> kGptqKeys = {"/bits", "/group_size", "/desc_act", "/sym"};

Reader Vllm() {
  const Terms gptq = {.format = "gptq",
                      .symmetric_bits = {4, 8},
                      .group_sizes = kMarlinGroups,
                      .keys = kGptqKeys,
                      .alike = Alike::kQkvAndGateUp};
  Terms gptq_v2 = gptq;  // zero points are not read: all are the middle
  gptq_v2.format = "gptq-v2";
  return {.name = "vllm",
          .version = "0.33.0",
          .model_types = kAllTypes,
          .wants_architectures = true,
          .terms = {{.format = kPlain},
                    {.format = "awq-gemm",
                     .symmetric_bits = {4},
                     .asymmetric_bits = {4},
                     .group_sizes = kMarlinGroups,
                     .keys = kAwqKeys,
                     .alike = Alike::kQkvAndGateUp,
                     .whole_rows_split = false},
                    gptq,
                    gptq_v2,
                    {.format = "compressed-tensors",
                     .symmetric_bits = {2, 3, 4, 5, 6, 7, 8},
                     .asymmetric_bits = {2, 3, 4, 5, 6, 7, 8},
                     .alike = Alike::kQkvAndGateUp}}};
}

// As marlin's, or by kernels that know no bfloat16; whole rows only where marlin's tiles fit.
std::vector<Terms> SglangAwq() {
  const Terms marlin = {.format = "awq-gemm",
                        .asymmetric_bits = {4},
                        .group_sizes = {32, 64, 128},
                        .keys = {"/bits", "/group_size", "/zero_point"},
                        .names = Names::kFused,
                        .alike = Alike::kQkvAndGateUp};
  Terms whole_rows = marlin;
  whole_rows.group_sizes = {0};
  whole_rows.tile = Tile::k64x128;
  whole_rows.whole_rows_split = false;
  Terms plain = marlin;
  plain.symmetric_bits = {4};
  plain.group_sizes = {16, 32, 64, 128, 256, 512, 1024};
  plain.keys = kAwqKeys;
  plain.not_bfloat16 = true;
  return {marlin, plain, whole_rows};
}

Reader Sglang() {
  const Terms gptq = {.format = "gptq",
                      .symmetric_bits = {4, 8},
                      .group_sizes = kMarlinGroups,
                      .keys = kGptqKeys,
                      .names = Names::kFused,
                      .alike = Alike::kQkvAndGateUp,
                      .tile = Tile::k64x128Or128x64,
                      .act_order = true};
  Terms gptq_v2 = gptq;  // as with vLLM
  gptq_v2.format = "gptq-v2";
  Reader reader = {.name = "sglang",
                   .version = "0.5.23",
                   .model_types = kAllTypes,
                   .wants_architectures = true,
                   .terms = SglangAwq()};
  reader.terms.insert(
      reader.terms.end(),
      {{.format = kPlain},
       gptq,
       gptq_v2,
       {.format = "compressed-tensors",
        .symmetric_bits = {4, 8},
        .asymmetric_bits = {4},
        .group_sizes = kMarlinGroups,
        .alike = Alike::kQkvAndGateUp,
        .tile = Tile::k64x128Or128x64,
        .act_order = true},
       {.format = kGguf,
        .remark =
            "--load-format gguf, the package gguf; a llama may be misread (docs/verify.md)"}});
  return reader;
}

Reader Lmdeploy() {
  return {.name = "lmdeploy",
          .version = "0.16.0, TurboMind",
          .model_types = {"llama", "qwen2", "qwen3"},
          .wants_architectures = true,
          .head_dims = {64, 128, 192, 256},
          .splits_hidden = true,
          .pads_intermediate = true,
          .terms = {{.format = kPlain},
                    {.format = "awq-gemm",
                     .symmetric_bits = {4},
                     .asymmetric_bits = {4},
                     .group_sizes = {128},
                     .keys = {"/version"},
                     .alike = Alike::kGateUp,
                     .remark = "computes in float16"},
                    {.format = "gptq",
                     .symmetric_bits = {4},
                     .group_sizes = {128},
                     .alike = Alike::kQkvAndGateUp,
                     .remark = "computes in float16"},
                    {.format = "compressed-tensors",
                     .symmetric_bits = {4},
                     .asymmetric_bits = {4},
                     .group_sizes = {32, 128},
                     .keys = {"/config_groups/group_0/format"},
                     .alike = Alike::kGateUp,
                     .one_spec = true,
                     .remark = "computes in float16"}}};
}

Reader Transformers() {
  constexpr std::string_view kAwqRemark = "needs the packages gptqmodel and accelerate";
  const Terms gemm = {.format = "awq-gemm",
                      .symmetric_bits = {4},
                      .asymmetric_bits = {4},
                      .group_sizes = {0, 16, 32, 64, 128},
                      .names = Names::kTransformers,
                      .remark = kAwqRemark};
  Terms gemv = gemm;
  gemv.format = "awq-gemv";
  gemv.group_sizes = {0, 64, 128};
  gemv.out_multiple = 64;
  Terms gemv_fast = gemm;
  gemv_fast.format = "awq-gemv-fast";
  Terms llm_awq = gemv_fast;
  llm_awq.format = "llm-awq";
  // Of the first version, zero points are read only from files that name GPTQModel as their writer.
  const Terms gptq = {.format = "gptq",
                      .symmetric_bits = {2, 3, 4, 8},
                      .group_sizes = {0, 16, 32, 64, 128, 256, 512, 1024},
                      .names = Names::kOptimum,
                      .act_order = true,
                      .remark = "needs the packages optimum and gptqmodel"};
  Terms gptq_v2 = gptq;
  gptq_v2.format = "gptq-v2";
  gptq_v2.asymmetric_bits = gptq.symmetric_bits;
  return {.name = "transformers",
          .version = "5.23.0",
          .model_types = kAllTypes,
          .ranks = Ranks::kOne,
          .terms = {{.format = kPlain},
                    gemm,
                    gemv,
                    gemv_fast,
                    llm_awq,
                    gptq,
                    gptq_v2,
                    {.format = "compressed-tensors",
                     .symmetric_bits = {2, 3, 4, 5, 6, 7, 8},
                     .asymmetric_bits = {2, 3, 4, 5, 6, 7, 8},
                     .act_order = true,
                     .remark = "needs the package compressed-tensors"},
                    {.format = kGguf,
                     .remark = "from_pretrained(..., gguf_file=...), and the package gguf; becomes "
                               "floats"}}};
}

Reader LlamaCpp() {
  return {.name = "llama.cpp",
          .version = "of llama-cpp-python 0.3.36",
          .model_types = kAllTypes,
          .ranks = Ranks::kAny,
          .terms = {{.format = kGguf}}};
}

}  // namespace

std::span<const Reader> Readers() {
  static const std::vector<Reader> readers = {Vllm(), Sglang(), Lmdeploy(), Transformers(),
                                              LlamaCpp()};
  return readers;
}

const Reader* FindReader(std::string_view name) {
  const auto found = std::ranges::find(Readers(), name, &Reader::name);
  return found == Readers().end() ? nullptr : &*found;
}

}  // namespace awq::verify
