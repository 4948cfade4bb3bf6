#include "hub/pull.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <memory>
#include <mutex>
#include <optional>
#include <system_error>
#include <utility>

#include "base/checked.h"
#include "base/error.h"
#include "base/threads.h"
#include "hub/blob.h"
#include "hub/cache.h"
#include "hub/client.h"
#include "hub/selection.h"
#include "io/file.h"
#include "io/shard_index.h"

namespace awq::hub {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kParallelFiles = 4;
constexpr int kTriesOfListing = 3;  // who has no network should learn it soon
constexpr std::size_t kMaxIndexBytes = std::size_t{64} << 20;

std::string Size(std::size_t bytes) {
  return fmt::format("{:.1f} MiB", static_cast<double>(bytes) / (1 << 20));
}

// Counts what arrives, for the sink, which is called from one thread at a time.
class Counter {
 public:
  Counter(ProgressSink* sink, std::size_t held_bytes, std::size_t total_bytes)
      : sink_(sink),
        done_bytes_(static_cast<std::ptrdiff_t>(held_bytes)),
        total_bytes_(total_bytes) {
    Add(0);
  }
  void Add(std::ptrdiff_t bytes) {
    const std::lock_guard lock(mutex_);
    done_bytes_ += bytes;
    Report(sink_, "downloading", static_cast<std::uint64_t>(done_bytes_), total_bytes_, "bytes");
  }

 private:
  ProgressSink* sink_;
  std::mutex mutex_;
  std::ptrdiff_t done_bytes_;
  std::size_t total_bytes_;
};

class Puller {
 public:
  Puller(const Settings& settings, const PullRequest& request, ProgressSink* progress)
      : settings_(settings),
        request_(request),
        progress_(progress),
        cache_(settings.cache, request.name) {}

  Result<Pulled> Go() {
    const std::string& revision = request_.name.revision;
    const auto cached = cache_.FindCommit(revision);
    const std::vector<std::string> missing = MissingAt(cached);
    if (settings_.offline) {
      if (!missing.empty() || !cached) return NotCached(missing);
      return Done(*cached);
    }
    const bool whole = cached && missing.empty();
    if (whole && IsCommit(revision) && HasTokenizer(*cached)) return Done(*cached);

    HubClient client(settings_, request_.name, stop_);
    const auto listing = client.List(Patience(stop_, whole ? 1 : kTriesOfListing));
    if (!listing) {
      if (!whole || listing.error().code != ErrorCode::kIo) return listing.error();
      Note(progress_, fmt::format("{}; going on with commit {}, which is in the cache",
                                  listing.error().message, *cached));
      return Done(*cached);
    }
    AWQ_TRY(Bring(*listing));
    AWQ_TRY(cache_.WriteReference(revision, listing->commit));
    return Done(listing->commit);
  }

 private:
  struct Need {
    RemoteFile file;
    std::optional<BlobJob> job;  // none: its blob is there
  };

  Pulled Done(const std::string& commit) const {
    return {cache_.Snapshot(commit), commit, downloaded_files_, downloaded_bytes_};
  }

  std::vector<std::string> MissingAt(const std::optional<std::string>& commit) const {
    if (request_.files.empty()) {
      return MissingOfModel(commit ? cache_.Snapshot(*commit) : fs::path(), request_.weights);
    }
    std::vector<std::string> missing;
    for (const std::string& file : request_.files) {
      if (commit && cache_.Has(*commit, file)) continue;
      const bool absent = commit && cache_.IsKnownAbsent(*commit, file);
      missing.push_back(absent ? file + " (which the hub has not, either)" : file);
    }
    return missing;
  }

  // A whole model may have none; then the repository was seen to have none.
  bool HasTokenizer(const std::string& commit) const {
    return !request_.files.empty() || cache_.Has(commit, "tokenizer.json") ||
           cache_.IsKnownAbsent(commit, "tokenizer.json");
  }

  Error NotCached(const std::vector<std::string>& missing) const {
    std::error_code ignored;
    if (!fs::exists(cache_.folder(), ignored)) {
      return MakeError(ErrorCode::kNotFound,
                       "{}: HF_HUB_OFFLINE is set, and {} is not there; unset it to download the "
                       "model, or let HF_HOME name the cache that has it",
                       request_.name.text(), cache_.folder().string());
    }
    return MakeError(ErrorCode::kNotFound,
                     "{}: HF_HUB_OFFLINE is set, and {} lacks of this revision: {}; unset it and "
                     "run: awq pull {}",
                     request_.name.text(), cache_.folder().string(), fmt::join(missing, ", "),
                     request_.name.text());
  }

