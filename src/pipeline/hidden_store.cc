#include "pipeline/hidden_store.h"

#include <algorithm>
#include <new>

#include "base/checked.h"
#include "base/error.h"
#include "math/vector.h"

namespace awq::pipeline {
namespace {

constexpr std::size_t kCopiedBytes = std::size_t{8} << 20;  // at once

std::size_t CheckedBytes(math::Precision precision, std::size_t tokens, std::size_t width) {
  const auto bytes = CheckedProduct({tokens, width, HiddenStore::Bytes(precision, 1, 1)});
  if (!bytes) throw std::bad_alloc();
  return *bytes;
}

}  // namespace

Result<HiddenStore> HiddenStore::Create(math::Precision precision, std::size_t tokens,
                                        std::size_t width) {
  HiddenStore store(precision, width);
  AWQ_ASSIGN(store.file_, io::ScratchFile::Create(CheckedBytes(precision, tokens, width)));
  return store;
}

Result<HiddenStore> HiddenStore::Copy() const {
  HiddenStore copy(precision_, width_);
  const std::span<std::byte> bytes = file_.bytes();
  AWQ_ASSIGN(copy.file_, io::ScratchFile::Create(bytes.size()));
  for (std::size_t first = 0; first < bytes.size(); first += kCopiedBytes) {
    const std::size_t count = std::min(kCopiedBytes, bytes.size() - first);
    std::ranges::copy(bytes.subspan(first, count), copy.file_.bytes().subspan(first).begin());
    file_.Release(first, count);
    copy.file_.Release(first, count);
  }
  return copy;
}

std::size_t HiddenStore::Bytes(math::Precision precision, std::size_t tokens, std::size_t width) {
  return tokens * width * (precision == math::Precision::kBF16 ? sizeof(BF16) : sizeof(float));
}

std::span<BF16> HiddenStore::BF16Row(std::size_t token) const {
  return {reinterpret_cast<BF16*>(file_.bytes().data()) + token * width_, width_};
}

std::span<float> HiddenStore::F32Row(std::size_t token) const {
  return {reinterpret_cast<float*>(file_.bytes().data()) + token * width_, width_};
}

void HiddenStore::Release(std::size_t first, std::size_t tokens) const {
  file_.Release(Bytes(precision_, first, width_), Bytes(precision_, tokens, width_));
}

void HiddenStore::Load(ThreadPool& pool, std::size_t first, MatrixView<float> rows) const {
  pool.ParallelFor(rows.rows, [&](std::size_t t, std::size_t) {
    const std::span<float> to(rows.row(t), rows.cols);
    if (precision_ == math::Precision::kBF16) {
      math::Convert(std::span<const BF16>(BF16Row(first + t)), to);
    } else {
      std::ranges::copy(F32Row(first + t), to.begin());
    }
  });
  Release(first, rows.rows);
}

void HiddenStore::Store(ThreadPool& pool, std::size_t first, MatrixView<const float> rows) {
  pool.ParallelFor(rows.rows, [&](std::size_t t, std::size_t) {
    const std::span<const float> from(rows.row(t), rows.cols);
    if (precision_ == math::Precision::kBF16) {
      math::Convert(from, BF16Row(first + t));
    } else {
      std::ranges::copy(from, F32Row(first + t).begin());
    }
  });
  Release(first, rows.rows);
}

}  // namespace awq::pipeline
