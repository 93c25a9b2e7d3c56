// SPDX-License-Identifier: Apache-2.0
// Products through cuBLASLt. The library's handle and the plan for each shape, guessed at first use
// or measured by TuneMatMul, are kept for the life of the process: state that ops otherwise never
// have, because asking the heuristics takes longer than most products.
#include <algorithm>
#include <array>
#include <bit>
#include <functional>
#include <map>
#include <memory>
#include <mutex>

#include "kernels/cuda/check_cuda.h"
#include "kernels/cuda/matmul.h"

namespace tamis::cuda {
namespace {

cudaDataType_t CudaType(DType dtype) {
  switch (dtype) {
    case DType::kF32: return CUDA_R_32F;
    case DType::kF16: return CUDA_R_16F;
    case DType::kBF16: return CUDA_R_16BF;
    default: Die("not a float dtype");
  }
}

// The largest power of two, up to 256, that divides the address.
uint32_t Alignment(const void* data) {
  const auto address = reinterpret_cast<uintptr_t>(data) | 256;
  return static_cast<uint32_t>(address & (~address + 1));
}

// Row-major out = a x weight^T is column-major out^T = weight^T' x a: to the library A is weight
// (transposed), B is a.
struct Product {
  cublasLtMatmulDescOpaque_t description;
  cublasLtMatrixLayoutOpaque_t weight, a, out;

  Product(const TensorView& out_view, const ConstTensorView& a_view,
          const ConstTensorView& weight_view) {
    const auto rows = static_cast<uint64_t>(a_view.shape[0]);
    const auto inner = static_cast<uint64_t>(a_view.shape[1]);
    const auto columns = static_cast<uint64_t>(weight_view.shape[0]);
    CheckCublas(cublasLtMatmulDescInit(&description, CUBLAS_COMPUTE_32F, CUDA_R_32F));
    const cublasOperation_t transposed = CUBLAS_OP_T;
    CheckCublas(cublasLtMatmulDescSetAttribute(&description, CUBLASLT_MATMUL_DESC_TRANSA,
                                               &transposed, sizeof transposed));
    CheckCublas(cublasLtMatrixLayoutInit(&weight, CudaType(weight_view.dtype), inner, columns,
                                         weight_view.row_stride));
    CheckCublas(
        cublasLtMatrixLayoutInit(&a, CudaType(a_view.dtype), inner, rows, a_view.row_stride));
    CheckCublas(cublasLtMatrixLayoutInit(&out, CudaType(out_view.dtype), columns, rows,
                                         out_view.row_stride));
  }
};

// Everything that the choice of an algorithm may depend on.
using Key = std::array<int64_t, 10>;

Key KeyOf(const TensorView& out, const ConstTensorView& a, const ConstTensorView& weight) {
  return {a.shape[0],
          weight.shape[0],
          a.shape[1],
          a.row_stride,
          static_cast<int64_t>(a.dtype),
          static_cast<int64_t>(out.dtype),
          Alignment(out.data),
          Alignment(a.data),
          Alignment(weight.data),
          out.row_stride};
}

// The library's candidates for a product, best guess first.
std::vector<cublasLtMatmulAlgo_t> Candidates(cublasLtHandle_t handle, Product& product,
                                             const Key& key, int at_most) {
  struct Preference {
    cublasLtMatmulPreferenceOpaque_t value;
    void Set(cublasLtMatmulPreferenceAttributes_t attribute, const void* data, size_t bytes) {
      CheckCublas(cublasLtMatmulPreferenceSetAttribute(&value, attribute, data, bytes));
    }
  } preference;
  CheckCublas(cublasLtMatmulPreferenceInit(&preference.value));
  const uint64_t workspace = kCublasWorkspaceBytes;
  const auto align_out = static_cast<uint32_t>(key[6]);
  const auto align_a = static_cast<uint32_t>(key[7]);
  const auto align_weight = static_cast<uint32_t>(key[8]);
  preference.Set(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &workspace, sizeof workspace);
  preference.Set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, &align_weight, sizeof align_weight);
  preference.Set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, &align_a, sizeof align_a);
  preference.Set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, &align_out, sizeof align_out);
  preference.Set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, &align_out, sizeof align_out);
  std::vector<cublasLtMatmulHeuristicResult_t> results(static_cast<size_t>(at_most));
  int found = 0;
  CheckCublas(cublasLtMatmulAlgoGetHeuristic(handle, &product.description, &product.weight,
                                             &product.a, &product.out, &product.out,
                                             &preference.value, at_most, results.data(), &found));
  std::vector<cublasLtMatmulAlgo_t> algorithms;
  for (int i = 0; i < found; ++i) {
    const cublasLtMatmulHeuristicResult_t& result = results[static_cast<size_t>(i)];
    if (result.state == CUBLAS_STATUS_SUCCESS) algorithms.push_back(result.algo);
  }
  CHECK(!algorithms.empty()) << "cuBLASLt has no product of " << key[0] << " x " << key[1] << " x "
                             << key[2];
  return algorithms;
}