  Status Bring(const Listing& listing) {
    if (!request_.files.empty()) return BringNamed(listing);
    if (!Contains(listing, "config.json") && request_.weights) {
      AWQ_TRY(CheckWeights(listing, request_.name.text()));
      return MakeError(ErrorCode::kUnsupported,
                       "{}: it has no config.json: not a language model's "
                       "repository",
                       request_.name.text());
    }
    std::vector<std::string> files = SmallFiles(listing);
    if (request_.weights) {
      AWQ_TRY(CheckWeights(listing, request_.name.text()));
      AWQ_TRY(AddWeights(listing, files));
    }
    AWQ_TRY(BringFiles(listing.commit, files));
    if (downloaded_files_ == 0) return {};  // the cache may be one that cannot be written
    for (const std::string& file : AbsentSmallFiles(listing)) {
      AWQ_TRY(cache_.MarkAbsent(listing.commit, file));
    }
    return {};
  }

  Status BringNamed(const Listing& listing) {
    for (const std::string& file : request_.files) {
      if (Contains(listing, file)) continue;
      const Error error = MakeError(ErrorCode::kNotFound, "{}: {} has no file {} at commit {}",
                                    request_.name.text(), settings_.endpoint, file, listing.commit);
      if (IsSafeFileName(file)) AWQ_TRY(cache_.MarkAbsent(listing.commit, file));
      return error;
    }
    return BringFiles(listing.commit, request_.files);
  }

  // Both present: the single file wins, as in transformers. Of shards only the index says which
  // belong to the model.
  Status AddWeights(const Listing& listing, std::vector<std::string>& files) {
    if (Contains(listing, kSingleWeights)) {
      files.emplace_back(kSingleWeights);
      return {};
    }
    AWQ_TRY(BringFiles(listing.commit, {kIndex}));
    const fs::path index = cache_.Snapshot(listing.commit) / kIndex;
    AWQ_ASSIGN(const std::string text, io::ReadFile(index, kMaxIndexBytes));
    AWQ_ASSIGN(const std::vector<std::string> shards, io::ReadShardNames(text, index.string()));
    for (const std::string& shard : shards) {
      if (!Contains(listing, shard)) {
        return MakeError(ErrorCode::kCorrupt, "{}: names {}, which is no file of the repository",
                         index.string(), shard);
      }
      files.push_back(shard);
    }
    return {};
  }

  // Those that the snapshot has not yet.
  Status BringFiles(const std::string& commit, std::vector<std::string> files) {
    std::erase_if(files, [&](const std::string& file) { return cache_.Has(commit, file); });
    if (files.empty()) return {};
    AWQ_TRY(cache_.MakeFolders());
    std::vector<Need> needs(files.size());
    const auto describe = [&](HubClient& client, std::size_t i) -> Status {
      AWQ_ASSIGN(needs[i].file, client.Describe(commit, files[i]));
      return {};
    };
    AWQ_TRY(InParallel(files.size(), describe));
    AWQ_ASSIGN(const std::size_t held_bytes, PlanJobs(needs));
    std::size_t total_bytes = 0;
    std::size_t jobs = 0;
    for (const Need& need : needs) {
      if (!need.job) continue;
      total_bytes += need.file.size_bytes;
      ++jobs;
    }
    if (jobs > 0) {
      Note(progress_, fmt::format("{}: fetching {} file{}, {}{}, into {}", request_.name.text(),
                                  jobs, jobs == 1 ? "" : "s", Size(total_bytes),
                                  held_bytes > 0 ? " (" + Size(held_bytes) + " are there)" : "",
                                  cache_.folder().string()));
    }
    Counter counter(progress_, held_bytes, total_bytes);
    const Meter meter = [&](std::ptrdiff_t bytes) { counter.Add(bytes); };
    const auto fetch = [&](HubClient& client, std::size_t i) -> Status {
      const Need& need = needs[i];
      if (need.job) AWQ_TRY(FetchBlob(client, cache_, commit, *need.job, meter, stop_));
      return cache_.Link(commit, need.file.name, need.file.hash);
    };
    AWQ_TRY(InParallel(needs.size(), fetch));
    downloaded_files_ += jobs;
    downloaded_bytes_ += total_bytes - held_bytes;
    return {};
  }

