#include "hub/blob.h"

#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <optional>
#include <system_error>
#include <utility>

#include "base/error.h"
#include "hub/hash.h"
#include "io/file.h"

namespace awq::hub {
namespace {

namespace fs = std::filesystem;

// A blob in the making: what is in the file is what the hasher has seen.
class PartialBlob {
 public:
  static Result<PartialBlob> Open(fs::path path, const BlobJob& job, const Meter& meter) {
    PartialBlob blob(std::move(path), job.file, meter);
    std::error_code absent;
    const std::uintmax_t held = fs::file_size(blob.path_, absent);
    const bool usable = !absent && held <= job.file.size_bytes;
    AWQ_ASSIGN(blob.output_, io::OutputFile::Create(blob.path_, /*keep_contents=*/usable));
    if (usable && held > 0) {
      AWQ_ASSIGN(const auto mapped, io::MappedFile::Open(blob.path_));
      blob.hasher_.Update(mapped->bytes());
      blob.held_bytes_ = mapped->bytes().size();
    }
    meter(static_cast<std::ptrdiff_t>(blob.held_bytes_) -
          static_cast<std::ptrdiff_t>(job.held_bytes));
    return blob;
  }

  std::size_t held_bytes() const { return held_bytes_; }
  bool whole() const { return held_bytes_ == file_->size_bytes; }

  // Before the body of an answer: does it begin where this ends?
  Status Place(const HttpAnswer& answer) {
    if (answer.status == 200) return Restart();
    const auto range = ReadContentRange(HeaderOf(answer.headers, "content-range"));
    if (range && range->first == held_bytes_ &&
        range->total_bytes.value_or(file_->size_bytes) == file_->size_bytes) {
      return {};
    }
    return MakeError(ErrorCode::kCorrupt,
                     "{}: expected what follows byte {} of {}, the server sends \"{}\"",
                     file_->name, held_bytes_, file_->size_bytes,
                     HeaderOf(answer.headers, "content-range").substr(0, 100));
  }

  Status Append(std::span<const std::byte> bytes) {
    if (bytes.size() > file_->size_bytes - held_bytes_) {
      return MakeError(ErrorCode::kCorrupt, "{}: expected {} bytes, the server sends more",
                       file_->name, file_->size_bytes);
    }
    AWQ_TRY(output_->Write(held_bytes_, bytes));
    hasher_.Update(bytes);
    held_bytes_ += bytes.size();
    (*meter_)(static_cast<std::ptrdiff_t>(bytes.size()));
    return {};
  }

  Status Restart() {
    if (held_bytes_ == 0) return {};
    AWQ_ASSIGN(output_, io::OutputFile::Create(path_));
    (*meter_)(-static_cast<std::ptrdiff_t>(held_bytes_));
    held_bytes_ = 0;
    hasher_ = BlobHasher(file_->hash.size(), file_->size_bytes);
    return {};
  }

  // Lets it count, under its own name.
  Status Finish(const fs::path& name) {
    const std::string hash = hasher_.Finish();
    if (hash != file_->hash) {
      return MakeError(ErrorCode::kCorrupt,
                       "{}: what came is not what the hub announced: expected hash {}, found {}",
                       file_->name, file_->hash, hash);
    }
    AWQ_TRY(output_->Sync());
    AWQ_TRY(output_->Close());
    if (std::rename(path_.c_str(), name.c_str()) != 0) {
      return io::SystemError(name, "give the file its name", errno);
    }
    return io::SyncDirectory(name.parent_path());
  }

 private:
  PartialBlob(fs::path path, const RemoteFile& file, const Meter& meter)
      : path_(std::move(path)),
        file_(&file),
        meter_(&meter),
        hasher_(file.hash.size(), file.size_bytes) {}

  fs::path path_;
  const RemoteFile* file_;
  const Meter* meter_;
  BlobHasher hasher_;
  std::optional<io::OutputFile> output_;
  std::size_t held_bytes_ = 0;
};

// Until the blob is as long as it should be.
Status Download(HubClient& client, const std::string& commit, const RemoteFile& file,
                PartialBlob& blob, Patience patience) {
  std::size_t most_bytes = blob.held_bytes();
  while (!blob.whole()) {
    bool placed = false;
    const auto sink = [&](const HttpAnswer& head, std::span<const std::byte> bytes) -> Status {
      if (!std::exchange(placed, true)) AWQ_TRY(blob.Place(head));
      return blob.Append(bytes);
    };
    AWQ_ASSIGN(HttpAnswer answer, client.Read(commit, file.name, blob.held_bytes(), sink));
    if (blob.whole()) break;
    if (blob.held_bytes() > most_bytes) {
      most_bytes = blob.held_bytes();
      patience.Renew();
    }
    const bool ended = answer.status == 200 || answer.status == 206;
    if (answer.status == 416) {  // what lies here is not the start of what lies there
      AWQ_TRY(blob.Restart());
    } else if (ended && answer.trouble.empty()) {
      answer.trouble =
          fmt::format("it ended after {} of {} bytes", blob.held_bytes(), file.size_bytes);
    } else if (!answer.may_pass()) {
      return client.Refusal(answer, file.name);
    }
    if (!patience.Wait(answer)) return client.Refusal(answer, file.name);
  }
  return {};
}

Status FetchOnce(HubClient& client, const RepositoryCache& cache, const std::string& commit,
                 const BlobJob& job, const Meter& meter, const std::atomic<bool>& stop) {
  const fs::path partial = cache.Incomplete(job.file.hash);
  AWQ_ASSIGN(PartialBlob blob, PartialBlob::Open(partial, job, meter));
  Status fetched = Download(client, commit, job.file, blob, Patience(stop));
  if (fetched) fetched = blob.Finish(cache.Blob(job.file.hash));
  if (!fetched && fetched.error().code == ErrorCode::kCorrupt) {
    meter(-static_cast<std::ptrdiff_t>(blob.held_bytes()));
    std::error_code ignored;
    fs::remove(partial, ignored);
  }
  return fetched;
}

}  // namespace

Status FetchBlob(HubClient& client, const RepositoryCache& cache, const std::string& commit,
                 const BlobJob& job, const Meter& meter, const std::atomic<bool>& stop) {
  AWQ_ASSIGN(const FileLock lock, FileLock::Acquire(cache.LockOf(job.file.hash), stop));
  std::error_code ignored;
  if (fs::exists(cache.Blob(job.file.hash), ignored)) {  // brought by another in the meantime
    meter(static_cast<std::ptrdiff_t>(job.file.size_bytes) -
          static_cast<std::ptrdiff_t>(job.held_bytes));
    return {};
  }
  const Status first = FetchOnce(client, cache, commit, job, meter, stop);
  if (first || first.error().code != ErrorCode::kCorrupt) return first;
  return FetchOnce(client, cache, commit, {job.file, 0}, meter, stop);
}

}  // namespace awq::hub
