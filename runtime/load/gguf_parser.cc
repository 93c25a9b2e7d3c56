// SPDX-License-Identifier: Apache-2.0
// The layout of a GGUF file: magic, version, counts; then per key a name, a type and a value; then
// per tensor a name, sizes, type and offset; then padding to the alignment and the data.
#include <algorithm>
#include <bit>
#include <limits>
#include <type_traits>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "runtime/load/byte_reader.h"
#include "runtime/load/gguf.h"
#include "runtime/load/quote.h"
#include "runtime/status_macros.h"

namespace tamis {
namespace {

constexpr uint32_t kMagic = 0x46554747;  // "GGUF"
constexpr uint32_t kVersion = 3;
constexpr uint32_t kDimensionsMax = 4;
constexpr int kArrayDepthMax = 4;
constexpr uint64_t kAlignmentDefault = 32;
constexpr uint64_t kAlignmentMax = 1 << 20;
// The least that an entry of each table takes, so that a count is checked before it is believed.
constexpr uint64_t kKeyBytesMin = 8 + 4 + 1;
constexpr uint64_t kTensorBytesMin = 8 + 4 + 8 + 4 + 8;

enum class ValueType : uint32_t {
  kU8 = 0,
  kI8 = 1,
  kU16 = 2,
  kI16 = 3,
  kU32 = 4,
  kI32 = 5,
  kF32 = 6,
  kBool = 7,
  kString = 8,
  kArray = 9,
  kU64 = 10,
  kI64 = 11,
  kF64 = 12,
};

// Calls visit with a value of the C++ type of a number's ValueType; false for other types.
template <typename Visit>
bool VisitNumberType(ValueType type, const Visit& visit) {
  switch (type) {
    case ValueType::kU8: return visit(uint8_t{});
    case ValueType::kI8: return visit(int8_t{});
    case ValueType::kU16: return visit(uint16_t{});
    case ValueType::kI16: return visit(int16_t{});
    case ValueType::kU32: return visit(uint32_t{});
    case ValueType::kI32: return visit(int32_t{});
    case ValueType::kU64: return visit(uint64_t{});
    case ValueType::kI64: return visit(int64_t{});
    case ValueType::kF32: return visit(float{});
    case ValueType::kF64: return visit(double{});
    case ValueType::kBool:
    case ValueType::kString:
    case ValueType::kArray: return false;
  }
  return false;
}

std::optional<StoredType> StoredTypeOf(uint32_t type_id) {
  switch (type_id) {
    case 0: return StoredType::kF32;
    case 1: return StoredType::kF16;
    case 2: return StoredType::kQ4_0;
    case 3: return StoredType::kQ4_1;
    case 8: return StoredType::kQ8_0;
    case 14: return StoredType::kQ6_K;
    case 30: return StoredType::kBF16;
    default: return std::nullopt;
  }
}

}  // namespace

// Reads one file into one GgufFile.
class GgufParser {
 public:
  GgufParser(std::span<const std::byte> bytes, const std::string& path)
      : bytes_(bytes), reader_(bytes), path_(path) {
    file_.path_ = path;
  }

  absl::StatusOr<GgufFile> Parse() {
    uint64_t num_tensors = 0;
    uint64_t num_keys = 0;
    TAMIS_RETURN_IF_ERROR(ParseHeader(&num_tensors, &num_keys));
    for (uint64_t i = 0; i < num_keys; ++i) TAMIS_RETURN_IF_ERROR(ParseKey());
    file_.tensors_.reserve(static_cast<size_t>(num_tensors));
    offsets_.reserve(static_cast<size_t>(num_tensors));
    for (uint64_t i = 0; i < num_tensors; ++i) TAMIS_RETURN_IF_ERROR(ParseTensorInfo());
    TAMIS_RETURN_IF_ERROR(PlaceTensors());
    return std::move(file_);
  }

 private:
  absl::Status Truncated(const std::string& what) const {
    return absl::DataLossError(absl::StrCat(path_,
                                            ": the file is truncated or corrupt: it ends at byte ",
                                            bytes_.size(), " within ", what));
  }
  absl::Status Corrupt(const std::string& what) const {
    return absl::DataLossError(absl::StrCat(path_, ": ", what));
  }