// How a product is computed: by one algorithm, or in pieces of rows that have plans of their own.
struct Plan {
  cublasLtMatmulAlgo_t algorithm = {};
  int64_t piece_rows = 0;  // 0 = in one piece
};

// What was measured for a product of `rows` rows serves all down to half as many.
int64_t BucketOf(int64_t rows) {
  return static_cast<int64_t>(std::bit_ceil(static_cast<uint64_t>(rows)));
}

// One per device, shared by the threads that use it (ranks as threads).
class Library {
 public:
  Library() { CheckCublas(cublasLtCreate(&handle_)); }
  Library(const Library&) = delete;
  Library& operator=(const Library&) = delete;
  ~Library() = default;  // at exit the driver may be gone before us

  cublasLtHandle_t handle() const { return handle_; }

  // The plan for a product: one that was measured for such a number of rows, else the library's
  // first guess.
  Plan PlanOf(Product& product, const Key& key) {
    const std::lock_guard lock(mutex_);
    const auto known = plans_.find(key);
    if (known != plans_.end()) return known->second;
    const auto measured = measured_.find(BucketKey(key));
    if (measured != measured_.end() && Fits(product, measured->second)) {
      return plans_.emplace(key, measured->second).first->second;
    }
    const Plan guess = {Candidates(handle_, product, key, 1).front()};
    return plans_.emplace(key, guess).first->second;
  }

  bool Measured(const Key& key) {
    const std::lock_guard lock(mutex_);
    return measured_.contains(BucketKey(key));
  }
  void Keep(const Key& key, const Plan& plan) {
    const std::lock_guard lock(mutex_);
    measured_[BucketKey(key)] = plan;
    // What was guessed before for such products is forgotten.
    std::erase_if(plans_,
                  [&](const auto& entry) { return BucketKey(entry.first) == BucketKey(key); });
  }

 private:
  static Key BucketKey(Key key) {
    key[0] = BucketOf(key[0]);
    return key;
  }
  // Whether the algorithm, measured for another number of rows, can compute this product.
  bool Fits(Product& product, const Plan& plan) const {
    cublasLtMatmulHeuristicResult_t result;
    return plan.piece_rows > 0 ||
           (cublasLtMatmulAlgoCheck(handle_, &product.description, &product.weight, &product.a,
                                    &product.out, &product.out, &plan.algorithm,
                                    &result) == CUBLAS_STATUS_SUCCESS &&
            result.workspaceSize <= kCublasWorkspaceBytes);
  }

  cublasLtHandle_t handle_ = nullptr;
  std::mutex mutex_;
  std::map<Key, Plan> plans_;     // by exact number of rows
  std::map<Key, Plan> measured_;  // by bucket
};

Library& LibraryOfDevice() {
  static std::mutex mutex;
  static std::map<int, std::unique_ptr<Library>> libraries;
  int device = 0;
  CheckCuda(cudaGetDevice(&device));
  const std::lock_guard lock(mutex);
  std::unique_ptr<Library>& library = libraries[device];
  if (library == nullptr) library = std::make_unique<Library>();
  return *library;
}

// False if the algorithm turns out not to run.
bool RunProduct(const Library& library, Product& product, const cublasLtMatmulAlgo_t& algorithm,
                const TensorView& out, const ConstTensorView& a, const ConstTensorView& weight,
                const TensorView& workspace, const Stream& stream) {
  const float one = 1.0f, zero = 0.0f;
  return cublasLtMatmul(library.handle(), &product.description, &one, weight.data, &product.weight,
                        a.data, &product.a, &zero, out.data, &product.out, out.data, &product.out,
                        &algorithm, workspace.data, workspace.bytes(),
                        stream.cuda()) == CUBLAS_STATUS_SUCCESS;
}

