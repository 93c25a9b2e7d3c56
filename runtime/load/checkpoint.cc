// SPDX-License-Identifier: Apache-2.0
#include "runtime/load/checkpoint.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "runtime/load/quote.h"
#include "runtime/model/weight_writer.h"
#include "runtime/status_macros.h"

namespace tamis {
namespace {

std::string SizesText(std::span<const int64_t> sizes) {
  return absl::StrCat("[", absl::StrJoin(sizes.begin(), sizes.end(), ", "), "]");
}

std::vector<int64_t> SizesOf(const Shape& shape) {
  std::vector<int64_t> sizes;
  for (int i = 0; i < shape.rank(); ++i) sizes.push_back(shape[i]);
  return sizes;
}

// The element type that a target of `dtype` can take as it is.
bool SameElements(StoredType type, DType dtype) {
  return (type == StoredType::kF32 && dtype == DType::kF32) ||
         (type == StoredType::kF16 && dtype == DType::kF16) ||
         (type == StoredType::kBF16 && dtype == DType::kBF16);
}

// The row of the file that holds row `row` of the tensor.
int64_t StoredRow(const StoredTensor& tensor, int64_t row) {
  const int64_t head_dim = tensor.interleaved_head_dim;
  if (head_dim == 0) return row;
  const int64_t within = row % head_dim;
  const int64_t half = head_dim / 2;
  return row - within + within % half * 2 + within / half;
}

// One piece of one tensor: where its bytes are and how they become rows of the target.
class PieceSource {
 public:
  PieceSource(const StoredTensor& tensor, const WeightPiece& piece)
      : tensor_(tensor), piece_(piece), format_(BlockFormatOf(*tensor.type)) {
    row_bytes_ = static_cast<size_t>(tensor.sizes.back() / format_.elements) * format_.bytes;
    first_byte_ = static_cast<size_t>(piece.columns.begin / format_.elements) * format_.bytes;
    const int64_t blocks_end = (piece.columns.end() + format_.elements - 1) / format_.elements;
    slice_bytes_ = static_cast<size_t>(blocks_end) * format_.bytes - first_byte_;
  }

  // Bytes of the file that `num_rows` rows of the piece are made of.
  uint64_t bytes(int64_t num_rows) const { return static_cast<uint64_t>(num_rows) * slice_bytes_; }

  // Asks for the bytes of these rows of the piece, gives back those of rows already read.
  void Announce(int64_t first_row, int64_t num_rows) const {
    ForEachRange(first_row, num_rows, MappedFile::WillNeed);
  }
  void Release(int64_t first_row, int64_t num_rows) const {
    ForEachRange(first_row, num_rows, MappedFile::Release);
  }

  // Writes rows of the piece in `dtype` to `out`.
  void Read(int64_t first_row, int64_t num_rows, DType dtype, std::vector<float>& floats,
            std::byte* out) const {
    const size_t out_bytes = static_cast<size_t>(piece_.columns.count) * DTypeBytes(dtype);
    floats.resize(static_cast<size_t>(piece_.columns.count));
    for (int64_t row = first_row; row < first_row + num_rows; ++row, out += out_bytes) {
      const std::span<const std::byte> stored = Row(row);
      if (SameElements(*tensor_.type, dtype)) {
        std::memcpy(out, stored.data() + first_byte_, out_bytes);
      } else {
        DecodeRow(*tensor_.type, stored, piece_.columns, floats.data());
        StoreFloats(floats, dtype, out);
      }
    }
  }

 private:
  std::span<const std::byte> Row(int64_t row) const {
    const int64_t stored = StoredRow(tensor_, piece_.rows.begin + row);
    return tensor_.data.subspan(static_cast<size_t>(stored) * row_bytes_, row_bytes_);
  }

  // Rows lie in runs of whole heads, so the ends of a run are found without asking each row.
  template <typename Visit>
  void ForEachRange(int64_t first_row, int64_t num_rows, const Visit& visit) const {
    constexpr size_t kGapBytesMin = 16 * 1024;  // a smaller gap costs less to read than to skip
    if (row_bytes_ - slice_bytes_ < kGapBytesMin) {
      const int64_t unit = std::max<int64_t>(tensor_.interleaved_head_dim, 1);
      const int64_t begin = (piece_.rows.begin + first_row) / unit * unit;
      const int64_t end = (piece_.rows.begin + first_row + num_rows + unit - 1) / unit * unit;
      visit(tensor_.data.subspan(static_cast<size_t>(begin) * row_bytes_,
                                 static_cast<size_t>(end - begin) * row_bytes_));
      return;
    }
    for (int64_t row = first_row; row < first_row + num_rows; ++row) {
      visit(Row(row).subspan(first_byte_, slice_bytes_));
    }
  }

