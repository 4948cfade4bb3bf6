#include "transformer/gpu/recordings.h"

namespace awq::transformer::gpu {

void Recordings::Run(Context& context, const StepShape& shape,
                     const std::function<void()>& launch) {
  const auto found = entries_.find(shape);
  if (found == entries_.end() || found->second.moves != context.moves()) {
    launch();
    // Graphs may still run when they go.
    if (entries_.size() >= kMost || found != entries_.end()) (void)context.Synchronize();
    if (entries_.size() >= kMost) entries_.clear();
    entries_[shape] = Entry{context.moves(), {}};
    return;
  }
  cuda::Graph& graph = found->second.graph;
  if (!graph.is_ready()) {
    context.Do([&] { return graph.Begin(context.stream()); });
    launch();
    const cuda::Fault ended = graph.End(context.stream());
    context.Do([&] { return ended; });
  }
  ++replays_;
  context.Do([&] { return graph.Launch(context.stream()); });
}

}  // namespace awq::transformer::gpu
