#include "pipeline/convert_plan.h"

#include <algorithm>
#include <map>
#include <set>

#include "base/error.h"
#include "model/arch.h"

namespace awq::pipeline {
namespace {

constexpr std::size_t kPieceBytes = std::size_t{4} << 20;

using checkpoint::ModelDirectory;
using checkpoint::PackedLinear;

Result<pack::Form> TargetOf(const ModelDirectory& model, const pack::Format& format,
                            const PackedLinear& packed, DType scale_dtype) {
  pack::Form form = packed.form;
  form.spec.scale_dtype = scale_dtype;
  std::string why = pack::Refuses(format, form);
  if (!why.empty() && form.spec.act_order) {
    // It may be that the group index is in order all the same; its values will tell.
    form.spec.act_order = false;
    if (pack::Refuses(format, form).empty()) why.clear();
  }
  if (why.empty()) return form;
  const std::string holders = pack::FormatsThatHold(packed.form);
  return MakeError(ErrorCode::kUnsupported, "{}: {} cannot be in the {} format: {}; {} can hold it",
                   model.path().string(), packed.module, format.name, why, holders);
}

// The modules in 16 bits, one by one, and as endings where all layers have the same.
Status ListExcluded(const ModelDirectory& model, pack::StoredQuantization& stored) {
  const model::ModelConfig& config = model.config();
  for (const model::LinearRow& row : config.arch->linears) {
    std::vector<std::string> modules;
    for (std::size_t layer = 0; layer < config.num_hidden_layers; ++layer) {
      const std::string module = model::ModuleName(*config.arch, layer, row.name);
      AWQ_ASSIGN(const quant::Spec* spec, model.quantization()->SpecOf(module));
      if (spec == nullptr) modules.push_back(module);
    }
    auto& all = stored.excluded_modules;
    auto& endings = stored.excluded_endings;
    all.insert(all.end(), modules.begin(), modules.end());
    if (modules.size() == config.num_hidden_layers) {
      endings.emplace_back(row.name);
    } else {
      endings.insert(endings.end(), modules.begin(), modules.end());
    }
  }
  return {};
}

void AddTensor(ConvertPlan& plan, std::string name, DType dtype, const Shape& shape) {
  std::size_t bytes = ElementBytes(dtype);
  for (const std::size_t extent : shape) bytes *= extent;
  plan.tensors.push_back({std::move(name), dtype, shape, 0, bytes});
}

void AddPacked(ConvertPlan& plan, PackedLinear packed, const pack::Form& target) {
  ConvertItem item;
  for (const pack::PartInfo& part : plan.format->parts(target)) {
    AddTensor(plan, fmt::format("{}.{}", packed.module, part.suffix), part.dtype, part.shape);
    item.size_bytes += plan.tensors.back().size_bytes;
  }
  item.packed = std::move(packed);
  item.target = target;
  plan.items.push_back(std::move(item));
}

void AddCopied(ConvertPlan& plan, const std::string& name, const TensorView& view) {
  AddTensor(plan, name, view.dtype, view.shape);
  for (std::size_t offset = 0; offset < view.bytes.size(); offset += kPieceBytes) {
    ConvertItem piece;
    piece.tensor = name;
    piece.view = view;
    piece.offset_bytes = offset;
    piece.size_bytes = std::min(kPieceBytes, view.bytes.size() - offset);
    plan.items.push_back(std::move(piece));
  }
}

}  // namespace

Result<ConvertPlan> PlanConversion(const ModelDirectory& model, const pack::Format& format,
                                   DType scale_dtype) {
  if (!model.quantization()) {
    return MakeError(ErrorCode::kUnsupported,
                     "{}: not quantized; awq quantize --format {} makes a quantized model of it",
                     model.path().string(), format.name);
  }
  const quant::Spec* spec = model.quantization()->spec();
  if (spec == nullptr) {
    return MakeError(ErrorCode::kUnsupported,
                     "{}: its modules have different bits or groups (config_groups), which no "
                     "format is written with",
                     model.path().string());
  }
  ConvertPlan plan;
  plan.format = &format;
  plan.stored.spec = *spec;
  AWQ_TRY(ListExcluded(model, plan.stored));
  const pack::Format& source = *model.quantization()->format;
  std::map<std::string, PackedLinear> by_codes;  // by the tensor that has the codes
  std::set<std::string> parts;
  for (std::size_t layer = 0; layer < model.config().num_hidden_layers; ++layer) {
    for (const model::LinearRow& row : model.config().arch->linears) {
      AWQ_ASSIGN(auto packed, model.Packed(layer, row));
      if (!packed) continue;
      for (const pack::PartInfo& part : source.parts(packed->form)) {
        parts.insert(fmt::format("{}.{}", packed->module, part.suffix));
      }
      by_codes.emplace(fmt::format("{}.{}", packed->module, source.codes_suffix),
                       std::move(*packed));
    }
  }
  for (const std::string& name : model.StoredNames()) {
    if (const auto packed = by_codes.find(name); packed != by_codes.end()) {
      AWQ_ASSIGN(const pack::Form target, TargetOf(model, format, packed->second, scale_dtype));
      plan.stored.spec.act_order = target.spec.act_order;
      AddPacked(plan, std::move(packed->second), target);
    } else if (!parts.contains(name)) {
      AWQ_ASSIGN(const TensorView view, model.Find(name));
      AddCopied(plan, name, view);
    }
  }
  return plan;
}

}  // namespace awq::pipeline