  absl::Status ParseHeader(uint64_t* num_tensors, uint64_t* num_keys) {
    uint32_t magic = 0;
    uint32_t version = 0;
    if (!reader_.Read(&magic) || !reader_.Read(&version)) return Truncated("the header");
    if (magic != kMagic) {
      return absl::InvalidArgumentError(absl::StrCat(path_, ": not a GGUF file"));
    }
    if (version != kVersion) {
      const bool swapped = (version & 0xffffff) == 0;
      return absl::InvalidArgumentError(absl::StrCat(
          path_, ": ",
          swapped ? std::string("a big-endian file") : absl::StrCat("GGUF version ", version),
          " is not supported; version 3, little-endian, is"));
    }
    if (!reader_.Read(num_tensors) || !reader_.Read(num_keys)) return Truncated("the header");
    if (*num_keys > reader_.remaining() / kKeyBytesMin) {
      return Truncated(absl::StrCat("its ", *num_keys, " metadata keys"));
    }
    if (*num_tensors > reader_.remaining() / kTensorBytesMin) {
      return Truncated(absl::StrCat("its ", *num_tensors, " tensor descriptions"));
    }
    return absl::OkStatus();
  }

  bool ReadString(std::string* text) {
    uint64_t size = 0;
    std::span<const std::byte> part;
    if (!reader_.Read(&size) || !reader_.Take(size, &part)) return false;
    text->assign(reinterpret_cast<const char*>(part.data()), part.size());
    return true;
  }

  absl::Status ParseKey() {
    std::string key;
    uint32_t type = 0;
    if (!ReadString(&key) || !reader_.Read(&type)) {
      return Truncated(absl::StrCat("metadata key ", file_.metadata_.size()));
    }
    GgufFile::Value value;
    TAMIS_RETURN_IF_ERROR(ParseValue(key, static_cast<ValueType>(type), &value));
    if (!file_.metadata_.emplace(key, std::move(value)).second) {
      return Corrupt(absl::StrCat("metadata key ", Quoted(key), " appears twice"));
    }
    return absl::OkStatus();
  }

  absl::Status ParseValue(const std::string& key, ValueType type, GgufFile::Value* value) {
    bool read = false;
    switch (type) {
      case ValueType::kString: {
        std::string text;
        read = ReadString(&text);
        *value = std::move(text);
        break;
      }
      case ValueType::kBool: {
        uint8_t byte = 0;
        read = reader_.Read(&byte);
        *value = byte != 0;
        break;
      }
      case ValueType::kArray: return ParseArray(key, 1, value);
      default: {
        const bool known = VisitNumberType(type, [&]<typename T>(T number) {
          read = reader_.Read(&number);
          *value = Widened(number);
          return true;
        });
        if (!known) {
          return Corrupt(absl::StrCat("metadata key ", Quoted(key), " has unknown value type ",
                                      static_cast<uint32_t>(type)));
        }
      }
    }
    if (!read) return Truncated(absl::StrCat("metadata key ", Quoted(key)));
    return absl::OkStatus();
  }

  template <typename T>
  static GgufFile::Value Widened(T number) {
    if constexpr (std::is_floating_point_v<T>) {
      return static_cast<double>(number);
    } else if constexpr (std::is_signed_v<T>) {
      return static_cast<int64_t>(number);
    } else {
      return static_cast<uint64_t>(number);
    }
  }

  absl::Status ParseArray(const std::string& key, int depth, GgufFile::Value* value) {
    uint32_t element_type = 0;
    uint64_t count = 0;
    if (!reader_.Read(&element_type) || !reader_.Read(&count)) {
      return Truncated(absl::StrCat("metadata key ", Quoted(key)));
    }
    const ValueType type = static_cast<ValueType>(element_type);
    switch (type) {
      case ValueType::kString: return ParseStrings(key, count, value);
      case ValueType::kArray: {
        // Legal, but nothing of ours reads one: check that it is whole and go on behind it.
        if (depth == kArrayDepthMax) {
          return Corrupt(absl::StrCat("metadata key ", Quoted(key), " nests arrays deeper than ",
                                      kArrayDepthMax));
        }
        for (uint64_t i = 0; i < count; ++i) {
          TAMIS_RETURN_IF_ERROR(ParseArray(key, depth + 1, value));
        }
        *value = GgufFile::UnreadArray{};
        return absl::OkStatus();
      }
      case ValueType::kBool: {
        std::span<const std::byte> skipped;
        if (!reader_.Take(count, &skipped)) break;
        *value = GgufFile::UnreadArray{};
        return absl::OkStatus();
      }
      default: {
        absl::Status status;
        const bool known = VisitNumberType(type, [&]<typename T>(T) {
          status = ParseNumbers<T>(key, count, value);
          return true;
        });
        if (known) return status;
        return Corrupt(absl::StrCat("metadata key ", Quoted(key),
                                    " is an array of unknown value type ", element_type));
      }
    }
    return Truncated(absl::StrCat("metadata key ", Quoted(key)));
  }

