// Checks of what is stored as keys and values, and of rotated queries.
#pragma once

#include "cuda/test_kv.h"

namespace awq::cuda {

struct RopeCase {
  KvShape shape;
  bool has_norm = false;
  bool has_bias = false;
};

// Values of a head before it is stored, and how far from them fp32 may be.
struct ExpectedHead {
  std::vector<double> values;
  std::vector<double> errors;
};

inline ExpectedHead RotatedHead(std::vector<double> x, const std::vector<float>* norm,
                                const float* cosines, const float* sines) {
  if (norm != nullptr) {
    double squares = 0;
    for (const double each : x) squares += each * each;
    const double root = std::sqrt(squares / static_cast<double>(x.size()) + 1e-6);
    for (std::size_t i = 0; i < x.size(); ++i) x[i] *= static_cast<double>((*norm)[i]) / root;
  }
  ExpectedHead head{x, std::vector<double>(x.size(), 0)};
  if (cosines == nullptr) return head;
  const std::size_t half = x.size() / 2;
  for (std::size_t i = 0; i < half; ++i) {
    const double cosine = static_cast<double>(cosines[i]);
    const double sine = static_cast<double>(sines[i]);
    head.values[i] = x[i] * cosine - x[half + i] * sine;
    head.values[half + i] = x[half + i] * cosine + x[i] * sine;
    // A lane adds 8 squares, then 5 steps over lanes, half of which the root leaves; 4 roundings
    // more of the norm, 3 of the rotation.
    head.errors[i] = 14 * kUnit * (std::abs(x[i]) + std::abs(x[half + i]));
    head.errors[half + i] = head.errors[i];
  }
  return head;
}

// How far apart a stored row may be from what it should be.
inline std::vector<double> StoredErrors(Element type, const ExpectedHead& head) {
  double largest = 0;
  for (const double each : head.values) largest = std::max(largest, std::abs(each));
  std::vector<double> errors = head.errors;
  for (std::size_t i = 0; i < errors.size(); ++i) {
    // Codes: half a step, and the roundings of quotients of up to 127.
    errors[i] += type == Element::kInt8
                     ? largest / 127 * (0.5 + 127 * 3 * kUnit) + 2 * head.errors[i]
                     : std::abs(head.values[i]) * UnitOf(type) + SmallestOf(type);
  }
  return errors;
}

class RopeCheck {
 public:
  explicit RopeCheck(const RopeCase& is)
      : is_(is),
        pages_(is.shape, {130, 3, 260}),
        dim_(static_cast<std::size_t>(is.shape.head_dim)) {
    const std::size_t heads = static_cast<std::size_t>(is.shape.heads());
    kv_heads_ = static_cast<std::size_t>(is.shape.kv_heads);
    width_ = (heads + 2 * kv_heads_) * dim_;
    rows_ = RandomFloats(positions_.size() * width_, 2, 11);
    bias_ = RandomFloats(width_, 1, 12);
    query_norm_ = RandomFloats(dim_, 1, 13);
    key_norm_ = RandomFloats(dim_, 1, 14);
    for (std::size_t i = 0; i < 260 * dim_ / 2; ++i) {
      const double angle = static_cast<double>(i % (dim_ / 2) * 37 + i / (dim_ / 2) * 11);
      cosines_.push_back(static_cast<float>(std::cos(angle)));
      sines_.push_back(static_cast<float>(std::sin(angle)));
    }
  }

  std::string Run(OpsBackend& backend) {
    const RopeTask task = MakeTask(backend);
    AWQ_EXPECT(MessageOf(backend.Run(task)));
    found_ = backend.Fetch<float>(task.queries, rows_.size());
    pages_.Fetch(backend, task.cache);
    std::size_t stored = 0;
    for (std::size_t t = 0; t < positions_.size(); ++t) {
      for (int head = 0; head < is_.shape.heads(); ++head) AWQ_EXPECT(CheckQuery(t, head));
      for (int head = 0; head < is_.shape.kv_heads; ++head) {
        AWQ_EXPECT(CheckStored(t, head, false));
        AWQ_EXPECT(CheckStored(t, head, true));
        stored += 2;
      }
    }
    std::size_t touched = 0;
    for (std::size_t row = 0; row < pages_.count(); ++row) {
      if (!pages_.IsPoison(row)) ++touched;
    }
    return touched == stored ? "" : std::to_string(touched) + " rows were written";
  }

 private:
  RopeTask MakeTask(OpsBackend& backend) {
    RopeTask task;
    const auto heads = static_cast<std::size_t>(is_.shape.heads());
    task.queries = backend.Place(rows_);
    task.keys = task.queries + heads * dim_;
    task.values = task.keys + kv_heads_ * dim_;
    task.stride = static_cast<std::int64_t>(width_);
    if (is_.has_bias) {
      task.query_bias = backend.Place(bias_);
      task.key_bias = task.query_bias + heads * dim_;
      task.value_bias = task.key_bias + kv_heads_ * dim_;
    }
    if (is_.has_norm) {
      task.query_norm = backend.Place(query_norm_);
      task.key_norm = backend.Place(key_norm_);
    }
    task.eps = 1e-6F;
    task.cosines = backend.Place(cosines_);
    task.sines = backend.Place(sines_);
    task.at = {backend.Place(positions_), backend.Place(slots_)};
    task.tokens = static_cast<int>(positions_.size());
    task.heads = is_.shape.heads();
    task.layer = 1;
    task.cache = pages_.Place(backend);
    return task;
  }

