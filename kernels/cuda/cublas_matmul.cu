// SPDX-License-Identifier: Apache-2.0
// Products through cuBLASLt. The library's handle and its choice of algorithm per shape are made
// at first use and kept for the life of the process: state that ops otherwise never have, because
// asking the heuristics takes longer than most products.
#include <algorithm>
#include <array>
#include <map>
#include <memory>
#include <mutex>

#include "kernels/cuda/launch.cuh"
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

cublasLtMatmulAlgo_t Choose(cublasLtHandle_t handle, Product& product, const Key& key) {
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
  cublasLtMatmulHeuristicResult_t result;
  int found = 0;
  CheckCublas(cublasLtMatmulAlgoGetHeuristic(handle, &product.description, &product.weight,
                                             &product.a, &product.out, &product.out,
                                             &preference.value, 1, &result, &found));
  CHECK_EQ(found, 1) << "cuBLASLt has no product of " << key[0] << " x " << key[1] << " x "
                     << key[2];
  CheckCublas(result.state);
  return result.algo;
}

// One per device, shared by the threads that use it (ranks as threads).
class Library {
 public:
  Library() { CheckCublas(cublasLtCreate(&handle_)); }
  Library(const Library&) = delete;
  Library& operator=(const Library&) = delete;
  ~Library() = default;  // at exit the driver may be gone before us

  cublasLtHandle_t handle() const { return handle_; }
  cublasLtMatmulAlgo_t Algorithm(Product& product, const Key& key) {
    const std::lock_guard lock(mutex_);
    const auto known = algorithms_.find(key);
    if (known != algorithms_.end()) return known->second;
    return algorithms_.emplace(key, Choose(handle_, product, key)).first->second;
  }

 private:
  cublasLtHandle_t handle_ = nullptr;
  std::mutex mutex_;
  std::map<Key, cublasLtMatmulAlgo_t> algorithms_;
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

}  // namespace

void CublasMatMul(const TensorView& out, const ConstTensorView& a, const ConstTensorView& weight,
                  const TensorView& workspace, const Stream& stream) {
  Library& library = LibraryOfDevice();
  Product product(out, a, weight);
  const cublasLtMatmulAlgo_t algorithm = library.Algorithm(product, KeyOf(out, a, weight));
  const float one = 1.0f, zero = 0.0f;
  CheckCublas(cublasLtMatmul(library.handle(), &product.description, &one, weight.data,
                             &product.weight, a.data, &product.a, &zero, out.data, &product.out,
                             out.data, &product.out, &algorithm, workspace.data, workspace.bytes(),
                             stream.cuda()));
}

}  // namespace tamis::cuda
