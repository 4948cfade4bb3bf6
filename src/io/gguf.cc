#include "io/gguf.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <set>

#include "base/checked.h"
#include "base/error.h"

namespace awq::io {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kMagic = "GGUF";
constexpr std::uint64_t kMaxKeys = 1 << 16;
constexpr std::uint64_t kMaxTensors = 1 << 17;
constexpr std::size_t kMaxKeyBytes = 65535;  // the format's own limit
constexpr std::size_t kMaxNameBytes = 1024;
constexpr std::uint32_t kMaxDimensions = 4;
constexpr int kMaxArrayDepth = 4;
constexpr std::size_t kDefaultAlignment = 32;
constexpr std::size_t kMaxAlignment = std::size_t{1} << 20;
constexpr std::string_view kAlignmentKey = "general.alignment";

// Bytes of one value, of a string or an array the fewest that it takes; 0: no such type.
constexpr std::array<std::size_t, 13> kLeastBytes = {1, 1, 2, 2, 4, 4, 4, 1, 8, 12, 8, 8, 8};

// Reads the header from its start; every read is checked against what is left.
class Parser {
 public:
  Parser(std::span<const std::byte> bytes, std::size_t file_bytes, const std::string& name)
      : bytes_(bytes.first(std::min(bytes.size(), file_bytes))),
        file_bytes_(file_bytes),
        name_(name) {}

  Result<GgufHeader> Parse() {
    AWQ_TRY(ReadStart());
    header_.metadata.file = name_;
    for (std::uint64_t i = 0; i < keys_; ++i) AWQ_TRY(ReadKey());
    AWQ_TRY(SettleAlignment());
    header_.tensors.reserve(std::min<std::size_t>(tensors_, left() / kLeastTensorBytes));
    for (std::uint64_t i = 0; i < tensors_; ++i) AWQ_TRY(ReadTensor());
    AWQ_TRY(PlaceTensors());
    return std::move(header_);
  }

 private:
  // A name of no bytes, no dimensions, type and offset.
  static constexpr std::size_t kLeastTensorBytes = 24;

  std::size_t left() const { return bytes_.size() - at_; }

  Error Corrupt(std::string_view what) const {
    return MakeError(ErrorCode::kCorrupt, "{}: not a whole GGUF file: {}", name_, what);
  }
  Error TooShort(std::string_view what) const {
    return Corrupt(fmt::format("{} at byte {} does not fit into the {} bytes of the file", what,
                               at_, file_bytes_));
  }
  Error WrongTensor(const std::string& tensor, std::string_view what) const {
    return MakeError(ErrorCode::kCorrupt, "{}: tensor {}: {}", name_, tensor, what);
  }

  template <class T>
  Result<T> Read(std::string_view what) {
    if (left() < sizeof(T)) return TooShort(what);
    T value;
    std::memcpy(&value, bytes_.data() + at_, sizeof(T));
    at_ += sizeof(T);
    return value;
  }

  Result<std::string_view> ReadString(std::string_view what) {
    AWQ_ASSIGN(const std::uint64_t length, Read<std::uint64_t>(what));
    if (length > left()) return TooShort(fmt::format("{} of {} bytes", what, length));
    const std::string_view text(reinterpret_cast<const char*>(bytes_.data() + at_), length);
    at_ += length;
    return text;
  }

  Status ReadStart() {
    const std::string_view start(reinterpret_cast<const char*>(bytes_.data()), bytes_.size());
    if (!start.starts_with(kMagic)) {
      return MakeError(ErrorCode::kCorrupt, "{}: not a GGUF file: it does not begin with GGUF",
                       name_);
    }
    at_ = kMagic.size();
    AWQ_ASSIGN(header_.version, Read<std::uint32_t>("the version"));
    if (header_.version != 2 && header_.version != 3) {
      const bool swapped = (header_.version & 0xffffU) == 0;
      return MakeError(ErrorCode::kUnsupported, "{}: GGUF version {} is not supported (2 and 3 {})",
                       name_, header_.version,
                       swapped ? "are, in little-endian byte order" : "are");
    }
    AWQ_ASSIGN(tensors_, Read<std::uint64_t>("the number of tensors"));
    AWQ_ASSIGN(keys_, Read<std::uint64_t>("the number of keys"));
    if (tensors_ > kMaxTensors || keys_ > kMaxKeys) {
      return Corrupt(fmt::format("{} tensors and {} keys; at most {} and {} can be", tensors_,
                                 keys_, kMaxTensors, kMaxKeys));
    }
    return {};
  }