  const StoredTensor& tensor_;
  const WeightPiece& piece_;
  BlockFormat format_;
  size_t row_bytes_ = 0;
  size_t first_byte_ = 0;   // of the wanted columns within a row
  size_t slice_bytes_ = 0;  // of the wanted columns of one row
};

// The floating type that holds most bytes; quantised files count as f32.
DType MostCommonDType(const StoredTensors& tensors) {
  std::array<uint64_t, 3> bytes = {};  // f32, f16, bf16
  for (const auto& [name, tensor] : tensors) {
    const StoredType type = *tensor.type;
    bytes[type == StoredType::kF16 ? 1 : type == StoredType::kBF16 ? 2 : 0] += tensor.data.size();
  }
  constexpr std::array<DType, 3> kDTypes = {DType::kF32, DType::kF16, DType::kBF16};
  return kDTypes[static_cast<size_t>(std::max_element(bytes.begin(), bytes.end()) - bytes.begin())];
}

class Checkpoint final : public ModelFiles {
 public:
  Checkpoint(ModelConfig config, StoredTensors tensors, std::vector<MappedFile> files)
      : config_(std::move(config)),
        tensors_(std::move(tensors)),
        files_(std::move(files)),
        stored_dtype_(MostCommonDType(tensors_)) {}

  const ModelConfig& config() const override { return config_; }
  DType stored_dtype() const override { return stored_dtype_; }

  absl::Status Load(const ModelShard& shard, ModelWeights& weights,
                    const LoadProgress& progress) override {
    const DeviceKind device = weights.buffer.device();
    const Stream stream = device == DeviceKind::kCuda ? Stream::Cuda() : Stream::Cpu();
    const std::vector<WeightPiece> pieces = WeightPieces(config_, shard, weights);
    uint64_t total_bytes = 0;
    for (const WeightPiece& piece : pieces) {
      total_bytes += PieceSource(tensors_.at(piece.name), piece).bytes(piece.rows.count);
    }
    WeightWriter writer(device, stream);
    uint64_t done_bytes = 0;
    std::vector<float> floats;
    for (const WeightPiece& piece : pieces) {
      const PieceSource source(tensors_.at(piece.name), piece);
      writer.Write(piece.target, [&](int64_t first_row, int64_t num_rows, std::byte* out) {
        // One run ahead, so that the disk reads while this one is decoded.
        source.Announce(first_row, std::min(2 * num_rows, piece.rows.count - first_row));
        source.Read(first_row, num_rows, weights.dtype, floats, out);
        source.Release(first_row, num_rows);
        done_bytes += source.bytes(num_rows);
        if (progress) progress(done_bytes, total_bytes);
      });
    }
    return absl::OkStatus();
  }

 private:
  ModelConfig config_;
  StoredTensors tensors_;
  std::vector<MappedFile> files_;
  DType stored_dtype_;
};

}  // namespace

absl::Status CheckConfig(const ModelConfig& config, const std::string& path) {
  const std::string problem = ModelConfigProblem(config);
  if (!problem.empty()) return absl::InvalidArgumentError(absl::StrCat(path, ": ", problem));
  const std::string feature = UnsupportedFeature(config);
  if (!feature.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": the model needs ", feature, ", which is not supported"));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<ModelFiles>> MakeCheckpoint(const std::string& path,
                                                           const std::string& config_path,
                                                           ModelConfig config,
                                                           StoredTensors tensors,
                                                           std::vector<MappedFile> files) {
  TAMIS_RETURN_IF_ERROR(CheckConfig(config, config_path));
  const std::vector<CheckpointTensor> wanted = CheckpointTensors(config);
  for (const CheckpointTensor& want : wanted) {
    const auto found = tensors.find(want.name);
    if (found == tensors.end()) {
      return absl::InvalidArgumentError(
          absl::StrCat(path, ": tensor ", Quoted(want.name), " is missing"));
    }
    const StoredTensor& tensor = found->second;
    const std::vector<int64_t> sizes = SizesOf(want.shape);
    if (tensor.sizes != sizes) {
      return absl::InvalidArgumentError(absl::StrCat(tensor.origin, " has shape ",
                                                     SizesText(tensor.sizes), "; by ", config_path,
                                                     " it must be ", SizesText(sizes)));
    }
    if (!tensor.type) {
      return absl::InvalidArgumentError(
          absl::StrCat(tensor.origin, " has type ", tensor.type_name,
                       ", which is not supported; F32, F16, BF16, Q8_0, Q4_0, Q4_1 and Q6_K are"));
    }
  }
  if (tensors.size() != wanted.size()) {
    std::vector<std::string> names;
    for (const CheckpointTensor& want : wanted) names.push_back(want.name);
    std::sort(names.begin(), names.end());
    for (const auto& [name, tensor] : tensors) {
      if (!std::binary_search(names.begin(), names.end(), name)) {
        return absl::InvalidArgumentError(
            absl::StrCat(tensor.origin,
                         " is not part of a Llama model of this configuration; what it is for "
                         "is not supported"));
      }
    }
  }
  return std::make_unique<Checkpoint>(std::move(config), std::move(tensors), std::move(files));
}

}  // namespace tamis
