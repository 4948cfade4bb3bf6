// One line on the terminal that says what, how far, how long still, and how much memory.
#pragma once

#include <awq/progress.h>

#include <chrono>
#include <string>

namespace awq::cli {

// Writes to standard error; draws nothing when that is no terminal, but still prints notes.
class ProgressBar final : public ProgressSink {
 public:
  ProgressBar();
  ~ProgressBar() override;
  void Update(const ProgressEvent& event) override;
  // Takes the line away, so that something else can be printed.
  void Clear();

 private:
  using Clock = std::chrono::steady_clock;
  void Draw(const ProgressEvent& event);

  bool terminal_;
  bool drawn_ = false;
  std::string stage_;
  Clock::time_point stage_start_;
  std::uint64_t stage_first_ = 0;  // `done` at the stage's first event: a continued run
  Clock::time_point last_draw_;
};

}  // namespace awq::cli
