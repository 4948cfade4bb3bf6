#include "checkpoint/gguf_config.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "checkpoint/gguf_names.h"
#include "model/rope_scaling.h"

namespace awq::checkpoint {
namespace {

using nlohmann::json;

// What the Llama 3 models that use the rule have in their config.json; rope_freqs.weight holds only
// what comes out of it.
constexpr double kLowFactor = 1;
constexpr double kHighFactor = 4;
constexpr std::size_t kOriginalContext = 8192;
// rope_freqs.weight is in fp32, and other writers compute it in fp32.
constexpr float kFactorTolerance = 1e-5F;

// 1e-05 for what a file holds as the float 0.00000999999974...
double Shortest(double value) {
  return std::strtod(fmt::format("{}", static_cast<float>(value)).c_str(), nullptr);
}

std::vector<float> FactorsOf(double theta, std::size_t head_dim,
                             const model::RopeScaling& scaling) {
  std::vector<float> factors;
  for (std::size_t pair = 0; pair < head_dim / 2; ++pair) {
    const double exponent = 2 * static_cast<double>(pair) / static_cast<double>(head_dim);
    const double frequency = std::pow(theta, -exponent);
    factors.push_back(static_cast<float>(frequency / model::ScaledFrequency(scaling, frequency)));
  }
  return factors;
}

class ConfigReader {
 public:
  explicit ConfigReader(const io::GgufFile& file) : file_(file), metadata_(file.metadata()) {}

  Result<json> Read() {
    AWQ_TRY(CheckKind());
    AWQ_TRY(ReadSizes());
    AWQ_TRY(ReadRope());
    AWQ_TRY(ReadTokens());
    config_["hidden_act"] = "silu";
    config_["torch_dtype"] = "float16";
    config_["tie_word_embeddings"] = Find(kGgufHead) == nullptr;
    if (arch_->name != "qwen2") {
      config_["attention_bias"] = Find(GgufName(0, model::Role::kQ, "bias")) != nullptr;
    }
    if (arch_->name == "llama") {
      config_["mlp_bias"] = Find(GgufName(0, model::Role::kGate, "bias")) != nullptr;
    }
    return std::move(config_);
  }

 private:
  const io::GgufTensor* Find(std::string_view name) const {
    const auto found =
        std::find_if(file_.tensors().begin(), file_.tensors().end(),
                     [&](const io::GgufTensor& tensor) { return tensor.name == name; });
    return found == file_.tensors().end() ? nullptr : &*found;
  }

  std::string Key(std::string_view name) const { return fmt::format("{}.{}", arch_->name, name); }

  Error Unsupported(std::string_view what) const {
    return MakeError(ErrorCode::kUnsupported, "{}: {}", metadata_.file, what);
  }

  Status CheckKind() {
    AWQ_ASSIGN(const auto parts, metadata_.Size("split.count"));
    if (parts.value_or(1) > 1) {
      return Unsupported(fmt::format(
          "one of {} files of a model; join them with: llama-gguf-split --merge", *parts));
    }
    AWQ_ASSIGN(const std::string_view name, metadata_.RequireString("general.architecture"));
    arch_ = FindGgufArch(name);
    if (arch_ == nullptr) {
      std::string known;
      for (const GgufArch& each : kGgufArchitectures) {
        known += known.empty() ? "" : ", ";
        known += each.name;
      }
      return Unsupported(fmt::format("the architecture {} is not supported ({} are)", name, known));
    }
    AWQ_ASSIGN(const auto experts, metadata_.Size(Key("expert_count")));
    if (experts.value_or(0) > 0) {
      return Unsupported(
          fmt::format("{} experts; mixtures of experts are not supported", *experts));
    }
    config_["model_type"] = arch_->model_type;
    config_["architectures"] = {arch_->class_name};
    return {};
  }