  Status ReadKey() {
    AWQ_ASSIGN(const std::string_view key, ReadString("a key"));
    if (key.empty() || key.size() > kMaxKeyBytes) {
      return Corrupt(fmt::format("a key of {} bytes; 1 to {} can be", key.size(), kMaxKeyBytes));
    }
    AWQ_ASSIGN(const std::uint32_t type, Read<std::uint32_t>("the type of a value"));
    if (type >= kLeastBytes.size()) {
      return Corrupt(fmt::format("the value of {} has the unknown type {}", key, type));
    }
    AWQ_ASSIGN(GgufValue value, ReadValue(static_cast<GgufValueType>(type)));
    if (!header_.metadata.values.emplace(key, value).second) {
      return Corrupt(fmt::format("the key {} occurs twice", key));
    }
    return {};
  }

  template <class T, class Wide>
  Result<GgufValue> ReadAs() {
    AWQ_ASSIGN(const T value, Read<T>("a value"));
    return GgufValue(static_cast<Wide>(value));
  }

  Result<GgufValue> ReadValue(GgufValueType type) {
    switch (type) {
      case GgufValueType::kU8:
        return ReadAs<std::uint8_t, std::uint64_t>();
      case GgufValueType::kI8:
        return ReadAs<std::int8_t, std::int64_t>();
      case GgufValueType::kU16:
        return ReadAs<std::uint16_t, std::uint64_t>();
      case GgufValueType::kI16:
        return ReadAs<std::int16_t, std::int64_t>();
      case GgufValueType::kU32:
        return ReadAs<std::uint32_t, std::uint64_t>();
      case GgufValueType::kI32:
        return ReadAs<std::int32_t, std::int64_t>();
      case GgufValueType::kF32:
        return ReadAs<float, double>();
      case GgufValueType::kU64:
        return ReadAs<std::uint64_t, std::uint64_t>();
      case GgufValueType::kI64:
        return ReadAs<std::int64_t, std::int64_t>();
      case GgufValueType::kF64:
        return ReadAs<double, double>();
      case GgufValueType::kBool: {
        AWQ_ASSIGN(const std::uint8_t value, Read<std::uint8_t>("a value"));
        if (value > 1) return Corrupt(fmt::format("a truth value is {}; expected 0 or 1", value));
        return GgufValue(value == 1);
      }
      case GgufValueType::kString: {
        AWQ_ASSIGN(const std::string_view text, ReadString("a string"));
        return GgufValue(text);
      }
      case GgufValueType::kArray:
        break;
    }
    AWQ_ASSIGN(const GgufArray array, ReadArray(1));
    return GgufValue(array);
  }

  // Steps over an array, checking it whole. Every element takes bytes, so that time is bounded by
  // the file's length whatever `count` says.
  Result<GgufArray> ReadArray(int depth) {
    if (depth > kMaxArrayDepth) {
      return Corrupt(fmt::format("arrays nested deeper than {}", kMaxArrayDepth));
    }
    AWQ_ASSIGN(const std::uint32_t type, Read<std::uint32_t>("the element type of an array"));
    if (type >= kLeastBytes.size()) {
      return Corrupt(fmt::format("an array has elements of the unknown type {}", type));
    }
    AWQ_ASSIGN(const std::uint64_t count, Read<std::uint64_t>("the length of an array"));
    if (count > left() / kLeastBytes[type]) {
      return TooShort(fmt::format("an array of {} elements", count));
    }
    GgufArray array{static_cast<GgufValueType>(type), count, {}};
    const std::size_t begin = at_;
    if (array.element == GgufValueType::kString) {
      for (std::uint64_t i = 0; i < count; ++i) AWQ_TRY(ReadString("a string"));
    } else if (array.element == GgufValueType::kArray) {
      for (std::uint64_t i = 0; i < count; ++i) AWQ_TRY(ReadArray(depth + 1));
    } else {
      at_ += count * kLeastBytes[type];
    }
    array.bytes = bytes_.subspan(begin, at_ - begin);
    return array;
  }

