#include "checkpoint/writer.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <mutex>
#include <system_error>
#include <utility>

#include "base/check.h"
#include "base/error.h"
#include "checkpoint/journal.h"
#include "checkpoint/shard_layout.h"
#include "io/shard_index.h"

namespace awq::checkpoint {
namespace {

namespace fs = std::filesystem;

constexpr const char* kJournalName = "journal.json";
constexpr const char* kLockName = ".awq.lock";
constexpr const char* kIndexName = "model.safetensors.index.json";
constexpr mode_t kDirectoryMode = 0777;  // the umask takes its part
constexpr mode_t kFileMode = 0666;

fs::path Parent(const fs::path& path) {
  return path.has_parent_path() ? path.parent_path() : fs::path(".");
}

bool Exists(const fs::path& path) {
  std::error_code ignored;
  return fs::symlink_status(path, ignored).type() != fs::file_type::not_found;
}

// Held as long as a process writes into the partial directory; the system drops it with the
// process, so that a killed run leaves no lock behind.
class DirectoryLock {
 public:
  DirectoryLock() = default;
  ~DirectoryLock() {
    if (descriptor_ >= 0) close(descriptor_);
  }
  DirectoryLock(const DirectoryLock&) = delete;
  DirectoryLock& operator=(const DirectoryLock&) = delete;

  Status Take(const fs::path& directory) {
    const fs::path path = directory / kLockName;
    descriptor_ = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, kFileMode);
    if (descriptor_ < 0) return io::SystemError(path, "create it", errno);
    if (flock(descriptor_, LOCK_EX | LOCK_NB) == 0) return {};
    if (errno != EWOULDBLOCK) return io::SystemError(path, "lock it", errno);
    return MakeError(ErrorCode::kInvalidArgument,
                     "{}: another awq process is writing it; wait for it or end it, or choose "
                     "another output",
                     directory.string());
  }

 private:
  int descriptor_ = -1;
};

// "out/" and "out" are one directory, and its partial one stands beside it.
fs::path NamedOutput(const fs::path& output) {
  return output.has_filename() ? output : output.parent_path();
}

fs::path PartialOf(const fs::path& named) {
  fs::path partial = named;
  partial += ".partial";
  return partial;
}

Status CheckName(const fs::path& output) {
  if (!output.has_filename()) {
    return MakeError(ErrorCode::kInvalidArgument, "{}: not a name for a directory",
                     output.string());
  }
  if (Exists(output)) {
    return MakeError(ErrorCode::kInvalidArgument,
                     "{}: exists already; remove it or choose another output", output.string());
  }
  std::error_code failure;
  if (!fs::is_directory(Parent(output), failure)) {
    return MakeError(ErrorCode::kNotFound,
                     "{}: the directory it should stand in, {}, does not exist; create it",
                     output.string(), Parent(output).string());
  }
  return {};
}

Status CheckIsOurs(const fs::path& partial) {
  std::error_code failure;
  const bool is_directory = fs::symlink_status(partial, failure).type() == fs::file_type::directory;
  if (is_directory && (Exists(partial / kLockName) || fs::is_empty(partial, failure))) return {};
  return MakeError(ErrorCode::kInvalidArgument,
                   "{}: is in the way and was not made by awq; remove it or choose another output",
                   partial.string());
}

// Creates the directory, or makes sure that an existing one is ours.
Status MakePartial(const fs::path& partial) {
  if (mkdir(partial.c_str(), kDirectoryMode) == 0) return {};
  if (errno != EEXIST) return io::SystemError(partial, "create it", errno);
  return CheckIsOurs(partial);
}

template <class IsMeant>
Status RemoveFrom(const fs::path& directory, const IsMeant& is_meant) {
  std::error_code failure;
  for (fs::directory_iterator entry(directory, failure), end; !failure && entry != end;
       entry.increment(failure)) {
    if (!is_meant(entry->path())) continue;
    std::error_code removal;
    fs::remove_all(entry->path(), removal);
    if (removal) return io::SystemError(entry->path(), "remove it", removal.value());
  }
  if (failure) return io::SystemError(directory, "list it", failure.value());
  return {};
}

Status RemoveContents(const fs::path& directory) {
  return RemoveFrom(directory, [](const fs::path& path) { return path.filename() != kLockName; });
}

// What io::WriteFileAtomically could not finish in an earlier run.
Status RemoveTemporaries(const fs::path& directory) {
  return RemoveFrom(directory, [](const fs::path& path) { return path.extension() == ".partial"; });
}

// Like rename(), but never over something that exists: rename() replaces an empty directory.
Status RenameToNew(const fs::path& from, const fs::path& to) {
  if (renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), RENAME_NOREPLACE) == 0) return {};
  if (errno == EINVAL || errno == ENOSYS) {  // the file system does not know the flag
    if (Exists(to))
      errno = EEXIST;
    else if (rename(from.c_str(), to.c_str()) == 0)
      return {};
  }
  return io::SystemError(to, fmt::format("rename {} to it", from.string()), errno);
}

}  // namespace