  // column: of the row of queries, keys and values.
  ExpectedHead Expected(std::size_t t, std::size_t column, const std::vector<float>& norm,
                        bool rotates) const {
    std::vector<double> x;
    for (std::size_t i = 0; i < dim_; ++i) {
      const float value = rows_[t * width_ + column + i];
      x.push_back(static_cast<double>(is_.has_bias ? value + bias_[column + i] : value));
    }
    const std::size_t angles = static_cast<std::size_t>(positions_[t]) * dim_ / 2;
    return RotatedHead(std::move(x), is_.has_norm && rotates ? &norm : nullptr,
                       rotates ? &cosines_[angles] : nullptr, &sines_[angles]);
  }

  std::string CheckQuery(std::size_t t, int head) const {
    const std::size_t column = static_cast<std::size_t>(head) * dim_;
    const ExpectedHead expected = Expected(t, column, query_norm_, true);
    const auto from = found_.begin() + static_cast<std::ptrdiff_t>(t * width_ + column);
    return Compare("query", {from, from + static_cast<std::ptrdiff_t>(dim_)}, expected.values,
                   [&](std::size_t i) { return expected.errors[i]; });
  }

  std::string CheckStored(std::size_t t, int head, bool is_value) const {
    const std::size_t first = static_cast<std::size_t>(is_.shape.heads()) +
                              (is_value ? kv_heads_ : 0) + static_cast<std::size_t>(head);
    const ExpectedHead expected = Expected(t, first * dim_, key_norm_, !is_value);
    const std::vector<double> errors = StoredErrors(is_.shape.type, expected);
    const std::size_t row = pages_.RowAt(slots_[t], 1, head, is_value, positions_[t]);
    return Compare(is_value ? "value" : "key", pages_.Read(row), expected.values,
                   [&](std::size_t i) { return errors[i]; });
  }

  RopeCase is_;
  TestPages pages_;
  std::size_t dim_;
  std::size_t kv_heads_ = 0;
  std::size_t width_ = 0;
  // Several sequences; the last row of a page and the first of the next.
  std::vector<std::int32_t> positions_{127, 128, 129, 2, 259};
  std::vector<std::int32_t> slots_{0, 0, 0, 1, 2};
  std::vector<float> rows_, bias_, query_norm_, key_norm_, cosines_, sines_, found_;
};

// What types do with what they cannot hold.
inline std::string CheckExtremes(OpsBackend& backend, Element type) {
  const KvShape shape{type, 1, 1, 8};
  TestPages pages(shape, {3});
  const float infinity = INFINITY;
  // Token 0: beyond f16. Token 1: not finite. Token 2: all zero.
  const std::vector<float> rows{1e6F, -1e6F, 1, 0, 0, 0, 0, 0, infinity, 1, 0, 0,
                                0,    0,     0, 0, 0, 0, 0, 0, 0,        0, 0, 0};
  RopeTask task;
  task.queries = backend.Place(rows);
  task.keys = task.values = backend.Place(rows);
  task.stride = 8;
  const std::vector<float> ones(12, 1.0F), zeros(12, 0.0F);
  task.cosines = backend.Place(ones);
  task.sines = backend.Place(zeros);
  task.at = {backend.Place(std::vector<std::int32_t>{0, 1, 2}),
             backend.Place(std::vector<std::int32_t>{0, 0, 0})};
  task.tokens = 3;
  task.heads = 1;
  task.cache = pages.Place(backend);
  AWQ_EXPECT(MessageOf(backend.Run(task)));
  pages.Fetch(backend, task.cache);
  const auto value = [&](int token) { return pages.Read(pages.RowAt(0, 0, 0, true, token)); };
  if (value(2)[0] != 0) return "zero is not kept";
  if (type == Element::kF16) {
    if (value(0)[0] != 65504 || value(0)[1] != -65504 || value(1)[0] != 65504) {
      return "what is beyond f16 does not become its largest";
    }
    return "";
  }
  const float scale = pages.scale(pages.RowAt(0, 0, 0, true, 1));
  return scale != scale ? "" : "the scale of what is not finite is no NaN";
}

inline std::vector<OpsRow> KvRows() {
  std::vector<OpsRow> rows;
  const auto add = [&](const std::string& name, const RopeCase& is) {
    rows.push_back({name, [=](OpsBackend& backend) { return RopeCheck(is).Run(backend); }});
  };
  add("rope_bf16_64", {{Element::kBF16, 2, 4, 64}});
  add("rope_f16_128_norm", {{Element::kF16, 2, 1, 128}, true});
  add("rope_int8_128_bias", {{Element::kInt8, 1, 3, 128}, false, true});
  add("rope_int8_72_norm_bias", {{Element::kInt8, 3, 2, 72}, true, true});
  add("rope_bf16_256_norm", {{Element::kBF16, 1, 8, 256}, true});
  add("rope_f16_8", {{Element::kF16, 1, 1, 8}});
  rows.push_back({"rope_beyond_f16",
                  [](OpsBackend& backend) { return CheckExtremes(backend, Element::kF16); }});
  rows.push_back({"rope_beyond_int8",
                  [](OpsBackend& backend) { return CheckExtremes(backend, Element::kInt8); }});
  return rows;
}

}  // namespace awq::cuda
