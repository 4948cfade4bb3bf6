// One block's forward pass, written once for every backend: what an architecture does differently
// stands here, and what a device does differently in its steps.
#pragma once

#include <functional>
#include <span>

#include "model/arch.h"

namespace awq::transformer {

using model::Role;

// Of one block over one batch. What goes wrong is kept until whoever runs the block asks.
class BlockSteps {
 public:
  virtual ~BlockSteps() = default;
  // Hidden states, normalized -> the input of what follows.
  virtual void Normalize(Role norm) = 0;
  // That input -> a product for each of `readers`.
  virtual void Multiply(std::span<const Role> readers) = 0;
  // Products of kQ, kK and kV: heads are normalized, where there is a norm, and rotated; keys and
  // values go to the cache.
  virtual void RotateAndStore() = 0;
  // Queries, over the cache -> the input of kO.
  virtual void Attend() = 0;
  // Products of kGate and kUp -> the input of kDown.
  virtual void Gate() = 0;
  // Hidden states += what `reader`, kO or kDown, makes of its input.
  virtual void AddOutput(Role reader) = 0;
};

// Is told of each site whose input is there, by its first reader: kQ, kO, kGate or kDown.
using OnInput = std::function<void(Role reader)>;

// From the block's input to that of kQ or kO; from what AddOutput(kO) has made of it to that of
// kGate or kDown.
void MakeInput(BlockSteps& steps, Role reader, const OnInput& on_input = {});
// All of it.
void RunBlock(BlockSteps& steps, const OnInput& on_input = {});

}  // namespace awq::transformer