struct DirectoryWriter::State {
  fs::path output;
  fs::path partial;
  ShardLayout layout;
  Journal journal;
  DirectoryLock lock;
  std::vector<io::OutputFile> files;                 // one a shard
  std::vector<bool> unsynced;                        // one a shard
  std::map<std::string, std::size_t> written_bytes;  // of tensors not whole yet, in this run
  std::mutex mutex;  // of `unsynced`, `written_bytes` and the journal, in WriteTensor
  bool replaced_another = false;
  bool finished = false;

  bool CanContinue(const Journal& earlier) const;
  Status Continue();
  Status Start();
  Status SyncShards();
};

// Every shard must be there with its length and its header: nothing else is believed.
bool DirectoryWriter::State::CanContinue(const Journal& earlier) const {
  if (earlier.fingerprint != journal.fingerprint || earlier.layout != journal.layout) return false;
  for (const Shard& shard : layout.shards) {
    std::error_code failure;
    const fs::path path = partial / shard.file_name;
    if (fs::symlink_status(path, failure).type() != fs::file_type::regular) return false;
    const auto file = io::MappedFile::Open(path);
    if (!file.ok()) return false;
    const auto bytes = (*file)->bytes();
    const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    if (bytes.size() != shard.file_bytes || !text.starts_with(shard.header)) return false;
  }
  return true;
}

Status DirectoryWriter::State::Continue() {
  for (const Shard& shard : layout.shards) {
    AWQ_ASSIGN(io::OutputFile file,
               io::OutputFile::Create(partial / shard.file_name, /*keep_contents=*/true));
    files.push_back(std::move(file));
  }
  return {};
}

Status DirectoryWriter::State::Start() {
  AWQ_TRY(RemoveContents(partial));
  std::size_t needed_bytes = 0;
  for (const Shard& shard : layout.shards) needed_bytes += shard.file_bytes;
  std::error_code failure;
  const fs::space_info space = fs::space(partial, failure);
  if (!failure && space.available < needed_bytes) {
    return MakeError(ErrorCode::kIo,
                     "{}: the model takes {} bytes and {} are free: free {} bytes there and run it "
                     "again",
                     output.string(), needed_bytes, space.available,
                     needed_bytes - space.available);
  }
  for (const Shard& shard : layout.shards) {
    AWQ_ASSIGN(io::OutputFile file, io::OutputFile::Create(partial / shard.file_name));
    AWQ_TRY(file.Preallocate(shard.file_bytes));
    AWQ_TRY(file.Write(0, std::as_bytes(std::span(shard.header))));
    AWQ_TRY(file.Sync());
    files.push_back(std::move(file));
  }
  return journal.Write(partial / kJournalName);
}

Status DirectoryWriter::State::SyncShards() {
  for (std::size_t i = 0; i < files.size(); ++i) {
    if (!unsynced[i]) continue;
    AWQ_TRY(files[i].Sync());
    unsynced[i] = false;
  }
  return {};
}

DirectoryWriter::DirectoryWriter(std::unique_ptr<State> state) : state_(std::move(state)) {}
DirectoryWriter::~DirectoryWriter() = default;

bool DirectoryWriter::replaced_another() const { return state_->replaced_another; }

Status DirectoryWriter::CheckOutput(const fs::path& output) {
  const fs::path named = NamedOutput(output);
  AWQ_TRY(CheckName(named));
  const fs::path partial = PartialOf(named);
  if (!Exists(partial)) {
    if (access(Parent(named).c_str(), W_OK | X_OK) == 0) return {};
    return io::SystemError(partial, "create it", errno);
  }
  AWQ_TRY(CheckIsOurs(partial));
  DirectoryLock lock;
  return Exists(partial / kLockName) ? lock.Take(partial) : Status{};
}

std::string DirectoryWriter::LeftBy(const fs::path& output) {
  const auto journal = Journal::Read(PartialOf(NamedOutput(output)) / kJournalName);
  return journal.ok() && !journal->done.empty() ? journal->fingerprint : "";
}

Result<std::unique_ptr<DirectoryWriter>> DirectoryWriter::Create(
    const fs::path& output, std::vector<io::TensorInfo> tensors, const WriterOptions& options) {
  const fs::path named = NamedOutput(output);
  AWQ_TRY(CheckName(named));
  auto state = std::make_unique<State>();
  state->output = named;
  state->partial = PartialOf(named);
  AWQ_ASSIGN(state->layout, PlanShards(std::move(tensors), options.shard_bytes));
  state->journal.fingerprint = options.fingerprint;
  state->journal.layout = state->layout.Digest();
  state->unsynced.assign(state->layout.shards.size(), false);
  AWQ_TRY(MakePartial(state->partial));
  AWQ_TRY(state->lock.Take(state->partial));
  const auto earlier = Journal::Read(state->partial / kJournalName);
  if (earlier.ok() && state->CanContinue(*earlier)) {
    state->journal = *earlier;
    AWQ_TRY(state->Continue());
    return std::unique_ptr<DirectoryWriter>(new DirectoryWriter(std::move(state)));
  }
  state->replaced_another = earlier.ok() && !earlier->done.empty();
  if (Status started = state->Start(); !started) {
    // Half an empty model is of no use, and on a full disk it would be in the way.
    state->files.clear();
    std::error_code ignored;
    fs::remove_all(state->partial, ignored);
    return started.error();
  }
  return std::unique_ptr<DirectoryWriter>(new DirectoryWriter(std::move(state)));
}

