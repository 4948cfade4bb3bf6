// What other programs take: a row a program and format, as read in their sources (docs/verify.md).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace awq::verify {

// How a program knows which linears are left in 16 bits.
enum class Names : std::uint8_t {
  kOurs,          // as this program does; of a fused linear, its parts' names are looked up
  kFused,         // likewise, but a fused linear is looked up by its own name, "qkv_proj"
  kTransformers,  // by the beginning of a name, up to a dot, or by its end
  kOptimum,       // by modules_in_block_to_quantize alone
};

// Linears that a program computes as one must be quantized alike.
enum class Alike : std::uint8_t { kNothing, kGateUp, kQkvAndGateUp };

// What the output and input features that a rank has of a (fused) linear must be multiples of.
enum class Tile : std::uint8_t {
  kAny,
  k64x128,          // 64 and 128
  k64x128Or128x64,  // or 128 and 64
};

// On what terms a program takes a format.
struct Terms {
  std::string_view format;  // of pack::Formats(), kGguf or kPlain
  std::vector<int> symmetric_bits = {};
  std::vector<int> asymmetric_bits = {};
  std::vector<std::size_t> group_sizes = {};  // 0: whole rows; empty: all
  // What quantization_config must have, as JSON pointers; '|' stands between alternatives.
  std::vector<std::string_view> keys = {};
  Names names = Names::kOurs;
  Alike alike = Alike::kNothing;
  Tile tile = Tile::kAny;
  std::size_t out_multiple = 1;  // of the output features of every quantized linear
  bool act_order = false;        // input features may choose their group
  bool whole_rows_split = true;  // ranks may share rows that are one group
  bool one_spec = false;         // every quantized linear has the same bits and groups
  bool not_bfloat16 = false;     // the dtype of config.json
  std::string_view remark = "";  // for people
};

enum class Ranks : std::uint8_t { kTensorParallel, kOne, kAny };

struct Reader {
  std::string_view name;     // "vllm"
  std::string_view version;  // whose sources were read
  std::vector<std::string_view> model_types;
  bool wants_architectures = false;         // the member of config.json
  std::vector<std::size_t> head_dims = {};  // empty: all
  Ranks ranks = Ranks::kTensorParallel;
  bool splits_hidden = false;      // ranks share the embedding's columns
  bool pads_intermediate = false;  // by itself, in steps of the group size and of 32
  std::vector<Terms> terms;  // of those of one format, one must be met; of equals the last is told
};

std::span<const Reader> Readers();
const Reader* FindReader(std::string_view name);  // nullptr if there is none

}  // namespace awq::verify