  Status SettleAlignment() {
    header_.alignment_bytes = kDefaultAlignment;
    AWQ_ASSIGN(const auto stated, header_.metadata.Size(kAlignmentKey));
    if (!stated) return {};
    if (!std::has_single_bit(*stated) || *stated > kMaxAlignment) {
      return Corrupt(fmt::format("{} is {}; expected a power of two up to {}", kAlignmentKey,
                                 *stated, kMaxAlignment));
    }
    header_.alignment_bytes = *stated;
    return {};
  }

  Status ReadTensor() {
    GgufTensor tensor;
    AWQ_ASSIGN(const std::string_view tensor_name, ReadString("the name of a tensor"));
    if (tensor_name.empty() || tensor_name.size() > kMaxNameBytes) {
      return Corrupt(fmt::format("a tensor's name of {} bytes; 1 to {} can be", tensor_name.size(),
                                 kMaxNameBytes));
    }
    tensor.name = tensor_name;
    if (!names_.insert(tensor_name).second) return WrongTensor(tensor.name, "occurs twice");
    AWQ_ASSIGN(const std::uint32_t dimensions, Read<std::uint32_t>("a number of dimensions"));
    if (dimensions > kMaxDimensions) {
      return WrongTensor(tensor.name, fmt::format("has {} dimensions; at most {} can be",
                                                  dimensions, kMaxDimensions));
    }
    for (std::uint32_t i = 0; i < dimensions; ++i) {
      AWQ_ASSIGN(const std::uint64_t extent, Read<std::uint64_t>("a dimension"));
      tensor.shape.insert(tensor.shape.begin(), extent);
    }
    AWQ_ASSIGN(const std::uint32_t type, Read<std::uint32_t>("the type of a tensor"));
    tensor.type = FindGgmlType(type);
    if (tensor.type == nullptr) {
      return MakeError(ErrorCode::kUnsupported,
                       "{}: tensor {}: the tensor type {} is not known; a newer awq may read it",
                       name_, tensor.name, type);
    }
    AWQ_ASSIGN(tensor.offset_bytes, Read<std::uint64_t>("the offset of a tensor"));
    AWQ_TRY(SettleSize(tensor));
    header_.tensors.push_back(std::move(tensor));
    return {};
  }

  Status SettleSize(GgufTensor& tensor) const {
    const std::size_t row = tensor.shape.empty() ? 1 : tensor.shape.back();
    if (row % tensor.type->block_elements != 0) {
      return WrongTensor(tensor.name,
                         fmt::format("rows of {} elements are no whole blocks of {}, "
                                     "which {} has",
                                     row, tensor.type->block_elements, tensor.type->name));
    }
    std::optional<std::size_t> size =
        CheckedProduct({row / tensor.type->block_elements, tensor.type->block_bytes});
    for (std::size_t i = 0; i + 1 < tensor.shape.size() && size; ++i) {
      size = CheckedProduct({*size, tensor.shape[i]});
    }
    if (!size || *size > file_bytes_) {
      return WrongTensor(tensor.name,
                         fmt::format("{} {} does not fit into the {} bytes of the file; is it "
                                     "truncated?",
                                     tensor.type->name, ShapeString(tensor.shape), file_bytes_));
    }
    tensor.size_bytes = *size;
    return {};
  }