  Status ReadSizes() {
    const io::GgufTensor* embedding = Find(kGgufEmbedding);
    if (embedding == nullptr || embedding->shape.size() != 2) {
      return MakeError(ErrorCode::kNotFound, "{}: there is no tensor {} of two dimensions",
                       metadata_.file, kGgufEmbedding);
    }
    config_["vocab_size"] = embedding->shape[0];
    AWQ_ASSIGN(const std::size_t hidden, metadata_.RequireSize(Key("embedding_length")));
    AWQ_ASSIGN(const std::size_t heads, metadata_.RequireSize(Key("attention.head_count")));
    config_["hidden_size"] = hidden;
    config_["num_attention_heads"] = heads;
    AWQ_ASSIGN(config_["intermediate_size"], metadata_.RequireSize(Key("feed_forward_length")));
    AWQ_ASSIGN(config_["num_hidden_layers"], metadata_.RequireSize(Key("block_count")));
    AWQ_ASSIGN(config_["max_position_embeddings"], metadata_.RequireSize(Key("context_length")));
    AWQ_ASSIGN(const auto kv_heads, metadata_.Size(Key("attention.head_count_kv")));
    config_["num_key_value_heads"] = kv_heads.value_or(heads);
    AWQ_ASSIGN(const auto eps, metadata_.Number(Key("attention.layer_norm_rms_epsilon")));
    if (!eps) {
      return MakeError(ErrorCode::kNotFound, "{}: the key {} is missing", metadata_.file,
                       Key("attention.layer_norm_rms_epsilon"));
    }
    config_["rms_norm_eps"] = Shortest(*eps);
    return ReadHeadDim(hidden, heads);
  }

  // Keys, values and the rotation have the same dimension in all that we run.
  Status ReadHeadDim(std::size_t hidden, std::size_t heads) {
    head_dim_ = heads > 0 ? hidden / heads : 0;
    AWQ_ASSIGN(const auto stated, metadata_.Size(Key("attention.key_length")));
    if (stated) head_dim_ = *stated;
    for (const char* name : {"attention.value_length", "rope.dimension_count"}) {
      AWQ_ASSIGN(const auto other, metadata_.Size(Key(name)));
      if (other.value_or(head_dim_) != head_dim_) {
        return Unsupported(
            fmt::format("{} is {}, but heads have {} dimensions", Key(name), *other, head_dim_));
      }
    }
    // Without the key config.json's rule is the same, and says what is wrong with the sizes.
    if (stated || (heads > 0 && hidden % heads == 0)) config_["head_dim"] = head_dim_;
    return {};
  }

  Status ReadRope() {
    AWQ_ASSIGN(const auto theta, metadata_.Number(Key("rope.freq_base")));
    theta_ = Shortest(theta.value_or(10000));
    config_["rope_theta"] = theta_;
    AWQ_ASSIGN(const auto type, metadata_.String(Key("rope.scaling.type")));
    AWQ_ASSIGN(auto factor, metadata_.Number(Key("rope.scaling.factor")));
    if (!factor) {
      AWQ_ASSIGN(factor, metadata_.Number(Key("rope.scale_linear")));
    }
    const bool is_linear = type.value_or("linear") == "linear" && factor.value_or(1) != 1;
    if (type.value_or("linear") != "linear" && *type != "none") {
      return Unsupported(fmt::format("the rope scaling {} is not supported (linear is)", *type));
    }
    if (is_linear) config_["rope_scaling"] = {{"rope_type", "linear"}, {"factor", *factor}};
    const io::GgufTensor* factors = Find(kGgufRopeFactors);
    if (factors == nullptr) return {};
    if (is_linear) {
      return Unsupported(fmt::format("both a linear rope scaling and {}", kGgufRopeFactors));
    }
    return ReadFactors(*factors);
  }

