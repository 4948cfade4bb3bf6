#include "pipeline/convert.h"

#include <awq/version.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <nlohmann/json.hpp>

#include "base/checked.h"
#include "base/clock.h"
#include "base/error.h"
#include "checkpoint/writer.h"
#include "io/json.h"
#include "pipeline/adapt.h"
#include "pipeline/convert_plan.h"
#include "pipeline/directory_files.h"
#include "pipeline/fingerprint.h"

namespace awq::pipeline {
namespace {

using checkpoint::DirectoryWriter;
using checkpoint::ModelDirectory;
using nlohmann::json;

constexpr std::size_t kNamedTensors = 5;  // in a refusal
constexpr std::size_t kLineBytes = 64;    // of a cache
constexpr std::size_t kFirstItems = 16;   // that are checked before all are

// Memory of one thread, kept from linear to linear.
struct Scratch {
  Matrix<std::uint8_t> codes;  // wider, since rows that lie a power of two apart share a few lines
  std::size_t in_features = 0;
  Matrix<float> scales;
  Matrix<std::uint8_t> zeros;
  std::vector<Buffer<std::byte>> parts;

  void Fit(const pack::Form& form) {
    in_features = form.in_features;
    const std::size_t width = RoundUp(in_features, kLineBytes) + kLineBytes;
    if (codes.cols() != width) codes = {pack::kStripeRows, width};
    if (scales.cols() == form.groups()) return;
    scales = {pack::kStripeRows, form.groups()};
    zeros = {pack::kStripeRows, form.groups()};
  }
  pack::MutableRows Rows(std::size_t first, std::size_t count) {
    return {first, codes.view().Cols(0, in_features).Rows(0, count), scales.view().Rows(0, count),
            zeros.view().Rows(0, count)};
  }
};

Status CheckInOrder(const pack::Form& form, std::span<const std::uint32_t> group_of,
                    const std::string& module, const pack::Format& format) {
  for (std::size_t k = 0; k < group_of.size(); ++k) {
    if (group_of[k] == k / form.group_size()) continue;
    return MakeError(ErrorCode::kUnsupported,
                     "{}: input feature {} is of group {} (act order), and the {} format has no "
                     "place for that",
                     module, k, group_of[k], format.name);
  }
  return {};
}

// Reads, changes what must be, and packs into scratch.parts.
Result<Changes> Repack(const pack::Format& from, const pack::Format& to, const ConvertItem& item,
                       const std::string& directory, Scratch& scratch) {
  const checkpoint::PackedLinear& packed = *item.packed;
  const std::string module = fmt::format("{}: {}", directory, packed.module);  // in errors
  const pack::Form& form = packed.form;
  AWQ_TRY(pack::CheckParts(from, form, packed.parts, module));
  AWQ_ASSIGN(std::vector<std::uint32_t> group_of,
             pack::UnpackOnce(from, form, packed.parts, module));
  if (!item.target.spec.act_order) {
    AWQ_TRY(CheckInOrder(form, group_of, module, to));
    group_of.clear();
  }
  const std::vector<pack::PartInfo> parts = to.parts(item.target);
  scratch.parts.resize(std::max(scratch.parts.size(), parts.size()));
  std::vector<std::byte*> pointers;
  for (std::size_t i = 0; i < parts.size(); ++i) {
    const std::size_t bytes = pack::PartBytes(parts[i]);
    if (scratch.parts[i].size() < bytes) scratch.parts[i] = Buffer<std::byte>(bytes);
    pointers.push_back(scratch.parts[i].data());
  }
  pack::PackOnce(to, item.target, group_of, pointers);
  scratch.Fit(form);
  const bool adapts = form.spec.scale_dtype != item.target.spec.scale_dtype ||
                      (to.least_zero > from.least_zero && !form.spec.symmetric);
  Changes changes;
  for (std::size_t first = 0; first < form.out_features; first += pack::kStripeRows) {
    const auto rows = scratch.Rows(first, std::min(pack::kStripeRows, form.out_features - first));
    AWQ_TRY(pack::UnpackRows(from, form, packed.parts, rows, module));
    if (adapts) {
      AWQ_ASSIGN(const Changes stripe, Adapt(item.target.spec.scale_dtype, to.least_zero,
                                             form.spec.max_code(), group_of, rows, module));
      changes.Add(stripe);
    }
    AWQ_TRY(pack::PackRows(to, item.target, {first, rows.codes, rows.scales, rows.zeros}, pointers,
                           module));
  }
  return changes;
}

// The items [first, last), linears between pieces that are copied, by their bytes: a copy only
// writes, and one thread at a time can write into a file, so that the other has something to
// compute.
std::vector<std::size_t> Mixed(const std::vector<ConvertItem>& items, std::size_t first,
                               std::size_t last) {
  std::array<std::vector<std::size_t>, 2> kinds;
  std::array<std::size_t, 2> total_bytes{};
  for (std::size_t i = first; i < last; ++i) {
    const std::size_t kind = items[i].packed ? 1 : 0;
    kinds[kind].push_back(i);
    total_bytes[kind] += items[i].size_bytes;
  }
  std::vector<std::size_t> mixed;
  std::array<std::size_t, 2> taken{};
  std::array<double, 2> taken_bytes{};
  while (mixed.size() < last - first) {
    const bool behind = taken_bytes[1] * static_cast<double>(total_bytes[0]) <=
                        taken_bytes[0] * static_cast<double>(total_bytes[1]);
    std::size_t kind = behind ? 1 : 0;
    if (taken[kind] == kinds[kind].size()) kind = 1 - kind;
    mixed.push_back(kinds[kind][taken[kind]++]);
    taken_bytes[kind] += static_cast<double>(items[mixed.back()].size_bytes);
  }
  return mixed;
}

class Conversion {
 public:
  Conversion(ThreadPool& pool, const ModelDirectory& model, const ConvertOptions& options)
      : pool_(pool), model_(model), options_(options), scratch_(pool.size()) {}