  absl::Status ParseStrings(const std::string& key, uint64_t count, GgufFile::Value* value) {
    std::vector<std::string> texts;
    if (count <= reader_.remaining() / sizeof(uint64_t)) {
      texts.resize(static_cast<size_t>(count));
      const bool read = std::all_of(texts.begin(), texts.end(),
                                    [&](std::string& text) { return ReadString(&text); });
      *value = std::move(texts);
      if (read) return absl::OkStatus();
    }
    return Truncated(absl::StrCat("metadata key ", Quoted(key)));
  }

  template <typename T>
  absl::Status ParseNumbers(const std::string& key, uint64_t count, GgufFile::Value* value) {
    if (count > reader_.remaining() / sizeof(T)) {
      return Truncated(absl::StrCat("metadata key ", Quoted(key)));
    }
    using Wide = std::conditional_t<std::is_floating_point_v<T>, double, int64_t>;
    std::vector<Wide> numbers(static_cast<size_t>(count));
    for (Wide& wide : numbers) {
      T number = 0;
      if (!reader_.Read(&number)) return Truncated(absl::StrCat("metadata key ", Quoted(key)));
      if constexpr (std::is_same_v<T, uint64_t>) {
        if (number > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
          return Corrupt(absl::StrCat("metadata key ", Quoted(key), " holds ", number,
                                      ", which is above the largest supported integer"));
        }
      }
      wide = static_cast<Wide>(number);
    }
    *value = std::move(numbers);
    return absl::OkStatus();
  }

  absl::Status ParseTensorInfo() {
    const size_t index = file_.tensors_.size();
    GgufTensor tensor;
    uint32_t num_dimensions = 0;
    if (!ReadString(&tensor.name) || !reader_.Read(&num_dimensions)) {
      return Truncated(absl::StrCat("the description of tensor ", index));
    }
    const std::string name = absl::StrCat("tensor ", Quoted(tensor.name));
    if (num_dimensions < 1 || num_dimensions > kDimensionsMax) {
      return Corrupt(absl::StrCat(name, " has ", num_dimensions, " dimensions; it must have 1 to ",
                                  kDimensionsMax));
    }
    int64_t elements = 1;
    for (uint32_t i = 0; i < num_dimensions; ++i) {
      int64_t size = 0;
      if (!reader_.Read(&size)) return Truncated(absl::StrCat("the description of ", name));
      if (size < 1 || __builtin_mul_overflow(elements, size, &elements)) {
        return Corrupt(absl::StrCat(name, " has an impossible size ", size, " in dimension ", i));
      }
      tensor.sizes.insert(tensor.sizes.begin(), size);
    }
    uint64_t offset = 0;
    if (!reader_.Read(&tensor.type_id) || !reader_.Read(&offset)) {
      return Truncated(absl::StrCat("the description of ", name));
    }
    tensor.type = StoredTypeOf(tensor.type_id);
    if (!file_.tensor_index_.emplace(tensor.name, index).second) {
      return Corrupt(absl::StrCat(name, " appears twice"));
    }
    file_.tensors_.push_back(std::move(tensor));
    offsets_.push_back(offset);
    return absl::OkStatus();
  }

  // Bytes of the tensor's data. Sizes are positive and their product fits.
  absl::Status DataBytes(const GgufTensor& tensor, uint64_t* data_bytes) const {
    const BlockFormat format = BlockFormatOf(*tensor.type);
    uint64_t elements = 1;
    for (int64_t size : tensor.sizes) elements *= static_cast<uint64_t>(size);
    if (tensor.sizes.back() % format.elements != 0) {
      return Corrupt(absl::StrCat("tensor ", Quoted(tensor.name), " has rows of ",
                                  tensor.sizes.back(), " elements, which is not a multiple of ",
                                  format.elements, ", the block size of ",
                                  GgufTypeName(tensor.type_id)));
    }
    const uint64_t blocks = elements / static_cast<uint64_t>(format.elements);
    if (__builtin_mul_overflow(blocks, format.bytes, data_bytes)) {
      return Corrupt(absl::StrCat("tensor ", Quoted(tensor.name), " is impossibly large"));
    }
    return absl::OkStatus();
  }