  Status ReadFactors(const io::GgufTensor& tensor) {
    if (tensor.type->number != static_cast<std::uint32_t>(GgmlType::kF32) || head_dim_ < 2 ||
        tensor.size_bytes / sizeof(float) != head_dim_ / 2) {
      return MakeError(ErrorCode::kCorrupt, "{}: tensor {}: expected F32 [{}], found {} {}",
                       metadata_.file, tensor.name, head_dim_ / 2, tensor.type->name,
                       ShapeString(tensor.shape));
    }
    std::vector<float> factors(head_dim_ / 2);
    std::memcpy(factors.data(), file_.Bytes(tensor).data(), tensor.size_bytes);
    const float largest = *std::max_element(factors.begin(), factors.end());
    model::RopeScaling scaling;
    scaling.kind = model::RopeScaling::Kind::kLlama3;
    scaling.factor = Shortest(static_cast<double>(largest));
    scaling.low_freq_factor = kLowFactor;
    scaling.high_freq_factor = kHighFactor;
    scaling.original_max_position_embeddings = kOriginalContext;
    const std::vector<float> expected = FactorsOf(theta_, head_dim_, scaling);
    for (std::size_t i = 0; i < factors.size(); ++i) {
      if (std::fabs(factors[i] - expected[i]) <= kFactorTolerance * expected[i]) continue;
      return Unsupported(fmt::format(
          "{} holds {} for pair {}; of Llama 3's rule only that with low_freq_factor {}, "
          "high_freq_factor {} and {} positions is known, which gives {}",
          tensor.name, factors[i], i, kLowFactor, kHighFactor, kOriginalContext, expected[i]));
    }
    config_["rope_scaling"] = {{"rope_type", "llama3"},
                               {"factor", scaling.factor},
                               {"low_freq_factor", kLowFactor},
                               {"high_freq_factor", kHighFactor},
                               {"original_max_position_embeddings", kOriginalContext}};
    return {};
  }

  Status ReadTokens() {
    for (const char* name : {"bos_token_id", "eos_token_id"}) {
      AWQ_ASSIGN(const auto id, metadata_.Size(fmt::format("tokenizer.ggml.{}", name)));
      if (id) config_[name] = *id;
    }
    return {};
  }

  const io::GgufFile& file_;
  const io::GgufMetadata& metadata_;
  const GgufArch* arch_ = nullptr;
  std::size_t head_dim_ = 0;
  double theta_ = 0;
  json config_ = json::object();
};

}  // namespace

Result<json> ConfigFromGguf(const io::GgufFile& file) { return ConfigReader(file).Read(); }

std::vector<float> RopeFactors(const model::ModelConfig& config) {
  if (config.rope_scaling.kind != model::RopeScaling::Kind::kLlama3) return {};
  return FactorsOf(config.rope_theta, config.head_dim, config.rope_scaling);
}

Status AddConfigToGguf(const model::ModelConfig& config, io::GgufBuilder& builder) {
  const GgufArch* arch = GgufArchOf(config.model_type);
  if (arch == nullptr) {
    return MakeError(ErrorCode::kUnsupported, "GGUF: models of the type {} cannot be written",
                     config.model_type);
  }
  std::size_t context = config.max_position_embeddings;
  for (const std::size_t window : config.sliding_window) {
    if (window > 0) context = std::min(context, window);
  }
  const auto add = [&](std::string_view key, std::size_t value) {
    builder.AddU32(fmt::format("{}.{}", arch->name, key), static_cast<std::uint32_t>(value));
  };
  const auto add_float = [&](std::string_view key, double value) {
    builder.AddF32(fmt::format("{}.{}", arch->name, key), static_cast<float>(value));
  };
  builder.AddString("general.architecture", arch->name);
  builder.AddString("general.type", "model");
  add("vocab_size", config.vocab_size);
  add("context_length", context);
  add("embedding_length", config.hidden_size);
  add("block_count", config.num_hidden_layers);
  add("feed_forward_length", config.intermediate_size);
  add("attention.head_count", config.num_attention_heads);
  add("attention.head_count_kv", config.num_key_value_heads);
  add("attention.key_length", config.head_dim);
  add("attention.value_length", config.head_dim);
  add("rope.dimension_count", config.head_dim);
  add_float("attention.layer_norm_rms_epsilon", config.rms_norm_eps);
  add_float("rope.freq_base", config.rope_theta);
  if (config.rope_scaling.kind == model::RopeScaling::Kind::kLinear) {
    builder.AddString(fmt::format("{}.rope.scaling.type", arch->name), "linear");
    add_float("rope.scaling.factor", config.rope_scaling.factor);
  }
  return {};
}

}  // namespace awq::checkpoint
