// How fast a network runs prompts and decodes, measured beside what the machine reaches.
#pragma once

#include <awq/result.h>

#include <cstddef>
#include <functional>
#include <memory>
#include <vector>

#include "base/threads.h"
#include "math/machine.h"
#include "transformer/network.h"

namespace awq::speed {

struct Spread {
  double median = 0;
  double least = 0;
  double most = 0;
};

struct Speed {
  Spread tokens_per_second;
  double bytes_per_second = 0;       // median: weights, and cached keys and values, that were read
  double operations_per_second = 0;  // median: multiplications and additions with weights
  // Medians over repeats of the quotient with what was measured right before and after each.
  double share_of_reading = 0;
  double share_of_product = 0;
};

// One repeat: what was done in so many seconds, and what the machine reached right before and
// after.
struct Repeat {
  double tokens = 0;
  double bytes = 0;
  double operations = 0;
  double seconds = 0;
  double reads_before = 0;  // bytes a second
  double reads_after = 0;
  double products_before = 0;  // operations a second; 0: not measured
  double products_after = 0;
};

// At least one repeat.
Speed Summarize(const std::vector<Repeat>& repeats);
Spread SpreadOf(std::vector<double> values);

// Machine limits are measured around each repeat. The network must outlive it; its positions are
// what prompts and answers may fill.
class SpeedTest {
 public:
  SpeedTest(transformer::Network& network, std::size_t repeats);

  // A prompt of so many tokens, to the logits of its last.
  Result<Speed> Prefill(std::size_t tokens);
  // `new_tokens` steps of `batch` sequences with prompts of so many tokens: the most likely token
  // of each becomes its next one.
  Result<Speed> Decode(std::size_t prompt_tokens, std::size_t new_tokens, std::size_t batch);

  // Bytes a second that the machine read, around all repeats so far.
  Spread reading() const;

 private:
  // `product`: whose products are measured, too; or null.
  Result<Speed> Measure(transformer::Limits* product, const std::function<Result<Repeat>()>& run);
  double Read();

  transformer::Network& network_;
  std::size_t repeats_;
  std::unique_ptr<transformer::Limits> limits_;
  std::vector<double> reads_;
};

}  // namespace awq::speed
