#include "generate/engine.h"

#include <algorithm>
#include <chrono>
#include <optional>
#include <utility>

#include "base/clock.h"
#include "base/error.h"

namespace awq::generate {
namespace {

using transformer::Batch;
using transformer::KvCache;
using transformer::Network;
using transformer::Segment;

constexpr std::size_t kNoSlot = SIZE_MAX;

std::size_t InCommon(std::span<const std::int32_t> a, std::span<const std::int32_t> b) {
  const auto end = std::mismatch(a.begin(), a.end(), b.begin(), b.end()).first;
  return static_cast<std::size_t>(end - a.begin());
}

// Makes room for half of what does not stay; how many tokens went.
std::size_t Shorten(std::vector<std::int32_t>& tokens, std::size_t keeps, std::size_t positions) {
  const std::size_t first = std::min(keeps, positions / 2);
  const std::size_t last = (positions - first) / 2;
  const std::size_t gone = tokens.size() - first - last;
  const auto from = tokens.begin() + static_cast<std::ptrdiff_t>(first);
  tokens.erase(from, from + static_cast<std::ptrdiff_t>(gone));
  return gone;
}

transformer::CacheShape ShapeFor(const Network& network, const EngineOptions& options) {
  const std::size_t of_one = CeilDiv(network.positions(), options.page_tokens);
  return {.layers = network.config().num_hidden_layers,
          .slots = options.sequences + options.kept_sequences,
          .capacity_tokens = network.positions(),
          .pages = options.pages > 0 ? options.pages
                                     : options.sequences * of_one + options.kept_sequences,
          .page_tokens = options.page_tokens};
}

}  // namespace

struct Engine::Sequence {
  Sequence(Id id_in, Request request_in)
      : id(id_in),
        request(std::move(request_in)),
        tokens(std::move(request.prompt)),
        sampler(request.options.sampler, request.options.stream) {
    sampler.See(tokens);
    report.prompt_tokens = tokens.size();
  }

  std::size_t pending() const { return tokens.size() - held; }
  bool wants_token() const { return report.tokens.size() < request.options.max_new_tokens; }