  // Offsets count from the data until here, from the file's start afterwards.
  Status PlaceTensors() {
    const std::size_t alignment = header_.alignment_bytes;
    const std::size_t data_start = RoundUp(at_, alignment);
    if (header_.tensors.empty()) return {};
    if (data_start > file_bytes_) return TooShort("the padding");
    const std::size_t data_bytes = file_bytes_ - data_start;
    std::vector<const GgufTensor*> in_order;
    in_order.reserve(header_.tensors.size());
    for (GgufTensor& tensor : header_.tensors) {
      if (tensor.offset_bytes % alignment != 0) {
        return WrongTensor(tensor.name, fmt::format("its offset {} is no multiple of {}",
                                                    tensor.offset_bytes, alignment));
      }
      if (tensor.offset_bytes > data_bytes ||
          tensor.size_bytes > data_bytes - tensor.offset_bytes) {
        return WrongTensor(tensor.name,
                           fmt::format("{} bytes at {} are not inside the {} data bytes of the "
                                       "file; is it truncated?",
                                       tensor.size_bytes, tensor.offset_bytes, data_bytes));
      }
      tensor.offset_bytes += data_start;
      in_order.push_back(&tensor);
    }
    std::sort(in_order.begin(), in_order.end(), [](const GgufTensor* a, const GgufTensor* b) {
      return std::pair(a->offset_bytes, a->size_bytes) < std::pair(b->offset_bytes, b->size_bytes);
    });
    for (std::size_t i = 1; i < in_order.size(); ++i) {
      if (in_order[i - 1]->offset_bytes + in_order[i - 1]->size_bytes <=
          in_order[i]->offset_bytes) {
        continue;
      }
      return WrongTensor(in_order[i]->name,
                         fmt::format("overlaps the tensor {}", in_order[i - 1]->name));
    }
    return {};
  }

  std::span<const std::byte> bytes_;
  std::size_t file_bytes_;
  const std::string& name_;
  std::size_t at_ = 0;
  std::uint64_t tensors_ = 0;
  std::uint64_t keys_ = 0;
  std::set<std::string_view> names_;
  GgufHeader header_;
};

bool BeginsAsGguf(const fs::path& path) {
  const auto start = ReadFileStart(path, kMagic.size());
  return start.ok() && start->content == kMagic;
}

}  // namespace

Result<GgufHeader> ParseGguf(std::span<const std::byte> file_start, std::size_t file_bytes,
                             const std::string& name) {
  return Parser(file_start, file_bytes, name).Parse();
}

Result<GgufFile> GgufFile::Open(const fs::path& path) {
  GgufFile result;
  AWQ_ASSIGN(result.file_, MappedFile::Open(path));
  const std::span<const std::byte> bytes = result.file_->bytes();
  AWQ_ASSIGN(result.header_, ParseGguf(bytes, bytes.size(), path.string()));
  return result;
}

std::span<const std::byte> GgufFile::Bytes(const GgufTensor& tensor) const {
  return file_->bytes().subspan(tensor.offset_bytes, tensor.size_bytes);
}

Result<std::optional<fs::path>> FindGguf(const fs::path& path) {
  std::error_code ignored;
  if (fs::is_regular_file(path, ignored)) {
    return BeginsAsGguf(path) || path.extension() == ".gguf" ? std::optional(path) : std::nullopt;
  }
  const fs::file_status config = fs::symlink_status(path / "config.json", ignored);
  if (config.type() != fs::file_type::not_found) return std::optional<fs::path>();
  std::vector<fs::path> found;
  for (const fs::directory_entry& entry : fs::directory_iterator(path, ignored)) {
    if (entry.path().extension() == ".gguf") found.push_back(entry.path());
  }
  if (found.empty()) return std::optional<fs::path>();
  if (found.size() > 1) {
    std::sort(found.begin(), found.end());
    return MakeError(ErrorCode::kInvalidArgument,
                     "{}: {} GGUF files ({}, {}, ...); name the one that is meant", path.string(),
                     found.size(), found[0].filename().string(), found[1].filename().string());
  }
  return std::optional(found[0]);
}

}  // namespace awq::io