  absl::StatusOr<uint64_t> Alignment() const {
    if (!file_.Has("general.alignment")) return kAlignmentDefault;
    TAMIS_ASSIGN_OR_RETURN(const uint64_t alignment, file_.GetUint("general.alignment"));
    if (!std::has_single_bit(alignment) || alignment > kAlignmentMax) {
      return Corrupt(absl::StrCat("metadata key \"general.alignment\" is ", alignment,
                                  "; it must be a power of two of at most ", kAlignmentMax));
    }
    return alignment;
  }

  // Finds every tensor's data; none may leave the file or lie in another's.
  absl::Status PlaceTensors() {
    TAMIS_ASSIGN_OR_RETURN(const uint64_t alignment, Alignment());
    if (file_.tensors_.empty()) return absl::OkStatus();
    const uint64_t begin = (reader_.position() + alignment - 1) / alignment * alignment;
    if (begin > bytes_.size()) return Truncated("the padding before the tensors");
    const std::span<const std::byte> data = bytes_.subspan(static_cast<size_t>(begin));
    for (size_t i = 0; i < offsets_.size(); ++i) {
      GgufTensor& tensor = file_.tensors_[i];
      const uint64_t offset = offsets_[i];
      uint64_t data_bytes = 0;
      if (tensor.type) TAMIS_RETURN_IF_ERROR(DataBytes(tensor, &data_bytes));
      if (offset % alignment != 0) {
        return Corrupt(absl::StrCat("tensor ", Quoted(tensor.name), " has offset ", offset,
                                    ", which is not a multiple of the alignment ", alignment));
      }
      if (offset > data.size() || data_bytes > data.size() - offset) {
        return absl::DataLossError(absl::StrCat(
            path_, ": the file is truncated or corrupt: tensor ", Quoted(tensor.name), " takes ",
            data_bytes, " bytes from byte ", begin + std::min<uint64_t>(offset, bytes_.size()),
            " on, but the file has ", bytes_.size()));
      }
      if (tensor.type) {
        tensor.data = data.subspan(static_cast<size_t>(offset), static_cast<size_t>(data_bytes));
      }
    }
    return CheckOverlap();
  }

  absl::Status CheckOverlap() const {
    std::vector<const GgufTensor*> order;
    for (const GgufTensor& tensor : file_.tensors_) {
      if (tensor.type) order.push_back(&tensor);
    }
    std::sort(order.begin(), order.end(), [](const GgufTensor* a, const GgufTensor* b) {
      return a->data.data() < b->data.data();
    });
    for (size_t i = 1; i < order.size(); ++i) {
      if (order[i - 1]->data.data() + order[i - 1]->data.size() > order[i]->data.data()) {
        return Corrupt(absl::StrCat("the data of tensors ", Quoted(order[i - 1]->name), " and ",
                                    Quoted(order[i]->name), " overlap"));
      }
    }
    return absl::OkStatus();
  }

  std::span<const std::byte> bytes_;
  ByteReader reader_;
  const std::string& path_;
  GgufFile file_;
  std::vector<uint64_t> offsets_;  // of the tensors, from the start of the data
};

absl::StatusOr<GgufFile> GgufFile::Parse(std::span<const std::byte> bytes,
                                         const std::string& path) {
  return GgufParser(bytes, path).Parse();
}

absl::StatusOr<GgufFile> GgufFile::Open(const std::string& path) {
  TAMIS_ASSIGN_OR_RETURN(MappedFile mapped, MappedFile::Open(path));
  // About what a large vocabulary takes; on a cold disk, page by page would be slow.
  constexpr size_t kHeadBytes = size_t{8} << 20;
  MappedFile::WillNeed(mapped.bytes().first(std::min(kHeadBytes, mapped.bytes().size())));
  TAMIS_ASSIGN_OR_RETURN(GgufFile file, Parse(mapped.bytes(), path));
  file.file_ = std::move(mapped);
  return file;
}

}  // namespace tamis
