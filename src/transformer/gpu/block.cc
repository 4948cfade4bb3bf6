#include "transformer/gpu/block.h"

#include <algorithm>

#include "base/error.h"
#include "transformer/block.h"

namespace awq::transformer::gpu {

std::size_t Block::bytes() const {
  return attention.bytes() + o.bytes() + mlp.bytes() + down.bytes();
}

std::size_t Block::weights() const {
  return attention.weights() + o.weights() + mlp.weights() + down.weights();
}

const Linear& Block::linear(Role first) const {
  switch (first) {
    case Role::kQ:
      return attention;
    case Role::kO:
      return o;
    case Role::kGate:
      return mlp;
    default:
      AWQ_CHECK(first == Role::kDown);
      return down;
  }
}

Status CheckConfig(const model::ModelConfig& config) {
  const auto refuse = [](const char* what, std::size_t value) {
    return MakeError(ErrorCode::kUnsupported,
                     "{} of {}: the GPU's kernels take multiples of 8; leave --device out for "
                     "the CPU",
                     what, value);
  };
  if (config.hidden_size % 8 != 0) return refuse("hidden_size", config.hidden_size);
  if (config.intermediate_size % 8 != 0)
    return refuse("intermediate_size", config.intermediate_size);
  if (config.head_dim % 8 != 0) return refuse("head_dim", config.head_dim);
  if (config.head_dim <= 256) return {};
  return MakeError(ErrorCode::kUnsupported, "head_dim of {}: the GPU's kernels take up to 256",
                   config.head_dim);
}

Block EmptyBlock(const model::ModelConfig& config) {
  const auto make = [](std::initializer_list<std::size_t> outputs, std::size_t inputs) {
    return Linear::OfParts(outputs, inputs, cuda::Float::kBfloat16);
  };
  Block block;
  block.attention =
      make({config.q_width(), config.kv_width(), config.kv_width()}, config.hidden_size);
  block.o = make({config.hidden_size}, config.q_width());
  block.mlp = make({config.intermediate_size, config.intermediate_size}, config.hidden_size);
  block.down = make({config.hidden_size}, config.intermediate_size);
  return block;
}

Block::Place Block::PlaceOf(Role role) {
  switch (role) {
    case Role::kQ:
      return {&attention, 0};
    case Role::kK:
      return {&attention, 1};
    case Role::kV:
      return {&attention, 2};
    case Role::kO:
      return {&o, 0};
    case Role::kGate:
      return {&mlp, 0};
    case Role::kUp:
      return {&mlp, 1};
    default:
      AWQ_CHECK(role == Role::kDown);
      return {&down, 0};
  }
}

Status Block::SetLinear(Context& context, Role role, const kernels::Linear& linear) {
  const MatrixView<const BF16> weights = linear.bf16();
  AWQ_CHECK_EQ(weights.stride, weights.cols);
  SetBias(context, role, linear.bias());
  const Place place = PlaceOf(role);
  return place.linear->SetPart(context, place.part,
                               std::as_bytes(std::span(weights.data, weights.rows * weights.cols)));
}

Result<bool> Block::SetCodes(Context& context, ThreadPool& pool, Role role,
                             const quant::QuantizedLinear& codes) {
  const Place place = PlaceOf(role);
  return place.linear->SetPart(context, pool, place.part, codes);
}

void Block::SetBias(Context& context, Role role, std::span<const float> bias) {
  if (!bias.empty()) biases[static_cast<std::size_t>(role)] = Uploaded(context, bias);
}

Status Block::SetNorm(Context& context, Role role, std::span<const float> norm) {
  norms[static_cast<std::size_t>(role)] = Uploaded(context, norm);
  return context.status();
}

Result<Block> Prepare(Context& context, ThreadPool& pool, const model::BlockWeights& weights,
                      cuda::Float type) {
  const auto make = [&](std::initializer_list<Role> roles) {
    std::vector<const model::Linear*> linears;
    for (const Role role : roles) linears.push_back(&weights.linear(role));
    return Linear::FromModel(context, pool, linears, type);
  };
  Block block;
  AWQ_ASSIGN(block.attention, make({Role::kQ, Role::kK, Role::kV}));
  AWQ_ASSIGN(block.o, make({Role::kO}));
  AWQ_ASSIGN(block.mlp, make({Role::kGate, Role::kUp}));
  AWQ_ASSIGN(block.down, make({Role::kDown}));
  const auto upload = [&](const TensorView& tensor) {
    return Uploaded(context, std::span<const float>(ToFloats(tensor)));
  };
  for (std::size_t role = 0; role < model::kRoles; ++role) {
    if (weights.norms[role]) block.norms[role] = upload(*weights.norms[role]);
    const auto& linear = weights.linears[role];
    if (linear && linear->bias) block.biases[role] = upload(*linear->bias);
  }
  AWQ_TRY(context.status());
  return block;
}

Steps::Steps(Context& context, const model::ModelConfig& config, Rope rope, cuda::Element type)
    : context_(context), config_(config), rope_(rope), type_(type) {}

void Steps::Begin(const Batch& batch, const KvCache& cache, float* hidden) {
  const std::size_t shared = config_.num_attention_heads / config_.num_key_value_heads;
  batch_.Place(context_, batch, cache, shared);
  const auto* const pages = dynamic_cast<const Pages*>(cache.store());
  AWQ_CHECK(pages != nullptr);
  cache_ = pages->view();
  cache_.tables = batch_.tables();
  cache_.table_pages = batch_.table_pages();
  hidden_ = hidden != nullptr
                ? hidden
                : hidden_memory_.Take<float>(context_, tokens() * config_.hidden_size);
  added_ = nullptr;
  added_bias_ = nullptr;
}

void Steps::Run(const Block& block, std::size_t layer, std::size_t cache_layer) {
  block_ = &block;
  layer_ = layer;
  cache_layer_ = cache_layer;
  RunBlock(*this);
}

const void* Steps::MakeInput(const Block& block, std::size_t layer, Role reader) {
  block_ = &block;
  layer_ = layer;
  cache_layer_ = 0;
  transformer::MakeInput(*this, reader);
  return input_memory_.data();
}

void Steps::AddOutputOf(Role reader) {
  AddOutput(reader);
  AddAndNorm(nullptr);
}

const void* Steps::Finish(const float* norm) { return AddAndNorm(norm); }

// One piece of memory for whatever linears read next: the widest of them fits.
cuda::Activations Steps::Input(std::size_t width) {
  const std::size_t widest =
      std::max({config_.hidden_size, config_.q_width(), config_.intermediate_size});
  AWQ_CHECK_LE(width, widest);
  return {input_memory_.Take<std::uint16_t>(context_, tokens() * widest), type_};
}

const void* Steps::AddAndNorm(const float* norm) {
  cuda::NormTask task;
  task.hidden = hidden_;
  task.added = added_;
  task.bias = added_bias_;
  task.weight = norm;
  task.eps = static_cast<float>(config_.rms_norm_eps);
  task.width = static_cast<int>(config_.hidden_size);
  task.tokens = static_cast<int>(tokens());
  task.out = norm != nullptr ? Input(config_.hidden_size) : cuda::Activations{nullptr, type_};
  context_.Do([&] { return cuda::AddNorm(task, context_.stream()); });
  added_ = nullptr;
  added_bias_ = nullptr;
  return task.out.data;
}

void Steps::Normalize(Role norm) { AddAndNorm(block_->norm(norm)); }

void Steps::Multiply(std::span<const Role> readers) {
  const Linear& linear = block_->linear(readers.front());
  products_ = products_memory_.Take<float>(context_, tokens() * linear.outputs());
  linear.Apply(context_, input_memory_.data(), tokens(), products_);
}

void Steps::RotateAndStore() {
  cuda::RopeTask task;
  task.queries = products_;
  task.keys = products_ + config_.q_width();
  task.values = task.keys + config_.kv_width();
  task.stride = static_cast<std::int64_t>(block_->attention.outputs());
  task.query_bias = block_->bias(Role::kQ);
  task.key_bias = block_->bias(Role::kK);
  task.value_bias = block_->bias(Role::kV);
  task.query_norm = block_->norm(Role::kQNorm);
  task.key_norm = block_->norm(Role::kKNorm);
  task.eps = static_cast<float>(config_.rms_norm_eps);
  task.cosines = rope_.cosines;
  task.sines = rope_.sines;
  task.at = batch_.at();
  task.tokens = static_cast<int>(tokens());
  task.heads = static_cast<int>(config_.num_attention_heads);
  task.layer = static_cast<int>(cache_layer_);
  task.cache = cache_;
  context_.Do([&] { return cuda::RopeAndStore(task, context_.stream()); });
}

void Steps::Attend() {
  const auto stride = static_cast<std::int64_t>(block_->attention.outputs());
  const auto heads = static_cast<int>(config_.num_attention_heads);
  const auto layer = static_cast<int>(cache_layer_);
  const auto window = static_cast<int>(config_.sliding_window[layer_]);
  const cuda::Activations out = Input(config_.q_width());
  if (batch_.decoded() > 0) {
    cuda::DecodeTask task;
    task.queries = products_;
    task.stride = stride;
    task.at = batch_.at();
    task.rows = batch_.decoded_rows();
    task.tokens = batch_.decoded();
    task.heads = heads;
    task.layer = layer;
    task.window = window;
    task.most_keys = batch_.most_keys();
    task.cache = cache_;
    task.parts = parts_memory_.Take<float>(context_, cuda::DecodeParts(task));
    task.out = out;
    context_.Do([&] { return cuda::AttendDecode(task, context_.stream()); });
  }
  if (batch_.tile_count() > 0) {
    const cuda::PrefillTask task{
        products_, stride, batch_.tiles(), batch_.tile_count(), heads, layer, window, cache_, out};
    context_.Do([&] { return cuda::AttendPrefill(task, context_.stream()); });
  }
}

void Steps::Gate() {
  cuda::GateTask task;
  task.gate = products_;
  task.up = products_ + config_.intermediate_size;
  task.stride = static_cast<std::int64_t>(block_->mlp.outputs());
  task.gate_bias = block_->bias(Role::kGate);
  task.up_bias = block_->bias(Role::kUp);
  task.tokens = static_cast<int>(tokens());
  task.width = static_cast<int>(config_.intermediate_size);
  task.out = Input(config_.intermediate_size);
  context_.Do([&] { return cuda::Gate(task, context_.stream()); });
}

void Steps::AddOutput(Role reader) {
  float* const added = added_memory_.Take<float>(context_, tokens() * config_.hidden_size);
  block_->linear(reader).Apply(context_, input_memory_.data(), tokens(), added);
  added_ = added;
  added_bias_ = block_->bias(reader);
}

}  // namespace awq::transformer::gpu
