// A quantized linear, rearranged once so that memory streams through dot products of 16 rows.
#pragma once

#include <awq/result.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "base/arena.h"
#include "base/threads.h"
#include "kernels/panel_activations.h"
#include "kernels/panel_rows.h"
#include "quant/quantized_linear.h"
#include "tensor/tensor.h"

namespace awq::kernels {

// Where stored rows are on their way into panels. Kept from one linear to the next, as fresh pages
// cost more than what is written to them. What is taken holds anything.
class UnpackScratch {
 public:
  explicit UnpackScratch(const ThreadPool& pool) : stripes_(pool.size()) {}
  // From any thread, of a worker of its own.
  quant::QuantizedLinear& TakeStripe(std::size_t worker, const quant::Spec& spec, std::size_t rows,
                                     std::size_t in_features);
  std::span<std::byte> TakeBytes(std::size_t bytes);

 private:
  std::vector<std::vector<quant::QuantizedLinear>> stripes_;  // by worker; one of each shape
  Buffer<std::byte> bytes_;
};

// What may be kept between linears; null: of the call's own.
struct PanelMemory {
  Arena* arena = nullptr;  // where panels lie; else each linear's in memory of their own
  UnpackScratch* scratch = nullptr;
};

class Panels {
 public:
  static constexpr int kMostBits = 8;
  // Codes of up to kMostBits in groups of a multiple of 8, in order, with scales of 16 bits.
  static bool CanHold(const quant::QuantizedLinear& linear);
  static bool CanHold(const quant::Spec& spec, std::size_t in_features);
  // Precondition: CanHold. Panels lie in `arena`, or else in memory of their own.
  Panels(ThreadPool& pool, const quant::QuantizedLinear& linear, Arena* arena = nullptr);
  // The same of linears that are read, in order, and then unpacked, a stripe of rows at a time,
  // from any thread. The first error is passed on.
  struct Rows {
    quant::Spec spec;
    Shape shape;  // [out_features, in_features]
    // fetch(first, to): `to` has bytes [first, first + to.size()) of these; 0: there are none.
    std::size_t fetched_bytes = 0;
    std::function<Status(std::size_t first, std::span<std::byte> to)> fetch;
    // The sizes of `rows` are right; `fetched` are all.
    std::function<Status(std::span<const std::byte> fetched, std::size_t first_row,
                         quant::QuantizedLinear& rows)>
        unpack;
  };
  static Result<std::vector<Panels>> FromRows(ThreadPool& pool, std::span<const Rows> linears,
                                              const PanelMemory& memory = {});
  // Dense weights [out, in] rounded to nearest, 16 rows at a time. Preconditions: 16-bit scales,
  // groups of a multiple of 8, and what quant::CheckSpec asks for. Error: a weight that is not
  // finite, or a group whose scale is beyond its type; `name` is the tensor's.
  static Result<Panels> Rounded(ThreadPool& pool, const TensorView& weight, const quant::Spec& spec,
                                std::string_view name);

  std::size_t out_features() const { return out_features_; }
  std::size_t in_features() const { return in_features_; }
  std::size_t group_inputs() const { return group_size_; }
  // What blocks of int8 activations must be: the largest divisor of a group up to kMostBlockInputs
  // that is a multiple of 8, or of 32 where codes are stored in 3 bits.
  Int8Blocks int8_blocks() const { return {group_size_, block_inputs_}; }
  std::size_t bytes() const;

  // y [tokens, out_features] = x W^T, the same bits for any number of threads; with int8 and with
  // floats for any instruction set, too.
  struct Product {
    const Panels* weights = nullptr;
    MatrixView<float> y;
  };
  // Products of the same inputs, between which no thread waits. All weights have what x was made
  // for: in_features, and int8_blocks() or group_inputs().
  static void Apply(ThreadPool& pool, const Int8Activations& x, std::span<const Product> products);
  static void Apply(ThreadPool& pool, const ExactActivations& x, std::span<const Product> products);
  template <class Activations>
  void Apply(ThreadPool& pool, const Activations& x, MatrixView<float> y) const {
    const Product product = {this, y};
    Apply(pool, x, std::span(&product, 1));
  }

 private:
  Panels(std::size_t out_features, std::size_t in_features, const quant::Spec& spec,
         std::size_t group_size, Arena* arena);
  static Status Fill(ThreadPool& pool, std::span<const Rows> linears, UnpackScratch& scratch,
                     std::span<Panels> panels);
  // From rows [first_row, first_row + 16), as far as there are such.
  void FillPanel(const quant::QuantizedLinear& linear, std::size_t first_row, std::size_t panel);
  void FillRow(const std::uint8_t* codes, std::size_t inputs, std::uint8_t* to) const;
  PanelWeights WeightsOf(std::size_t panel) const;
  // Panels one after another.
  struct Run {
    PanelWeights first;
    std::size_t panels;
  };
  // multiply(run, first_token, outputs) for up to kMostTokens tokens at a time.
  template <class Multiply>
  void ForTokens(std::size_t first, std::size_t panels, MatrixView<float> y,
                 const Multiply& multiply) const;
  // The same for all panels of all products, up to at_once (at most kMostPanels) at a time.
  template <class Multiply>
  static void ForPanels(ThreadPool& pool, std::span<const Product> products, std::size_t at_once,
                        const Multiply& multiply);
  std::size_t panel_code_bytes() const { return kPanelRows * in_features_ * bits_ / 8; }
  std::size_t code_bytes() const { return panels() * panel_code_bytes(); }
  std::size_t scale_count() const { return panels() * kPanelRows * groups(); }
  // Of a panel's group: zero points are at most the highest code.
  std::size_t zero_bytes() const { return bits_ == 8 ? kPanelRows : kPanelRows / 2; }
  std::size_t groups() const { return in_features_ / group_size_; }
  std::size_t panels() const;

  std::size_t out_features_ = 0;
  std::size_t in_features_ = 0;
  std::size_t group_size_ = 0;
  std::size_t bits_ = 4;  // that a code is stored in: 3, 4 or 8
  std::size_t block_inputs_ = 0;
  bool scales_are_bf16_ = false;
  // Each panel after panel, as PanelWeights has them; rows beyond out_features are zero.
  std::shared_ptr<std::byte> memory_;
  std::uint8_t* codes_ = nullptr;
  std::uint16_t* scales_ = nullptr;
  std::uint8_t* zeros_ = nullptr;
};

}  // namespace awq::kernels
