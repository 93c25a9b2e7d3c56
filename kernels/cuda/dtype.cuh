// SPDX-License-Identifier: Apache-2.0
// Storage types of the CUDA ops: conversion to and from float32, 16-byte vectors, and the one
// dispatch from a run-time dtype to a template argument.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include "kernels/check.h"
#include "kernels/tensor.h"

namespace tamis::cuda {

__device__ __forceinline__ float ToFloat(float value) { return value; }
__device__ __forceinline__ float ToFloat(__half value) { return __half2float(value); }
__device__ __forceinline__ float ToFloat(__nv_bfloat16 value) { return __bfloat162float(value); }

// Rounds to nearest even.
template <typename T>
__device__ __forceinline__ T FromFloat(float value);
template <>
__device__ __forceinline__ float FromFloat<float>(float value) {
  return value;
}
template <>
__device__ __forceinline__ __half FromFloat<__half>(float value) {
  return __float2half_rn(value);
}
template <>
__device__ __forceinline__ __nv_bfloat16 FromFloat<__nv_bfloat16>(float value) {
  return __float2bfloat16_rn(value);
}

// N elements moved as one access.
template <typename T, int N>
struct alignas(sizeof(T) * N) Vec {
  T v[N];
};
template <typename T, int N>
__device__ __forceinline__ Vec<T, N> LoadVec(const T* from) {
  return *reinterpret_cast<const Vec<T, N>*>(from);
}
template <typename T, int N>
__device__ __forceinline__ void StoreVec(T* to, const Vec<T, N>& value) {
  *reinterpret_cast<Vec<T, N>*>(to) = value;
}

// Elements of T in a 16-byte access.
template <typename T>
constexpr int kVecWidth = 16 / static_cast<int>(sizeof(T));

// Calls run(T{}) for the storage type of a float dtype.
template <typename Run>
void DispatchFloat(DType dtype, Run&& run) {
  switch (dtype) {
    case DType::kF32: return run(float{});
    case DType::kF16: return run(__half{});
    case DType::kBF16: return run(__nv_bfloat16{});
    default: Die("not a float dtype");
  }
}

inline bool Aligned16(const void* data) { return reinterpret_cast<uintptr_t>(data) % 16 == 0; }

}  // namespace tamis::cuda