void RunInPieces(int64_t piece_rows, const TensorView& out, const ConstTensorView& a,
                 const ConstTensorView& weight, const TensorView& workspace, const Stream& stream) {
  const int64_t rows = a.shape[0];
  for (int64_t begin = 0; begin < rows; begin += piece_rows) {
    const int64_t count = std::min(piece_rows, rows - begin);
    CublasMatMul(Rows(out, begin, count), Rows(a, begin, count), weight, workspace, stream);
  }
}

}  // namespace

void CublasMatMul(const TensorView& out, const ConstTensorView& a, const ConstTensorView& weight,
                  const TensorView& workspace, const Stream& stream) {
  Library& library = LibraryOfDevice();
  Product product(out, a, weight);
  const Plan plan = library.PlanOf(product, KeyOf(out, a, weight));
  const int64_t rows = a.shape[0];
  if (plan.piece_rows > 0 && plan.piece_rows < rows) {
    return RunInPieces(plan.piece_rows, out, a, weight, workspace, stream);
  }
  CHECK(RunProduct(library, product, plan.algorithm, out, a, weight, workspace, stream))
      << "cuBLASLt: product of " << rows << " x " << weight.shape[0] << " x " << a.shape[1];
}

namespace {

constexpr int kCandidatesMax = 16;
constexpr int kMeasurements = 5;
// Another way must be this much faster than the library's first guess to be worth the difference.
constexpr double kWorthwhile = 0.97;
constexpr int64_t kPieceRowsMin = 512;

// One way to compute a product, and how long it took.
struct Way {
  Plan plan;
  std::vector<double> us;

  double Median() const {
    std::vector<double> sorted = us;
    std::sort(sorted.begin(), sorted.end());
    return sorted[sorted.size() / 2];
  }
};

double MeasureUs(int calls, const Stream& stream, const std::function<void(int)>& run) {
  cudaEvent_t begin = nullptr, end = nullptr;
  CheckCuda(cudaEventCreate(&begin));
  CheckCuda(cudaEventCreate(&end));
  CheckCuda(cudaEventRecord(begin, stream.cuda()));
  for (int i = 0; i < calls; ++i) run(i);
  CheckCuda(cudaEventRecord(end, stream.cuda()));
  CheckCuda(cudaEventSynchronize(end));
  float ms = 0;
  CheckCuda(cudaEventElapsedTime(&ms, begin, end));
  CheckCuda(cudaEventDestroy(begin));
  CheckCuda(cudaEventDestroy(end));
  return 1000.0 * static_cast<double>(ms) / calls;
}

}  // namespace

void TuneCublasMatMul(const TensorView& out, const ConstTensorView& a,
                      const std::vector<ConstTensorView>& weights, const TensorView& workspace,
                      const Stream& stream) {
  Library& library = LibraryOfDevice();
  Product product(out, a, weights.front());
  const Key key = KeyOf(out, a, weights.front());
  const int64_t rows = a.shape[0];
  const auto run = [&](const Plan& plan, int i) {
    const ConstTensorView& weight = weights[static_cast<size_t>(i) % weights.size()];
    if (plan.piece_rows == 0) {
      return RunProduct(library, product, plan.algorithm, out, a, weight, workspace, stream);
    }
    RunInPieces(plan.piece_rows, out, a, weight, workspace, stream);
    return true;
  };
  std::vector<Way> ways;
  for (const auto& algorithm : Candidates(library.handle(), product, key, kCandidatesMax)) {
    if (run({algorithm}, 0)) ways.push_back({{algorithm}, {}});
  }
  // Large products can be slower than their halves one after the other: tiles then come from memory
  // more often. The halves have been tuned before.
  if (rows % 2 == 0 && rows / 2 >= kPieceRowsMin) ways.push_back({{{}, rows / 2}, {}});
  CHECK(!ways.empty()) << "no candidate of cuBLASLt runs";
  // In rounds, so that a card that gets warmer, and slower, is no way's advantage.
  for (int round = 0; round < kMeasurements; ++round) {
    for (Way& way : ways) {
      way.us.push_back(MeasureUs(rows >= 2048 ? 2 : 8, stream, [&](int i) { run(way.plan, i); }));
    }
  }
  const auto best = std::min_element(
      ways.begin(), ways.end(), [](const Way& x, const Way& y) { return x.Median() < y.Median(); });
  const bool worthwhile = best->Median() < kWorthwhile * ways.front().Median();
  library.Keep(key, worthwhile ? best->plan : ways.front().plan);
}

bool CublasMatMulTuned(const TensorView& out, const ConstTensorView& a,
                       const ConstTensorView& weight) {
  return LibraryOfDevice().Measured(KeyOf(out, a, weight));
}

}  // namespace tamis::cuda