  Result<ConvertReport> Go() {
    const auto start = std::chrono::steady_clock::now();
    AWQ_TRY(DirectoryWriter::CheckOutput(options_.output));
    AWQ_TRY(MakePlan());
    AWQ_TRY(Open());
    for (std::size_t first = 0; first < plan_.items.size();) {
      std::size_t bytes = 0;
      std::size_t last = first;
      while (last < plan_.items.size() && bytes < options_.chunk_bytes)
        bytes += plan_.items[last++].size_bytes;
      AWQ_TRY(Chunk(first, last));
      first = last;
    }
    AWQ_TRY(WriteDirectoryFiles(*writer_, model_, {*options_.format, plan_.stored, ""},
                                options_.progress));
    AWQ_TRY(writer_->Finish());
    report_.seconds = SecondsSince(start);
    return std::move(report_);
  }

 private:
  const pack::Format& from() const { return *model_.quantization()->format; }
  const pack::Format& to() const { return *options_.format; }

  // The scales' dtype; that nothing stands in the way; and, without `lossy`, that nothing changes.
  Status MakePlan() {
    AWQ_ASSIGN(plan_, PlanConversion(model_, to(), DType::kF16));  // refuses what headers show
    const DType have = SourceScales();
    if (to().scales_follow_model) {
      // The model's own dtype, as the format's programs have it, where that changes nothing.
      AWQ_ASSIGN(const DType model, ModelDType());
      AWQ_ASSIGN(plan_, PlanConversion(model_, to(), model));
      AWQ_ASSIGN(const bool changes, ChangesAnything());
      if (!changes) return {};
      AWQ_ASSIGN(plan_, PlanConversion(model_, to(), have));
    }
    AWQ_ASSIGN(const std::vector<std::string> changed, WhatChanges(0, plan_.items.size()));
    if (changed.empty() || options_.lossy) return {};
    return WouldChange(model_.path(), to().name, changed);
  }

