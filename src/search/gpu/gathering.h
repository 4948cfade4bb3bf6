#pragma once
#include "search/gathering.h"
#include "search/gpu/queue.h"
namespace awq::search::gpu {
struct DeviceRows {
  const void* inputs = nullptr;   // bf16 [tokens, in]
  const void* targets = nullptr;  // likewise; null: none
  std::size_t tokens = 0;
};
class DeviceGathering final : public SiteGathering {
 public:
  DeviceGathering(ThreadPool& pool, Queue& queue, std::size_t in, bool paired)
      : pool_(pool), queue_(queue), in_(in), host_(pool, in) {
    (void)paired;
  }
  void Add(const DeviceRows& rows, std::size_t counted, std::size_t held, std::size_t step) {
    const auto get = [&](const void* from) {
      Matrix<BF16> to(from ? rows.tokens : 0, in_);
      if (from)
        queue_.Do([&] {
          return cuda::CopyToHost(to.data(), from, to.span().size_bytes(), queue_.stream());
        });
      queue_.Wait();
      return to;
    };
    const Matrix<BF16> xs = get(rows.inputs), ys = get(rows.targets);
    const MatrixView<const BF16> x = xs, y = ys;
    if (counted > 0 && y.rows > 0) host_.sums().Add(pool_, x.Rows(0, counted), y.Rows(0, counted));
    if (counted > 0 && y.rows == 0) host_.sums().Add(pool_, x.Rows(0, counted));
    if (held >= x.rows) return;
    const auto every = [&](MatrixView<const BF16> r) {
      if (r.rows == 0) return r;
      return MatrixView<const BF16>(r.row(held), CeilDiv(r.rows - held, step), r.cols,
                                    r.stride * step);
    };
    host_.sums().HoldOut(every(x), every(y));
  }
  std::size_t CountNonfinite() override { return host_.CountNonfinite(); }
  SiteSolution Solve(const SiteProblem& p, const SiteOptions& o) override {
    return host_.Solve(p, o);
  }
  SiteStatistics Finish() override { return host_.Finish(); }

 private:
  ThreadPool& pool_;
  Queue& queue_;
  std::size_t in_;
  HostGathering host_;
};
}  // namespace awq::search::gpu
