// How ranks share the linears of a layer: attention by heads, the rest by columns and rows.
#include <algorithm>
#include <array>
#include <numeric>

#include "base/error.h"
#include "verify/terms.h"

namespace awq::verify {
namespace {

using model::Role;

constexpr std::size_t kWordBits = 32;
constexpr std::size_t kPaddingStep = 32;  // of Reader::pads_intermediate

struct Features {
  std::size_t out = 0;
  std::size_t in = 0;
};

class Sharing {
 public:
  Sharing(const Reader& reader, const Terms& terms, const ModelFacts& facts, std::size_t ranks)
      : reader_(reader), terms_(terms), facts_(facts), ranks_(ranks) {}

  std::vector<Finding> Go() {
    CheckHeads();
    CheckIntermediate();
    if (!findings_.empty()) return std::move(findings_);  // the shares would be no whole numbers
    std::array<bool, model::kRoles> seen = {};
    for (const LinearFacts& linear : facts_.linears) {
      bool& known = seen[static_cast<std::size_t>(linear.role)];
      if (known) continue;
      const std::size_t before = findings_.size();
      CheckLinear(linear);
      known = findings_.size() > before;  // the same in the next layer is no news
    }
    return std::move(findings_);
  }

 private:
  void Add(std::string where, std::string expects, std::string found) {
    findings_.push_back({std::move(where), std::move(expects), std::move(found), ""});
  }

  void CheckHeads() {
    const model::ModelConfig& config = facts_.config;
    if (config.num_attention_heads % ranks_ != 0) {
      Add("num_attention_heads", "a multiple of the ranks",
          std::to_string(config.num_attention_heads));
    }
    const std::size_t kv = config.num_key_value_heads;
    if (kv % ranks_ != 0 && ranks_ % kv != 0) {
      Add("num_key_value_heads", "a multiple or a divisor of the ranks", std::to_string(kv));
    }
    if (reader_.splits_hidden && config.hidden_size % ranks_ != 0) {
      Add("hidden_size", "a multiple of the ranks", std::to_string(config.hidden_size));
    }
  }

  std::size_t GroupOfDown() const {
    for (const LinearFacts& linear : facts_.linears) {
      if (linear.role == Role::kDown && linear.spec) return linear.form().group_size();
    }
    return 1;
  }

  void CheckIntermediate() {
    const std::size_t size = facts_.config.intermediate_size;
    intermediate_ = size;
    if (reader_.pads_intermediate && ranks_ > 1) {
      const std::size_t step = std::lcm(GroupOfDown(), kPaddingStep);
      if (size % step == 0) {
        intermediate_ = (size / step + ranks_ - 1) / ranks_ * ranks_ * step;
        return;
      }
    }
    if (size % ranks_ != 0) {
      Add("intermediate_size", "a multiple of the ranks", std::to_string(size));
    }
  }

  // Of each rank; key and value heads below the number of ranks are repeated.
  Features Share(const LinearFacts& linear) const {
    const model::ModelConfig& config = facts_.config;
    Features share{linear.out_features, linear.in_features};
    switch (linear.role) {
      case Role::kQ:
        share.out = config.num_attention_heads / ranks_ * config.head_dim;
        break;
      case Role::kK:
      case Role::kV:
        share.out = std::max<std::size_t>(1, config.num_key_value_heads / ranks_) * config.head_dim;
        break;
      case Role::kGate:
      case Role::kUp:
        share.out = intermediate_ / ranks_;
        break;
      case Role::kO:
        share.in /= ranks_;
        break;
      case Role::kDown:
        share.in = intermediate_ / ranks_;
        break;
      default:
        break;
    }
    return share;
  }

  // Of the linear that the reader makes of it and its neighbours.
  std::size_t FusedOut(const LinearFacts& linear, const Features& share) const {
    const std::size_t dim = facts_.config.head_dim;
    const std::size_t kv = std::max<std::size_t>(1, facts_.config.num_key_value_heads / ranks_);
    if (linear.role == Role::kQ) return share.out + 2 * kv * dim;
    return linear.role == Role::kGate ? 2 * share.out : share.out;
  }

  void CheckLinear(const LinearFacts& linear) {
    const Features share = Share(linear);
    if (linear.block_elements > 1 && share.in % linear.block_elements != 0) {
      Add(linear.module, fmt::format("inputs a rank: a multiple of {}", linear.block_elements),
          std::to_string(share.in));
    }
    if (!linear.spec) return;
    CheckGroups(linear, share);
    CheckWords(linear, share);
    CheckTile(linear, share);
  }

  void CheckGroups(const LinearFacts& linear, const Features& share) {
    const std::size_t group = linear.form().group_size();
    const bool whole_row = linear.spec->group_size == 0;
    if (share.in % group == 0 || (whole_row && terms_.whole_rows_split)) return;
    Add(linear.module,
        whole_row ? "rows that are one group on one rank"
                  : fmt::format("inputs a rank: a multiple of the group size {}", group),
        std::to_string(share.in));
  }

  // Codes, and zero points, of several features share a word.
  void CheckWords(const LinearFacts& linear, const Features& share) {
    const auto is_whole = [&](std::size_t count) {
      return count * static_cast<std::size_t>(linear.spec->bits) % kWordBits == 0;
    };
    const bool is_awq = facts_.format == "awq-gemm";
    const bool is_gptq = facts_.format == "gptq" || facts_.format == "gptq-v2";
    const bool is_ct = facts_.format == "compressed-tensors";
    if ((is_awq || is_gptq || (is_ct && !linear.spec->symmetric)) && ranks_ > 1 &&
        !is_whole(share.out)) {
      Add(linear.module, "outputs a rank that fill whole words", std::to_string(share.out));
    }
    if ((is_gptq || is_ct) && ranks_ > 1 && !is_whole(share.in)) {
      Add(linear.module, "inputs a rank that fill whole words", std::to_string(share.in));
    }
  }

  void CheckTile(const LinearFacts& linear, const Features& share) {
    const bool is_later_part =
        linear.role == Role::kK || linear.role == Role::kV || linear.role == Role::kUp;
    if (terms_.tile == Tile::kAny || is_later_part) return;
    const std::size_t out = FusedOut(linear, share);
    const bool fits =
        (out % 64 == 0 && share.in % 128 == 0) ||
        (terms_.tile == Tile::k64x128Or128x64 && out % 128 == 0 && share.in % 64 == 0);
    if (fits) return;
    Add(linear.module,
        terms_.tile == Tile::k64x128
            ? "outputs and inputs a rank: multiples of 64 and 128"
            : "outputs and inputs a rank: multiples of 64 and 128, or 128 and 64",
        fmt::format("{} and {}", out, share.in));
  }

  const Reader& reader_;
  const Terms& terms_;
  const ModelFacts& facts_;
  std::size_t ranks_;
  std::size_t intermediate_ = 0;  // with the reader's own padding
  std::vector<Finding> findings_;
};

}  // namespace

std::vector<Finding> CheckShares(const Reader& reader, const Terms& terms, const ModelFacts& facts,
                                 std::size_t ranks) {
  return Sharing(reader, terms, facts, ranks).Go();
}

}  // namespace awq::verify
