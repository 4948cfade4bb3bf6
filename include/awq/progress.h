// How long-running calls report what they are doing. The library never prints: it tells a sink.
#pragma once

#include <cstdint>
#include <string_view>

namespace awq {

struct ProgressEvent {
  std::string_view stage;  // "quantizing", "evaluating", ...
  std::uint64_t done = 0;  // in `unit`; done == total ends the stage
  std::uint64_t total = 0;
  std::string_view unit;  // "blocks", "tokens", "bytes"
  std::string_view note;  // one line worth reading even without a progress bar; may be empty
};

// Called from one thread at a time, never concurrently.
class ProgressSink {
 public:
  virtual ~ProgressSink() = default;
  virtual void Update(const ProgressEvent& event) = 0;
};

// Tells the sink one line worth reading; nothing without a sink.
inline void Note(ProgressSink* sink, std::string_view line) {
  if (sink != nullptr) sink->Update({.stage = "", .done = 0, .total = 0, .unit = "", .note = line});
}

// Tells the sink how far a stage is; nothing without a sink.
inline void Report(ProgressSink* sink, std::string_view stage, std::uint64_t done,
                   std::uint64_t total, std::string_view unit) {
  if (sink == nullptr) return;
  sink->Update({.stage = stage, .done = done, .total = total, .unit = unit, .note = ""});
}

}  // namespace awq
