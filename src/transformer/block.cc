#include "transformer/block.h"

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "base/for_rows.h"
#include "math/vector.h"

namespace awq::transformer {
namespace {

OnInput Telling(Observer* observer, const kernels::Activations& input) {
  if (observer == nullptr) return {};
  return [observer, &input](Role site) { observer->OnInput(site, input); };
}

}  // namespace

std::size_t PreparedBlock::owned_bytes() const {
  std::size_t bytes = 0;
  for (const kernels::Linear& each : linears) bytes += each.owned_bytes();
  for (const auto& each : memory) bytes += each ? each->size() : 0;
  return bytes;
}

bool PreparedBlock::owns_all() const {
  for (std::size_t role = 0; role < model::kRoles; ++role) {
    const bool is_there = linears[role].out_features() != 0;
    if (is_there && !memory[role] && linears[role].owned_bytes() == 0) return false;
  }
  return true;
}

std::vector<float> ToFloats(const TensorView& tensor) {
  std::vector<float> values(tensor.elements());
  math::Convert(tensor, std::span<float>(values));
  return values;
}

namespace {

// Those packed linears of a block that stay so: filled together, and never whole in another form.
class PanelLinears {
 public:
  bool Take(std::size_t role, const model::Linear& linear, kernels::Packed packed) {
    const model::PackedSource& source = *linear.packed;
    if (packed == kernels::Packed::kDense) return false;
    if (!kernels::Panels::CanHold(source.spec(), linear.in_features)) return false;
    roles_.push_back(role);
    rows_.push_back(
        {source.spec(),
         {linear.out_features, linear.in_features},
         source.fetched_bytes(),
         [&source](std::size_t first, std::span<std::byte> to) { return source.Fetch(first, to); },
         [&source](std::span<const std::byte> fetched, std::size_t first_row,
                   quant::QuantizedLinear& rows) {
           return source.UnpackFetched(fetched, first_row, rows);
         }});
    return true;
  }

  Status Fill(ThreadPool& pool, kernels::Precision precision, const kernels::PanelMemory& memory,
              PreparedBlock& block) const {
    AWQ_ASSIGN(std::vector<kernels::Linear> made,
               kernels::Linear::FromRows(pool, rows_, precision, memory));
    for (std::size_t i = 0; i < made.size(); ++i) block.linears[roles_[i]] = std::move(made[i]);
    return {};
  }

