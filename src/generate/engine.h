// Many sequences over one pool of pages of keys and values, each with a prompt, a sampler and an
// end of its own. They join and leave between any two steps.
#pragma once

#include <awq/result.h>

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "generate/generate.h"
#include "generate/prefill.h"
#include "transformer/network.h"

namespace awq::generate {

struct EngineOptions {
  std::size_t sequences = 1;  // that run at a time; more wait their turn
  // Finished sequences whose keys and values stay, for prompts that begin as they did; the least
  // recently used one goes when pages or places run out.
  std::size_t kept_sequences = 16;
  std::size_t prompt_tokens = kPrefillTokens;  // of prompts, that one step runs at most
  // Of the cache; 0: as many as `sequences` can fill, and one for each that is kept.
  std::size_t pages = 0;
  std::size_t page_tokens = transformer::kPageTokens;
  // Of logits at a time, where the network does not draw itself; those of one sequence at least.
  std::size_t logits_bytes = std::size_t{32} << 20;
};

struct Request {
  std::vector<std::int32_t> prompt;
  GenerateOptions options;
  OnToken on_token = {};  // false ends the sequence
  // Once, at the end of its life. An error is this sequence's own.
  std::function<void(const Result<GenerateReport>&)> on_end = {};
};

struct EngineLoad {
  std::size_t running = 0;
  std::size_t waiting = 0;
  std::size_t kept = 0;
  std::size_t pages = 0;      // in use
  std::size_t preempted = 0;  // times so far that a sequence had to give its pages to an older one
};

// Error: an empty prompt, or one that leaves no room for an answer in so many positions.
Status CheckPromptLength(std::size_t tokens, std::size_t positions);

// What a sequence draws depends on those beside it only as the last bits of its logits do: a
// product's may differ with the number of rows. Thread contract: one caller at a time, and not
// from inside the functions of a request. The network must outlive it.
class Engine {
 public:
  using Id = std::uint64_t;

  Engine(transformer::Network& network, const EngineOptions& options);
  ~Engine();

  // Error: an empty prompt, one that fills network.positions(), a token outside the vocabulary, or
  // more pages wanted than there are of all.
  Result<Id> Add(Request request);
  // Ends it as its on_token can; nothing where it has ended.
  void Cancel(Id id);
  bool idle() const { return running_.empty() && waiting_.empty(); }

  // A token of each sequence whose prompt has been run, and a part of the prompts of others.
  // Sequences run in the order in which they came. Where pages run out, the youngest one waits
  // again, and what it had is run anew later. Error: the network's; nothing can go on.
  Status Step();

  EngineLoad load() const;
  std::size_t page_bytes() const { return cache_->page_bytes(); }

 private:
  struct Sequence;
  using Owner = std::unique_ptr<Sequence>;
  // A finished one.
  struct Kept {
    std::size_t slot = 0;
    std::vector<std::int32_t> tokens;
  };
  // Whose pages a new sequence may begin with.
  struct Source {
    std::size_t slot = 0;
    std::size_t tokens = 0;   // that both begin with
    std::size_t awaited = 0;  // that both would begin with when it has run its prompt
    std::size_t kept = SIZE_MAX;
  };

  Status CheckFits(const Request& request) const;
  void Plan();
  // Tokens of it that this step runs, at most `budget` of them if it is a prompt's part.
  void PlanPart(Sequence& sequence, std::size_t& budget);
  void PlanRunning(std::size_t& budget);
  void PlanWaiting(std::size_t& budget);
  enum class Admission : std::uint8_t { kAdmitted, kAwaitsPrefix, kNoPages };
  Admission Admit(Sequence& sequence);
  Source FindSource(std::span<const std::int32_t> tokens) const;
  // Drops of what is kept only what gives this its pages, the least recently used first; nothing
  // where all of it would not. Whether anything went.
  bool MakeRoom(const transformer::Segment& segment);
  void Preempt();  // the youngest
  Status RunPlanned();
  // Of drawing_; nothing where none is wanted.
  using Drawn = std::vector<std::optional<Result<std::int32_t>>>;
  Result<Drawn> DrawFromLogits();
  Drawn TakeDrawn();
  Status Draw();
  void Accept(Sequence& sequence, const Result<std::int32_t>& token);
  void Shift(Sequence& sequence);
  void End(Sequence& sequence, StopReason reason);
  void Fail(Sequence& sequence, const Error& error);
  void Keep(Sequence& sequence);
  void Release(std::size_t slot);
  void RemoveEnded();

  transformer::Network& network_;
  EngineOptions options_;
  std::unique_ptr<transformer::KvCache> cache_;
  std::vector<std::size_t> free_slots_;
  std::deque<Owner> waiting_;
  std::vector<Owner> running_;  // oldest first
  std::vector<Kept> kept_;      // least recently used first
  Id next_id_ = 1;
  std::size_t preempted_ = 0;
  std::vector<Sequence*> planned_;
  std::vector<Sequence*> drawing_;   // whose last token this step has run
  std::vector<std::size_t> last_;    // rows of these tokens
  std::vector<std::int32_t> drawn_;  // after them, where the network has drawn
  bool has_drawn_ = false;
  Matrix<float> logits_;
};

}  // namespace awq::generate