Status DirectoryWriter::WriteTensor(const std::string& name, std::span<const std::byte> bytes,
                                    std::size_t offset_bytes) {
  AWQ_CHECK(!state_->finished);
  const auto place = state_->layout.places.find(name);
  if (place == state_->layout.places.end()) {
    return MakeError(ErrorCode::kInvalidArgument, "{}: tensor {} was not declared",
                     state_->output.string(), name);
  }
  const io::TensorInfo& info = state_->layout.info(place->second);
  if (offset_bytes > info.size_bytes || bytes.size() > info.size_bytes - offset_bytes) {
    return MakeError(ErrorCode::kInvalidArgument,
                     "{}: tensor {}: {} bytes at offset {} do not fit into its {} bytes",
                     state_->output.string(), name, bytes.size(), offset_bytes, info.size_bytes);
  }
  const std::size_t shard = place->second.shard;
  const std::size_t at_bytes = info.offset_bytes + offset_bytes;
  AWQ_TRY(state_->files[shard].Write(at_bytes, bytes));
  state_->files[shard].StartSync(at_bytes, bytes.size());
  const std::lock_guard lock(state_->mutex);
  state_->unsynced[shard] = true;
  std::size_t& written = state_->written_bytes[name];
  written += bytes.size();
  if (written >= info.size_bytes) {
    state_->journal.written.insert(name);
    state_->written_bytes.erase(name);
  }
  return {};
}

Result<Buffer<std::byte>> DirectoryWriter::ReadTensor(const std::string& name) const {
  const auto place = state_->layout.places.find(name);
  if (place == state_->layout.places.end() || !state_->journal.written.contains(name)) {
    return MakeError(ErrorCode::kInvalidArgument, "{}: tensor {} was not written yet",
                     state_->output.string(), name);
  }
  const io::TensorInfo& info = state_->layout.info(place->second);
  AWQ_ASSIGN(
      const auto file,
      io::MappedFile::Open(state_->partial / state_->layout.shards[place->second.shard].file_name));
  const auto bytes = file->bytes();
  if (info.offset_bytes > bytes.size() || info.size_bytes > bytes.size() - info.offset_bytes) {
    return MakeError(ErrorCode::kCorrupt, "{}: ends before tensor {}", file->path().string(), name);
  }
  Buffer<std::byte> copy(info.size_bytes);
  std::copy_n(bytes.data() + info.offset_bytes, info.size_bytes, copy.data());
  return copy;
}

Status DirectoryWriter::WriteFile(const std::string& name, std::string_view contents) {
  AWQ_CHECK(!state_->finished);
  const bool is_ours = name == kJournalName || name == kLockName || name == kIndexName ||
                       name.ends_with(".safetensors") || name.ends_with(".partial");
  if (!io::IsPlainFileName(name) || is_ours) {
    return MakeError(ErrorCode::kInvalidArgument, "{}: \"{}\" cannot be the name of a file in it",
                     state_->output.string(), name);
  }
  return io::WriteFileAtomically(state_->partial / name, contents);
}

Status DirectoryWriter::MarkDone(const std::string& unit, const nlohmann::json& note) {
  AWQ_CHECK(!state_->finished);
  AWQ_TRY(state_->SyncShards());
  state_->journal.done[unit] = note;
  return state_->journal.Write(state_->partial / kJournalName);
}

const nlohmann::json* DirectoryWriter::IsDone(const std::string& unit) const {
  const auto found = state_->journal.done.find(unit);
  return found == state_->journal.done.end() ? nullptr : &found->second;
}

Status DirectoryWriter::Finish() {
  State& state = *state_;
  AWQ_CHECK(!state.finished);
  for (const auto& [name, place] : state.layout.places) {
    if (!state.journal.written.contains(name) && state.layout.info(place).size_bytes > 0) {
      return MakeError(ErrorCode::kInternal, "{}: tensor {} was never written whole",
                       state.output.string(), name);
    }
  }
  AWQ_TRY(state.SyncShards());
  for (io::OutputFile& file : state.files) AWQ_TRY(file.Close());
  if (state.layout.shards.size() > 1) {
    AWQ_TRY(io::WriteFileAtomically(state.partial / kIndexName, state.layout.IndexText()));
  }
  AWQ_TRY(RemoveTemporaries(state.partial));
  AWQ_TRY(io::SyncDirectory(state.partial));
  AWQ_TRY(RenameToNew(state.partial, state.output));
  state.finished = true;
  AWQ_TRY(io::SyncDirectory(Parent(state.output)));
  // Only now: a run that dies before the rename goes on from its journal.
  unlink((state.output / kJournalName).c_str());
  unlink((state.output / kLockName).c_str());
  return io::SyncDirectory(state.output);
}

}  // namespace awq::checkpoint