  // Which blobs are to be fetched, and that the disk has room for them. What earlier tries left of
  // them, in bytes.
  Result<std::size_t> PlanJobs(std::vector<Need>& needs) const {
    std::size_t held_bytes = 0;
    std::size_t needed_bytes = 0;
    std::error_code failure;
    for (Need& need : needs) {
      if (fs::exists(cache_.Blob(need.file.hash), failure)) continue;
      const std::uintmax_t held = fs::file_size(cache_.Incomplete(need.file.hash), failure);
      const std::size_t usable = !failure && held <= need.file.size_bytes ? held : 0;
      need.job = BlobJob{need.file, usable};
      held_bytes += usable;
      const auto sum = CheckedAdd(needed_bytes, need.file.size_bytes - usable);
      needed_bytes = sum.value_or(SIZE_MAX);
    }
    const fs::space_info space = fs::space(cache_.folder(), failure);
    if (!failure && needed_bytes > space.available) {
      return MakeError(ErrorCode::kIo,
                       "{}: {} are to be downloaded and {} are free; free some, or let HF_HOME "
                       "name a folder on another disk",
                       cache_.folder().string(), Size(needed_bytes), Size(space.available));
    }
    return held_bytes;
  }

  // The first error ends the others.
  template <class Work>
  Status InParallel(std::size_t count, const Work& work) {
    ThreadPool pool(std::min(count, kParallelFiles));
    std::vector<std::unique_ptr<HubClient>> clients(pool.size());
    std::mutex mutex;
    Status outcome;
    pool.ParallelFor(count, [&](std::size_t index, std::size_t worker) {
      if (stop_) return;
      auto& client = clients[worker];
      if (!client) client = std::make_unique<HubClient>(settings_, request_.name, stop_);
      const Status done = work(*client, index);
      if (done) return;
      const std::lock_guard lock(mutex);
      if (!stop_.exchange(true)) outcome = done;
    });
    return outcome;
  }

  const Settings& settings_;
  const PullRequest& request_;
  ProgressSink* progress_;
  RepositoryCache cache_;
  std::atomic<bool> stop_ = false;
  std::size_t downloaded_files_ = 0;
  std::size_t downloaded_bytes_ = 0;
};

// An ending that files have and models have not.
bool IsFileName(std::string_view name) {
  constexpr std::string_view kEndings[] = {".safetensors", ".gguf", ".json", ".bin",
                                           ".pt",          ".pth",  ".txt"};
  return std::ranges::any_of(kEndings, [&](auto ending) { return name.ends_with(ending); });
}

}  // namespace

Result<Pulled> Pull(const Settings& settings, const PullRequest& request, ProgressSink* progress) {
  return Puller(settings, request, progress).Go();
}

Result<fs::path> FindModel(const std::string& model, bool weights, const Variables& variables,
                           ProgressSink* progress) {
  std::error_code ignored;
  if (fs::exists(model, ignored)) return fs::path(model);
  if (fs::path(model).extension() == ".gguf") {
    return MakeError(ErrorCode::kNotFound, "{}: there is no such file", model);
  }
  const auto name = ParseModelName(model);
  if (!name || IsFileName(name->name)) {
    return MakeError(ErrorCode::kNotFound,
                     "{}: there is no such directory, and it is not the name of a model on a hub "
                     "(ORG/NAME or ORG/NAME@REVISION), either",
                     model);
  }
  if (fs::exists(name->org, ignored)) {
    return MakeError(ErrorCode::kNotFound,
                     "{}: there is no such directory; as {} is one, this is taken for a path and "
                     "nothing is downloaded; a model of that name on a hub is fetched by: awq pull "
                     "{}",
                     model, name->org, model);
  }
  AWQ_ASSIGN(const Settings settings, ReadSettings(variables));
  auto pulled = Pull(settings, {.name = *name, .weights = weights, .files = {}}, progress);
  if (pulled) return pulled->directory;
  return MakeError(pulled.error().code, "{} (there is no directory of this name here)",
                   pulled.error().message);
}

}  // namespace awq::hub