  DType SourceScales() const {
    for (const ConvertItem& item : plan_.items) {
      if (item.packed) return item.packed->form.spec.scale_dtype;
    }
    return DType::kF16;
  }

  Result<DType> ModelDType() const {
    AWQ_ASSIGN(const json config, io::ReadJson(model_.path() / "config.json"));
    for (const char* key : {"dtype", "torch_dtype"}) {
      const auto dtype = config.find(key);
      if (dtype == config.end()) continue;
      if (*dtype == "bfloat16") return DType::kBF16;
      if (*dtype == "float32") return DType::kF32;
      if (*dtype == "float16") return DType::kF16;
    }
    return SourceScales();
  }

  // Whether values decide what the format can hold.
  bool DependsOnValues(const ConvertItem& item) const {
    const quant::Spec& have = item.packed->form.spec;
    const quant::Spec& want = item.target.spec;
    return have.scale_dtype != want.scale_dtype || have.act_order != want.act_order ||
           (to().least_zero > from().least_zero && !have.symmetric) || to().scales_zeros;
  }

  Result<bool> ChangesAnything() {
    // Where a type does not fit, that mostly shows at once.
    const std::size_t few = std::min(kFirstItems, plan_.items.size());
    AWQ_ASSIGN(std::vector<std::string> changed, WhatChanges(0, few));
    if (changed.empty()) {
      AWQ_ASSIGN(changed, WhatChanges(few, plan_.items.size()));
    }
    return !changed.empty();
  }

  // One line a linear of these items that would change; an error for what no --lossy mends.
  Result<std::vector<std::string>> WhatChanges(std::size_t first, std::size_t last) {
    AWQ_TRY(ForItems(first, last, "checking", [&](std::size_t i, Scratch& scratch) {
      const ConvertItem& item = plan_.items[i];
      if (!item.packed || !DependsOnValues(item)) return Result<Changes>(Changes{});
      return Repack(from(), to(), item, model_.path().string(), scratch);
    }));
    report_.moved = {};
    for (const Changes& changes : changes_) {
      report_.moved.scales.Add(changes.scales);
      report_.moved.zeros.Add(changes.zeros);
    }
    return Describe(first, last);
  }

  std::vector<std::string> Describe(std::size_t first, std::size_t last) const {
    std::vector<std::string> lines;
    for (std::size_t i = first; i < last; ++i) {
      if (!changes_[i - first].any()) continue;
      lines.push_back(plan_.items[i].packed->module + ": " + Text(changes_[i - first]));
    }
    return lines;
  }

  // Calls body for the items [first, last), in any order and on every thread; the error of the
  // first item that has one. What they change is in changes_.
  template <class Body>
  Status ForItems(std::size_t first, std::size_t last, std::string_view stage, const Body& body) {
    changes_.assign(last - first, {});
    const std::vector<std::size_t> order = Mixed(plan_.items, first, last);
    Report(options_.progress, stage, first, plan_.items.size(), "tensors");
    Status outcome =
        TryParallelFor(pool_, order.size(), [&](std::size_t i, std::size_t worker) -> Status {
          AWQ_ASSIGN(changes_[order[i] - first], body(order[i], scratch_[worker]));
          Release(plan_.items[order[i]]);
          return {};
        });
    model_.ReleaseAll();  // pages that two tensors share
    return outcome;
  }

  // Each thread its own: giving back a whole file's pages at the end takes as long as some of the
  // work.
  void Release(const ConvertItem& item) const {
    if (!item.packed) {
      return model_.ReleaseBytes(item.view.bytes.subspan(item.offset_bytes, item.size_bytes));
    }
    for (const TensorView& part : item.packed->parts) model_.ReleaseBytes(part.bytes);
  }