  Id id;
  Request request;
  std::vector<std::int32_t> tokens;  // the prompt and what was drawn
  std::size_t held = 0;              // of them, whose keys and values are in the cache
  std::size_t part = 0;              // that this step adds
  std::size_t slot = kNoSlot;
  Sampler sampler;
  GenerateReport report;
  std::chrono::steady_clock::time_point start;  // of its prompt, then of decoding
  bool has_started = false;
  bool has_prompt = false;  // run, to its last token's logits
  bool has_ended = false;
};

Engine::Engine(Network& network, const EngineOptions& options)
    : network_(network), options_(options), cache_(network.MakeCache(ShapeFor(network, options))) {
  AWQ_CHECK_LT(std::size_t{0}, options.sequences);
  for (std::size_t slot = cache_->shape().slots; slot-- > 0;) free_slots_.push_back(slot);
}

Engine::~Engine() = default;

EngineLoad Engine::load() const {
  return {running_.size(), waiting_.size(), kept_.size(), cache_->pages_in_use(), preempted_};
}

Status CheckPromptLength(std::size_t tokens, std::size_t positions) {
  if (tokens == 0) {
    return MakeError(ErrorCode::kInvalidArgument,
                     "an empty prompt: expected at least one token; give it a text, or BOS "
                     "(--bos window) where the model knows one");
  }
  if (tokens >= positions) {
    return MakeError(ErrorCode::kInvalidArgument,
                     "a prompt of {} tokens is too long: the context of {} has room for {} and an "
                     "answer; shorten it, or let its older part go (--context-shift)",
                     tokens, positions, std::max<std::size_t>(positions, 1) - 1);
  }
  return {};
}

Status Engine::CheckFits(const Request& request) const {
  const std::size_t positions = network_.positions();
  const std::size_t tokens = request.prompt.size();
  AWQ_TRY(CheckPromptLength(tokens, positions));
  const auto vocab = static_cast<std::int64_t>(network_.config().vocab_size);
  for (const std::int32_t token : request.prompt) {
    if (token >= 0 && token < vocab) continue;
    return MakeError(ErrorCode::kInvalidArgument,
                     "token {} of a prompt: the model knows tokens 0 to {}", token, vocab - 1);
  }
  const std::size_t most = tokens + std::min(request.options.max_new_tokens, positions - tokens);
  const std::size_t wanted = CeilDiv(most, cache_->shape().page_tokens);
  if (wanted > cache_->shape().pages) {
    return MakeError(
        ErrorCode::kOutOfMemory,
        "a prompt of {} tokens and its answer take {} pages of {} tokens; the cache of "
        "keys and values has {}: ask for a shorter answer, or give it more memory",
        tokens, wanted, cache_->shape().page_tokens, cache_->shape().pages);
  }
  return {};
}

Result<Engine::Id> Engine::Add(Request request) {
  const std::optional<std::size_t> keeps = request.options.shift_keeps;
  const bool too_long = request.prompt.size() >= network_.positions() && network_.positions() > 1;
  const std::size_t gone =
      keeps && too_long ? Shorten(request.prompt, *keeps, network_.positions()) : 0;
  AWQ_TRY(CheckFits(request));
  waiting_.push_back(std::make_unique<Sequence>(next_id_, std::move(request)));
  waiting_.back()->report.shifted_tokens = gone;
  return next_id_++;
}

void Engine::Cancel(Id id) {
  const auto cancel = [&](const Owner& each) {
    if (each->id == id) End(*each, StopReason::kCaller);
  };
  std::ranges::for_each(running_, cancel);
  std::ranges::for_each(waiting_, cancel);
  RemoveEnded();
}

Status Engine::Step() {
  AWQ_TRY(cache_->Prepare());
  Plan();
  if (!planned_.empty()) {
    AWQ_TRY(RunPlanned());
    AWQ_TRY(Draw());
  }
  RemoveEnded();
  return {};
}

void Engine::Plan() {
  planned_.clear();
  drawing_.clear();
  std::size_t budget = options_.prompt_tokens;
  PlanRunning(budget);
  PlanWaiting(budget);
}

void Engine::PlanPart(Sequence& sequence, std::size_t& budget) {
  const bool is_prompt = sequence.pending() > 1;
  const auto& goes_on = sequence.request.options.goes_on;
  if (!sequence.has_prompt && goes_on && !goes_on()) return End(sequence, StopReason::kCaller);
  sequence.part = is_prompt ? std::min(sequence.pending(), budget) : 1;
  if (is_prompt) budget -= sequence.part;
  if (sequence.part == 0) return;
  planned_.push_back(&sequence);
}

void Engine::PlanRunning(std::size_t& budget) {
  for (std::size_t i = 0; i < running_.size(); ++i) {
    Sequence& sequence = *running_[i];
    PlanPart(sequence, budget);
    if (sequence.has_ended) continue;
    // A prompt has had its pages since it was admitted.
    const Segment segment{sequence.part, sequence.held, sequence.slot};
    while (!cache_->Reserve(segment)) {
      if (MakeRoom(segment)) continue;
      const bool is_youngest = i + 1 == running_.size();
      if (is_youngest) planned_.pop_back();
      Preempt();
      if (is_youngest) return;
    }
  }
}

void Engine::PlanWaiting(std::size_t& budget) {
  for (std::size_t i = 0; i < waiting_.size();) {
    if (running_.size() == options_.sequences || budget == 0) return;
    Sequence& sequence = *waiting_[i];
    const Admission admission = Admit(sequence);
    if (admission == Admission::kNoPages) return;
    if (admission == Admission::kAwaitsPrefix) {
      ++i;
      continue;
    }
    running_.push_back(std::move(waiting_[i]));
    waiting_.erase(waiting_.begin() + static_cast<std::ptrdiff_t>(i));
    PlanPart(sequence, budget);
  }
}

Engine::Admission Engine::Admit(Sequence& sequence) {
  const Source source = FindSource({sequence.tokens.data(), sequence.tokens.size() - 1});
  if (source.awaited >= source.tokens + cache_->shape().page_tokens) {
    return Admission::kAwaitsPrefix;
  }
  const std::size_t slot = free_slots_.back();
  if (source.tokens > 0) cache_->Share(source.slot, slot, source.tokens);
  if (source.kept != SIZE_MAX) {
    std::rotate(kept_.begin() + static_cast<std::ptrdiff_t>(source.kept),
                kept_.begin() + static_cast<std::ptrdiff_t>(source.kept) + 1, kept_.end());
  }
  const Segment all{sequence.tokens.size() - source.tokens, source.tokens, slot};
  while (!cache_->Reserve(all)) {
    if (MakeRoom(all)) continue;
    AWQ_CHECK(!running_.empty());  // alone it fits
    cache_->Truncate(slot, 0);
    return Admission::kNoPages;
  }
  std::erase(free_slots_, slot);
  sequence.slot = slot;
  sequence.held = source.tokens;
  if (!sequence.has_started) {
    sequence.has_started = true;
    sequence.report.reused_tokens = source.tokens;
    sequence.start = std::chrono::steady_clock::now();
  }
  return Admission::kAdmitted;
}

Engine::Source Engine::FindSource(std::span<const std::int32_t> tokens) const {
  Source best;
  for (std::size_t i = 0; i < kept_.size(); ++i) {
    const std::size_t common = InCommon(tokens, kept_[i].tokens);
    if (common > best.tokens) best = {kept_[i].slot, common, 0, i};
  }
  std::size_t awaited = 0;
  for (const Owner& each : running_) {
    if (each->has_ended) continue;
    const std::size_t common = InCommon(tokens, each->tokens);
    awaited = std::max(awaited, common);
    if (std::min(common, each->held) > best.tokens) {
      best = {each->slot, std::min(common, each->held)};
    }
  }
  best.awaited = awaited;
  return best;
}

bool Engine::MakeRoom(const Segment& segment) {
  std::vector<std::size_t> gone;
  for (const Kept& each : kept_) gone.push_back(each.slot);
  if (cache_->MissingPages(segment, gone) > 0) return false;
  // The latest first: what can stay does.
  for (std::size_t i = kept_.size(); i-- > 0;) {
    const std::size_t slot = kept_[i].slot;
    std::erase(gone, slot);
    if (cache_->MissingPages(segment, gone) > 0) gone.push_back(slot);
  }
  for (const std::size_t slot : gone) Release(slot);
  std::erase_if(kept_,
                [&](const Kept& each) { return std::ranges::find(gone, each.slot) != gone.end(); });
  return !gone.empty();
}

void Engine::Release(std::size_t slot) {
  cache_->Truncate(slot, 0);
  free_slots_.push_back(slot);
}

void Engine::Preempt() {
  Owner youngest = std::move(running_.back());
  running_.pop_back();
  Release(std::exchange(youngest->slot, kNoSlot));
  youngest->held = 0;
  youngest->part = 0;
  ++preempted_;
  waiting_.push_front(std::move(youngest));
}

Status Engine::RunPlanned() {
  std::vector<std::int32_t> tokens;
  Batch batch;
  last_.clear();
  for (Sequence* each : planned_) {
    const auto first = each->tokens.begin() + static_cast<std::ptrdiff_t>(each->held);
    tokens.insert(tokens.end(), first, first + static_cast<std::ptrdiff_t>(each->part));
    batch.push_back({each->part, each->held, each->slot});
    if (each->part < each->pending()) continue;
    drawing_.push_back(each);
    last_.push_back(tokens.size() - 1);
  }
  std::vector<transformer::Draw> draws;
  for (const Sequence* each : drawing_) draws.push_back(each->sampler.draw());
  drawn_.resize(drawing_.size());
  AWQ_ASSIGN(has_drawn_, network_.RunAndDraw(tokens, batch, *cache_, last_, draws, drawn_));
  for (Sequence* each : planned_) each->held += std::exchange(each->part, 0);
  return {};
}

Result<Engine::Drawn> Engine::DrawFromLogits() {
  const std::size_t vocab = network_.config().vocab_size;
  const std::size_t most =
      std::max<std::size_t>(1, options_.logits_bytes / (vocab * sizeof(float)));
  const std::size_t rows = std::min(most, drawing_.size());
  if (logits_.rows() < rows) logits_ = Matrix<float>(rows, vocab);
  Drawn drawn(drawing_.size());
  for (std::size_t first = 0; first < drawing_.size(); first += rows) {
    const std::size_t n = std::min(rows, drawing_.size() - first);
    AWQ_TRY(network_.LogitsOf(std::span(last_).subspan(first, n), logits_.view().Rows(0, n)));
    network_.pool().ParallelFor(n, [&](std::size_t i, std::size_t) {
      Sequence& sequence = *drawing_[first + i];
      if (sequence.wants_token()) drawn[first + i] = sequence.sampler.Next({logits_.row(i), vocab});
    });
  }
  return drawn;
}

Engine::Drawn Engine::TakeDrawn() {
  Drawn drawn(drawing_.size());
  for (std::size_t i = 0; i < drawing_.size(); ++i) {
    if (!drawing_[i]->wants_token()) continue;
    drawn[i] = drawing_[i]->sampler.Take(drawn_[i], network_.config().vocab_size);
  }
  return drawn;
}

Status Engine::Draw() {
  Drawn drawn;
  if (has_drawn_) {
    drawn = TakeDrawn();
  } else {
    AWQ_ASSIGN(drawn, DrawFromLogits());
  }
  for (std::size_t i = 0; i < drawing_.size(); ++i) {
    Sequence& sequence = *drawing_[i];
    if (!sequence.has_prompt) {
      sequence.has_prompt = true;
      sequence.report.prefill_seconds = SecondsSince(sequence.start);
      sequence.start = std::chrono::steady_clock::now();
    }
    if (drawn[i]) {
      Accept(sequence, *drawn[i]);
    } else {
      End(sequence, StopReason::kLength);  // no token was asked for
    }
  }
  return {};
}

void Engine::Accept(Sequence& sequence, const Result<std::int32_t>& token) {
  if (!token) return Fail(sequence, token.error());
  const GenerateOptions& options = sequence.request.options;
  const auto& ends = options.end_tokens;
  if (std::ranges::find(ends, *token) != ends.end()) return End(sequence, StopReason::kEnd);
  sequence.tokens.push_back(*token);
  std::vector<std::int32_t>& made = sequence.report.tokens;
  made.push_back(*token);
  if (sequence.request.on_token && !sequence.request.on_token(*token)) {
    End(sequence, StopReason::kCaller);
  } else if (made.size() == options.max_new_tokens) {
    End(sequence, StopReason::kLength);
  } else if (sequence.tokens.size() == network_.positions()) {
    options.shift_keeps ? Shift(sequence) : End(sequence, StopReason::kContext);
  }
}

// Keys have been rotated by their positions, so those of what moves are made again.
void Engine::Shift(Sequence& sequence) {
  const std::size_t before = sequence.tokens.size();
  const std::size_t keeps = *sequence.request.options.shift_keeps;
  const std::size_t gone = Shorten(sequence.tokens, keeps, before);
  sequence.report.shifted_tokens += gone;
  sequence.held = std::min(keeps, before / 2);
  cache_->Truncate(sequence.slot, sequence.held);
}

void Engine::End(Sequence& sequence, StopReason reason) {
  if (sequence.has_ended) return;
  sequence.report.stop = reason;
  if (sequence.has_prompt) {
    sequence.report.decode_seconds = SecondsSince(sequence.start);
  } else if (sequence.has_started) {
    sequence.report.prefill_seconds = SecondsSince(sequence.start);
  }
  sequence.has_ended = true;
  if (sequence.slot != kNoSlot) Keep(sequence);
  if (sequence.request.on_end) sequence.request.on_end(std::move(sequence.report));
}

void Engine::Fail(Sequence& sequence, const Error& error) {
  sequence.has_ended = true;
  Release(std::exchange(sequence.slot, kNoSlot));
  if (sequence.request.on_end) sequence.request.on_end(error);
}

// What begins as it does and is no longer adds nothing.
void Engine::Keep(Sequence& sequence) {
  const std::size_t slot = std::exchange(sequence.slot, kNoSlot);
  sequence.tokens.resize(sequence.held);
  const std::vector<std::int32_t>& tokens = sequence.tokens;
  for (std::size_t i = 0; i < kept_.size(); ++i) {
    const std::size_t common = InCommon(tokens, kept_[i].tokens);
    if (common == kept_[i].tokens.size()) {
      Release(kept_[i].slot);
      kept_.erase(kept_.begin() + static_cast<std::ptrdiff_t>(i--));
    } else if (common == tokens.size()) {
      return Release(slot);
    }
  }
  if (tokens.empty() || options_.kept_sequences == 0) return Release(slot);
  if (kept_.size() == options_.kept_sequences) {
    Release(kept_.front().slot);
    kept_.erase(kept_.begin());
  }
  kept_.push_back({slot, std::move(sequence.tokens)});
}

void Engine::RemoveEnded() {
  const auto has_ended = [](const Owner& each) { return each->has_ended; };
  std::erase_if(running_, has_ended);
  std::erase_if(waiting_, has_ended);
}

}  // namespace awq::generate
