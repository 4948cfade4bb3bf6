#include <utility>

#include "base/error.h"
#include "generate/engine.h"
#include "generate/generate.h"

namespace awq::generate {
namespace {

using transformer::Network;

// Whatever happens, no function of the request is called after this.
class Cancelling {
 public:
  Cancelling(Engine& engine, Engine::Id id) : engine_(engine), id_(id) {}
  ~Cancelling() { engine_.Cancel(id_); }
  Cancelling(const Cancelling&) = delete;
  Cancelling& operator=(const Cancelling&) = delete;

 private:
  Engine& engine_;
  Engine::Id id_;
};

}  // namespace

Session::Session(Network& network)
    : engine_(
          std::make_unique<Engine>(network, EngineOptions{.sequences = 1, .kept_sequences = 4})) {}
Session::~Session() = default;

Result<GenerateReport> Session::Generate(std::span<const std::int32_t> prompt,
                                         const GenerateOptions& options, const OnToken& on_token) {
  Result<GenerateReport> result = GenerateReport();
  Request request{{prompt.begin(), prompt.end()}, options, on_token};
  request.on_end = [&](const Result<GenerateReport>& made) { result = made; };
  AWQ_ASSIGN(const Engine::Id id, engine_->Add(std::move(request)));
  const Cancelling cancelling(*engine_, id);
  while (!engine_->idle()) AWQ_TRY(engine_->Step());
  return result;
}

Result<GenerateReport> Generate(Network& network, std::span<const std::int32_t> prompt,
                                const GenerateOptions& options, const OnToken& on_token) {
  return Session(network).Generate(prompt, options, on_token);
}

}  // namespace awq::generate
