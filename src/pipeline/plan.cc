#include "pipeline/plan.h"

#include <algorithm>
#include <numeric>

#include "base/error.h"
#include "quant/group.h"

namespace awq::pipeline {
namespace {

using model::ModelConfig;

PlannedLinear PlanLinear(const ModelConfig& config, const model::LinearRow& row,
                         const pack::Format* format, const quant::Spec& spec) {
  PlannedLinear linear{row.name, model::Width(config, row.out), model::Width(config, row.in), spec,
                       ""};
  if (spec.group_size == 0) linear.spec.group_size = linear.in_features;
  if (format != nullptr) {
    linear.obstacle = pack::Refuses(*format, linear.form());
  } else if (const Status sound = quant::CheckSpec(linear.spec, linear.in_features, row.name);
             !sound) {
    linear.obstacle = sound.error().message;
  }
  return linear;
}

void AddTensor(Plan& plan, std::string name, DType dtype, Shape shape) {
  std::size_t size_bytes = ElementBytes(dtype);
  for (std::size_t extent : shape) size_bytes *= extent;
  plan.tensors.push_back({std::move(name), dtype, std::move(shape), 0, size_bytes});
}

void AddBlock(const ModelConfig& config, std::size_t layer, Plan& plan) {
  for (const model::LinearRow& row : config.arch->linears) {
    const PlannedLinear& linear = plan.linear(row.role);
    const std::string module = model::ModuleName(*config.arch, layer, row.name);
    if (linear.quantized()) {
      for (const pack::PartInfo& part : plan.format->parts(linear.form())) {
        AddTensor(plan, fmt::format("{}.{}", module, part.suffix), part.dtype, part.shape);
      }
    } else {
      AddTensor(plan, module + ".weight", DType::kF16, {linear.out_features, linear.in_features});
    }
    if (model::HasBias(config, row)) {
      AddTensor(plan, module + ".bias", DType::kF16, {linear.out_features});
    }
  }
  for (const model::NormRow& row : config.arch->norms) {
    if (!model::IsPresent(config, row)) continue;
    AddTensor(plan, model::ModuleName(*config.arch, layer, row.name) + ".weight", DType::kF16,
              {model::Width(config, row.width)});
  }
}

// "32, 64, -1 (whole rows)"
std::string SizesThatDivide(const Plan& plan) {
  constexpr std::size_t kUsual[] = {16, 32, 64, 128, 256, 512, 1024};
  std::size_t divisor = 0;  // the greatest common one of all inputs
  for (const auto& linear : plan.linears) {
    if (linear) divisor = std::gcd(divisor, linear->in_features);
  }
  std::string sizes;
  for (const std::size_t size : kUsual) {
    if (divisor % size == 0) sizes += fmt::format("{}, ", size);
  }
  return sizes + "-1 (whole rows)";
}

}  // namespace

std::size_t DefaultGroupSize(const ModelConfig& config) {
  for (std::size_t size : {std::size_t{128}, std::size_t{64}}) {
    const bool divides_all = std::all_of(
        config.arch->linears.begin(), config.arch->linears.end(),
        [&](const model::LinearRow& row) { return model::Width(config, row.in) % size == 0; });
    if (divides_all) return size;
  }
  return 32;
}

std::string UnevenGroups(const Plan& plan) {
  std::size_t all = 0;
  std::size_t even = 0;
  for (const auto& linear : plan.linears) {
    if (!linear) continue;
    ++all;
    even += linear->in_features % linear->spec.group_size == 0 ? 1U : 0U;
  }
  if (even == all) return "";
  return fmt::format(
      "groups of {} divide the inputs of {} of a layer's {} linears, the others stay in 16 bits; "
      "{} would divide all",
      plan.spec.group_size, even, all, SizesThatDivide(plan));
}

std::vector<std::string> Plan::modules_to_not_convert() const {
  std::vector<std::string> names;
  for (const auto& linear : linears) {
    if (linear && !linear->quantized()) names.emplace_back(linear->name);
  }
  return names;
}

pack::StoredQuantization Plan::stored(const ModelConfig& config) const {
  pack::StoredQuantization stored{spec, {}, modules_to_not_convert()};
  for (std::size_t layer = 0; layer < config.num_hidden_layers; ++layer) {
    for (const std::string& name : stored.excluded_endings) {
      stored.excluded_modules.push_back(model::ModuleName(*config.arch, layer, name));
    }
  }
  return stored;
}

Result<Plan> MakePlan(const ModelConfig& config, const PlanOptions& options) {
  Plan plan;
  plan.format = pack::FindFormat(options.format);
  if (plan.format == nullptr && !options.format.empty()) {
    return MakeError(ErrorCode::kInvalidArgument, "format {}: expected one of {}", options.format,
                     pack::FormatNames());
  }
  plan.spec = {options.bits, options.group_size.value_or(DefaultGroupSize(config)),
               options.symmetric};
  if (plan.format != nullptr && plan.format->least_zero > 0 && !options.symmetric &&
      !options.zeros_are_known) {
    const pack::Form form{config.hidden_size, config.hidden_size, plan.spec};
    return MakeError(ErrorCode::kUnsupported,
                     "format {}: {}; take --sym, or one of these formats: {}", options.format,
                     pack::RefusesNew(*plan.format, form), pack::FormatsThatHoldNew(form));
  }
  bool any = false;
  std::string first_obstacle;
  std::string holders;  // formats for the linear that has it
  for (const model::LinearRow& row : config.arch->linears) {
    auto& slot = plan.linears[static_cast<std::size_t>(row.role)];
    slot = PlanLinear(config, row, plan.format, plan.spec);
    if (std::ranges::count(options.in_16_bits, row.role) > 0) slot->obstacle = "it is in 16 bits";
    any = any || slot->quantized();
    if (slot->quantized() || !first_obstacle.empty()) continue;
    first_obstacle = slot->obstacle;
    if (plan.format != nullptr) {
      holders = options.zeros_are_known ? pack::FormatsThatHold(slot->form())
                                        : pack::FormatsThatHoldNew(slot->form());
    }
  }
  if (!any) {
    const std::string stored_as =
        plan.format == nullptr ? std::string() : fmt::format(" be stored as {}", options.format);
    const std::string sizes = UnevenGroups(plan).empty()
                                  ? ""
                                  : "; sizes that divide all inputs: " + SizesThatDivide(plan);
    return MakeError(
        ErrorCode::kUnsupported,
        "no linear of this model can{}{} {} bits and group size {}: {}{}{}{}",
        plan.format == nullptr ? " have" : "", stored_as.empty() ? "" : stored_as + " with",
        plan.spec.bits, plan.spec.group_size == 0 ? "-1" : std::to_string(plan.spec.group_size),
        first_obstacle, sizes, holders.empty() ? "" : "; these formats can hold it: ", holders);
  }
  if (plan.format == nullptr) return plan;
  const Shape vocabulary{config.vocab_size, config.hidden_size};
  AddTensor(plan, std::string(config.arch->embedding) + ".weight", DType::kF16, vocabulary);
  for (std::size_t layer = 0; layer < config.num_hidden_layers; ++layer) {
    AddBlock(config, layer, plan);
  }
  AddTensor(plan, std::string(config.arch->final_norm) + ".weight", DType::kF16,
            {config.hidden_size});
  if (!config.tie_word_embeddings) {
    AddTensor(plan, std::string(config.arch->head) + ".weight", DType::kF16, vocabulary);
  }
  return plan;
}

}  // namespace awq::pipeline
