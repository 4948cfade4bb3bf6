// The hidden states of many tokens between two blocks: the largest thing that a run holds.
#pragma once

#include <awq/result.h>

#include <cstddef>

#include "base/threads.h"
#include "io/scratch_file.h"
#include "math/matmul.h"
#include "tensor/tensor.h"

namespace awq::pipeline {

class HiddenStore {
 public:
  // In memory.
  HiddenStore(math::Precision precision, std::size_t tokens, std::size_t width);
  // In a file (io::ScratchFile), of which no more than what is loaded or stored is held.
  static Result<HiddenStore> OnDisk(math::Precision precision, std::size_t tokens,
                                    std::size_t width);

  static std::size_t Bytes(math::Precision precision, std::size_t tokens, std::size_t width);

  HiddenStore Copy() const;  // of one in memory
  // rows [count, width] of tokens [first, first + count)
  void Load(ThreadPool& pool, std::size_t first, MatrixView<float> rows) const;
  void Store(ThreadPool& pool, std::size_t first, MatrixView<const float> rows);

 private:
  HiddenStore(math::Precision precision, std::size_t width)
      : precision_(precision), width_(width) {}
  std::span<BF16> BF16Row(std::size_t token) const;
  std::span<float> F32Row(std::size_t token) const;
  void Release(std::size_t first, std::size_t tokens) const;

  math::Precision precision_;
  std::size_t width_;
  Buffer<std::byte> memory_;
  io::ScratchFile file_;
  std::byte* bytes_ = nullptr;  // of either
};

}  // namespace awq::pipeline