  Status Open() {
    checkpoint::WriterOptions writer;
    writer.shard_bytes = options_.shard_bytes;
    AWQ_ASSIGN(const std::string directory, ModelFingerprint(model_));
    writer.fingerprint = fmt::format("awq {} convert to {} lossy {} shard {} {}", kVersion,
                                     to().name, options_.lossy, options_.shard_bytes, directory);
    report_.from = std::string(from().name);
    report_.to = std::string(to().name);
    report_.input_bytes = model_.weight_bytes();
    for (const io::TensorInfo& tensor : plan_.tensors) report_.output_bytes += tensor.size_bytes;
    AWQ_ASSIGN(writer_, DirectoryWriter::Create(options_.output, plan_.tensors, writer));
    return {};
  }

  Status Chunk(std::size_t first, std::size_t last) {
    const std::string unit = fmt::format("tensors {} to {}", first, last);
    for (std::size_t i = first; i < last; ++i) report_.linears += plan_.items[i].packed ? 1U : 0U;
    if (const json* done = writer_->IsDone(unit)) {
      if (!done->is_array()) return MakeError(ErrorCode::kCorrupt, "{}: not a list", unit);
      for (const json& line : *done) report_.changes.push_back(line.get<std::string>());
      report_.resumed = true;
      return {};
    }
    AWQ_TRY(ForItems(first, last, "converting", [&](std::size_t i, Scratch& scratch) {
      return Write(plan_.items[i], scratch);
    }));
    const std::vector<std::string> lines = Describe(first, last);
    report_.changes.insert(report_.changes.end(), lines.begin(), lines.end());
    if (last == plan_.items.size()) return {};  // Finish() is what ends it
    return writer_->MarkDone(unit, lines);
  }

  Result<Changes> Write(const ConvertItem& item, Scratch& scratch) {
    if (!item.packed) {
      AWQ_TRY(writer_->WriteTensor(item.tensor,
                                   item.view.bytes.subspan(item.offset_bytes, item.size_bytes),
                                   item.offset_bytes));
      return Changes{};
    }
    AWQ_ASSIGN(const Changes changes, Repack(from(), to(), item, model_.path().string(), scratch));
    AWQ_CHECK(options_.lossy || !changes.any());  // MakePlan refused it
    const std::vector<pack::PartInfo> parts = to().parts(item.target);
    for (std::size_t i = 0; i < parts.size(); ++i) {
      AWQ_TRY(writer_->WriteTensor(fmt::format("{}.{}", item.packed->module, parts[i].suffix),
                                   scratch.parts[i].span().first(pack::PartBytes(parts[i]))));
    }
    return changes;
  }

  ThreadPool& pool_;
  const ModelDirectory& model_;
  const ConvertOptions& options_;
  ConvertPlan plan_;
  std::vector<Scratch> scratch_;  // one a thread
  std::vector<Changes> changes_;  // of the items that were looked at last
  std::unique_ptr<DirectoryWriter> writer_;
  ConvertReport report_;
};

}  // namespace

Error WouldChange(const std::filesystem::path& model, std::string_view format,
                  const std::vector<std::string>& changes) {
  std::string text;
  for (std::size_t i = 0; i < std::min(changes.size(), kNamedTensors); ++i) {
    text += "\n  " + changes[i];
  }
  if (changes.size() > kNamedTensors) {
    text += fmt::format("\n  and {} more", changes.size() - kNamedTensors);
  }
  const pack::Format* to = pack::FindFormat(format);
  const std::string_view other = to != nullptr && to->least_zero > 0
                                     ? ", gptq-v2 holds every zero point (and gptq the groups that "
                                       "quantize --sym makes)"
                                     : "";
  return MakeError(ErrorCode::kUnsupported,
                   "{}: the {} format cannot hold {} of its tensors as they are; --lossy lets them "
                   "change{}:{}",
                   model.string(), format, changes.size(), other, text);
}

Result<ConvertReport> Convert(ThreadPool& pool, const ModelDirectory& model,
                              const ConvertOptions& options) {
  return Conversion(pool, model, options).Go();
}

}  // namespace awq::pipeline
