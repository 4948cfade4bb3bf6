// Hidden states that rest on a disk.
#pragma once

#include <awq/result.h>

#include <cstddef>

#include "io/scratch_file.h"
#include "math/matmul.h"
#include "pipeline/hidden_states.h"

namespace awq::pipeline {

class HiddenStore final : public HiddenStates {
 public:
  // In a file (io::ScratchFile), of which no more than what is loaded or stored is held. Zero at
  // first.
  static Result<HiddenStore> Create(math::Precision precision, std::size_t tokens,
                                    std::size_t width);

  static std::size_t Bytes(math::Precision precision, std::size_t tokens, std::size_t width);

  Result<HiddenStore> Copy() const;
  void Load(ThreadPool& pool, std::size_t first, MatrixView<float> rows) const override;
  void Store(ThreadPool& pool, std::size_t first, MatrixView<const float> rows);

 private:
  HiddenStore(math::Precision precision, std::size_t width)
      : precision_(precision), width_(width) {}
  std::span<BF16> BF16Row(std::size_t token) const;
  std::span<float> F32Row(std::size_t token) const;
  void Release(std::size_t first, std::size_t tokens) const;

  math::Precision precision_;
  std::size_t width_;
  io::ScratchFile file_;
};

}  // namespace awq::pipeline