 private:
  std::vector<std::size_t> roles_;
  std::vector<kernels::Panels::Rows> rows_;
};

}  // namespace

Result<PreparedBlock> Prepare(ThreadPool& pool, const model::BlockWeights& weights,
                              kernels::Precision precision, kernels::Packed packed,
                              const kernels::PanelMemory& memory) {
  PreparedBlock block;
  PanelLinears panels;
  for (std::size_t role = 0; role < model::kRoles; ++role) {
    if (weights.norms[role]) block.norms[role] = ToFloats(*weights.norms[role]);
    if (!weights.linears[role]) continue;
    const model::Linear& linear = *weights.linears[role];
    if (!linear.is_packed()) {
      block.linears[role] = kernels::Linear::FromDense(pool, linear.weight, precision);
      // Used where it lies, so that must stay.
      if (block.linears[role].owned_bytes() == 0) block.memory[role] = linear.memory;
    } else if (!panels.Take(role, linear, packed)) {
      AWQ_ASSIGN(const quant::QuantizedLinear unpacked, linear.packed->Unpack());
      block.linears[role] =
          kernels::Linear::FromQuantized(pool, unpacked, precision, packed, memory.arena);
    }
  }
  AWQ_TRY(panels.Fill(pool, precision, memory, block));
  for (std::size_t role = 0; role < model::kRoles; ++role) {
    const auto& linear = weights.linears[role];
    if (linear && linear->bias) block.linears[role].set_bias(ToFloats(*linear->bias));
  }
  return block;
}

BlockRunner::BlockRunner(ThreadPool& pool, const model::ModelConfig& config, const RopeTable& rope,
                         kernels::Precision precision, kernels::Packed packed)
    : pool_(pool),
      config_(config),
      rope_(rope),
      precision_(precision),
      attention_(pool),
      input_(precision, packed) {}

void BlockRunner::Run(const PreparedBlock& block, Place place, const Batch& batch, KvCache& cache,
                      MatrixView<float> hidden, Observer* observer) {
  Begin({&block, place, &batch, &cache, hidden, hidden, &input_});
  RunBlock(*this, Telling(observer, input_));
}

void BlockRunner::MakeInput(const PreparedBlock& block, Role reader, Place place,
                            const Batch& batch, KvCache& cache, MatrixView<const float> hidden,
                            kernels::Activations& input, Observer* observer) {
  Begin({&block, place, &batch, &cache, hidden, {}, &input});
  transformer::MakeInput(*this, reader, Telling(observer, input));
}

void BlockRunner::Begin(const Task& task) {
  AWQ_CHECK_EQ(task.hidden.cols, config_.hidden_size);
  AWQ_CHECK(task.cache->precision() == precision_);
  task_ = task;
}

void BlockRunner::ListTokens(const Batch& batch, std::size_t rows) {
  tokens_.clear();
  for (const Segment& segment : batch) {
    AWQ_CHECK_LE(segment.position + segment.tokens, rope_.positions());
    for (std::size_t t = 0; t < segment.tokens; ++t) {
      tokens_.push_back({segment.slot, segment.position + t});
    }
  }
  AWQ_CHECK_EQ(rows, tokens_.size());
}

void BlockRunner::Normalize(Role norm) {
  const auto eps = static_cast<float>(config_.rms_norm_eps);
  const MatrixView<const float> rows = task_.hidden;
  const std::vector<float>& weight = task_.block->norm(norm);
  task_.input->Fill(pool_, rows.rows, rows.cols, [&](std::size_t t, std::span<float> row) {
    math::RmsNorm({rows.row(t), rows.cols}, weight, eps, row);
  });
}

void BlockRunner::Multiply(std::span<const Role> readers) {
  std::array<kernels::Linear::Product, 3> products;
  for (std::size_t i = 0; i < readers.size(); ++i) {
    const kernels::Linear& linear = task_.block->linear(readers[i]);
    products_[i] = Take(i, task_.input->tokens(), linear.out_features());
    products[i] = {&linear, products_[i]};
  }
  kernels::Linear::Apply(pool_, *task_.input, std::span(products).first(readers.size()));
}

void BlockRunner::RotateAndStore() {
  const auto& [queries, keys, values] = products_;
  KvCache& cache = *task_.cache;
  ListTokens(*task_.batch, queries.rows);
  AWQ_CHECK(cache.Reserve(*task_.batch).ok());  // who may run out of pages has asked before
  NormAndRotate(task_.block->norm(Role::kQNorm), queries);
  NormAndRotate(task_.block->norm(Role::kKNorm), keys);
  ForRows(pool_, tokens_.size(), [&](std::size_t t) {
    cache.Store({task_.place.cache_layer, tokens_[t].slot, tokens_[t].position},
                {keys.row(t), keys.cols}, {values.row(t), values.cols});
  });
}

void BlockRunner::Attend() {
  const MatrixView<float> queries = products_[0];
  const MatrixView<float> attended = Take(3, queries.rows, queries.cols);
  const Place place = task_.place;
  attention_.Run({&config_, place.cache_layer, config_.sliding_window[place.layer]}, *task_.batch,
                 *task_.cache, queries, attended);
  task_.input->Assign(pool_, attended);
}

void BlockRunner::Gate() {
  const MatrixView<float> gate = products_[0];
  const MatrixView<float> up = products_[1];
  task_.input->Fill(pool_, gate.rows, gate.cols, [&](std::size_t t, std::span<float> row) {
    math::SiluMul({gate.row(t), gate.cols}, {up.row(t), up.cols}, row);
  });
}

// heads [tokens, n * head_dim]: the per-head norm of Qwen3, where there is one, then the rotation.
void BlockRunner::NormAndRotate(const std::vector<float>& norm, MatrixView<float> heads) {
  const auto eps = static_cast<float>(config_.rms_norm_eps);
  ForRows(pool_, heads.rows, [&](std::size_t t) {
    const std::size_t position = tokens_[t].position;
    for (std::size_t col = 0; col < heads.cols; col += config_.head_dim) {
      const std::span<float> head(&heads(t, col), config_.head_dim);
      if (!norm.empty()) math::RmsNorm(head, norm, eps, head);
      math::Rotate(head, rope_.cosines(position), rope_.sines(position));
    }
  });
}

void BlockRunner::AddOutput(const PreparedBlock& block, Role reader,
                            const kernels::Activations& input, MatrixView<float> hidden) {
  AWQ_CHECK(reader == Role::kO || reader == Role::kDown);
  const MatrixView<float> output = Take(2, hidden.rows, hidden.cols);
  block.linear(reader).Apply(pool_, input, output);
  ForRows(pool_, hidden.rows, [&](std::size_t t) {
    math::Add({output.row(t), output.cols}, {hidden.row(t), hidden.cols});
  });
}

void BlockRunner::AddOutput(Role reader) {
  AddOutput(*task_.block, reader, *task_.input, task_.sums);
}

void BlockRunner::ReleaseScratch() {
  input_ = kernels::Activations(precision_);
  attention_.ReleaseScratch();
  for (Buffer<float>& each : scratch_) each = {};
}

MatrixView<float> BlockRunner::Take(std::size_t which, std::size_t rows, std::size_t cols) {
  if (scratch_[which].size() < rows * cols) scratch_[which] = Buffer<float>(rows * cols);
  return {scratch_[which].data(), rows, cols};
}

}  // namespace awq::transformer
