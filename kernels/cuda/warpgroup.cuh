// SPDX-License-Identifier: Apache-2.0
// Hopper's own instructions (sm_90a): products of a warpgroup (four warps) whose operands lie in
// shared memory, copies of boxes by the copy engine, the barriers in shared memory that both are
// waited for with, and clusters of blocks that write into each other's shared memory.
//
// Tiles in shared memory are rows of 128 bytes (64 16-bit elements), whose 16-byte pieces are
// permuted within groups of 8 rows ("128B swizzle"): the copy engine writes and the tensor cores
// read them so, if the tile begins at a multiple of 1024 bytes. Wider rows are cut into panels of
// 64 elements, one tile after the other.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>

namespace tamis::cuda {

constexpr int kWarpgroupThreads = 128;
constexpr int kPanelColumns = 64;  // 16-bit elements
constexpr int kPanelRowBytes = 128;

// ---- barriers ----------------------------------------------------------------------------------

// A phase ends when `arrivals` threads have arrived and all announced bytes have.
__device__ __forceinline__ void InitBarrier(uint32_t barrier, int arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(barrier), "r"(arrivals) : "memory");
}
// After InitBarrier, before the copy engine or other threads use the barriers.
__device__ __forceinline__ void PublishBarriers() {
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}
__device__ __forceinline__ void Arrive(uint32_t barrier) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(barrier) : "memory");
}
__device__ __forceinline__ void ArriveExpecting(uint32_t barrier, uint32_t bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(barrier), "r"(bytes)
               : "memory");
}
// Until the phase of this parity has ended; the phase before the first counts as ended, parity 1.
__device__ __forceinline__ void AwaitPhase(uint32_t barrier, uint32_t parity) {
  asm volatile(
      "{\n"
      ".reg .pred done;\n"
      "again:\n"
      "mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n"
      "@!done bra again;\n"
      "}" ::"r"(barrier),
      "r"(parity)
      : "memory");
}
// Barrier `id` (1 to 15) of `threads` threads: wait for it, or only count towards it.
__device__ __forceinline__ void SyncNamed(int id, int threads) {
  asm volatile("bar.sync %0, %1;" ::"r"(id), "r"(threads) : "memory");
}
__device__ __forceinline__ void ArriveNamed(int id, int threads) {
  asm volatile("bar.arrive %0, %1;" ::"r"(id), "r"(threads) : "memory");
}

// True in one lane of a whole warp, in a way that the compiler knows to be one: what that lane
// alone hands to the copy engine then needs no loop over lanes.
__device__ __forceinline__ bool ElectLane() {
  uint32_t elected;
  asm volatile("{\n.reg .pred one;\nelect.sync _|one, 0xffffffff;\nselp.u32 %0, 1, 0, one;\n}"
               : "=r"(elected));
  return elected != 0;
}

// ---- copies ------------------------------------------------------------------------------------

// Starts to fetch the box at (column, row) of a tensor map; what lies outside the tensor is zeros.
// The bytes of the whole box count towards the barrier. One thread.
__device__ __forceinline__ void FetchBox(uint32_t to, const void* map, int column, int row,
                                         uint32_t barrier) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes "
      "[%0], [%1, {%2, %3}], [%4];" ::"r"(to),
      "l"(map), "r"(column), "r"(row), "r"(barrier)
      : "memory");
}
// The same, with what the L2 is to do with the lines.
__device__ __forceinline__ void FetchBox(uint32_t to, const void* map, int column, int row,
                                         uint32_t barrier, uint64_t cache_policy) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes"
      ".L2::cache_hint [%0], [%1, {%2, %3}], [%4], %5;" ::"r"(to),
      "l"(map), "r"(column), "r"(row), "r"(barrier), "l"(cache_policy)
      : "memory");
}
__device__ __forceinline__ uint64_t EvictFirst() {
  uint64_t policy;
  asm("createpolicy.fractional.L2::evict_first.b64 %0, 1.0;" : "=l"(policy));
  return policy;
}
__device__ __forceinline__ uint64_t EvictLast() {
  uint64_t policy;
  asm("createpolicy.fractional.L2::evict_last.b64 %0, 1.0;" : "=l"(policy));
  return policy;
}
__device__ __forceinline__ void PrefetchMap(const void* map) {
  asm volatile("prefetch.tensormap [%0];" ::"l"(map) : "memory");
}

// ---- clusters ----------------------------------------------------------------------------------

// All threads of a cluster arrive, then wait; between the two they are free. Orders no memory.
__device__ __forceinline__ void ArriveAtCluster() {
  asm volatile("barrier.cluster.arrive.relaxed.aligned;" ::: "memory");
}
__device__ __forceinline__ void AwaitCluster() {
  asm volatile("barrier.cluster.wait.aligned;" ::: "memory");
}
// The address in another block's shared memory that is `address` in this one's.
__device__ __forceinline__ uint32_t AddressOfRank(uint32_t address, int rank) {
  uint32_t there;
  asm("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(there) : "r"(address), "r"(rank));
  return there;
}
// Sends 16 bytes into another block's shared memory, counted by a barrier there.
__device__ __forceinline__ void Send(uint32_t there, const float* values, uint32_t barrier_there) {
  asm volatile(
      "st.async.weak.shared::cluster.mbarrier::complete_tx::bytes.v4.f32 "
      "[%0], {%1, %2, %3, %4}, [%5];" ::"r"(there),
      "f"(values[0]), "f"(values[1]), "f"(values[2]), "f"(values[3]), "r"(barrier_there)
      : "memory");
}
// As AwaitPhase, for what other blocks have sent.
__device__ __forceinline__ void AwaitPhaseOfCluster(uint32_t barrier, uint32_t parity) {
  asm volatile(
      "{\n"
      ".reg .pred done;\n"
      "again:\n"
      "mbarrier.try_wait.parity.acquire.cluster.shared::cta.b64 done, [%0], %1;\n"
      "@!done bra again;\n"
      "}" ::"r"(barrier),
      "r"(parity)
      : "memory");
}

// ---- products ----------------------------------------------------------------------------------

// How the tensor cores find a swizzled tile. An operand whose inner dimension is the contiguous one
// needs no `panel_bytes`; else it is the distance from a panel of 64 columns to the next.
__device__ __forceinline__ uint64_t TileDescriptor(uint32_t address, uint32_t panel_bytes = 16) {
  constexpr uint64_t kSwizzle128 = uint64_t{1} << 62;
  constexpr uint64_t kEightRows = uint64_t{8 * kPanelRowBytes / 16} << 32;
  return kSwizzle128 | kEightRows | uint64_t{panel_bytes / 16} << 16 | (address & 0x3FFFF) / 16;
}
// The same tile some bytes further on.
__device__ __forceinline__ uint64_t Advance(uint64_t descriptor, uint32_t bytes) {
  return descriptor + bytes / 16;
}

// Before products whose registers ordinary instructions have touched.
__device__ __forceinline__ void BeginProducts() {
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}
__device__ __forceinline__ void CommitProducts() {
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}
// Until at most kPending of the groups committed last are still under way.
template <int kPending>
__device__ __forceinline__ void AwaitProducts() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kPending) : "memory");
}
// Keeps the compiler from moving uses of the registers across this point.
template <int N>
__device__ __forceinline__ void Pin(float (&values)[N]) {
#pragma unroll
  for (int i = 0; i < N; ++i) asm volatile("" : "+f"(values[i])::"memory");
}
// Has the value ready here. The assembler moves a wait for products up to the first place where it
// may stand, before the arithmetic that was meant to run beside them; but it keeps the order of
// memory accesses, and this one, which a value of at least 0 never makes, needs the value.
__device__ __forceinline__ void FinishBefore(float value, uint32_t shared) {
  asm volatile(
      "{\n.reg .pred never;\nsetp.lt.f32 never, %0, 0f00000000;\n"
      "@never st.shared.f32 [%1], %0;\n}" ::"f"(value),
      "r"(shared)
      : "memory");
}

#define TAMIS_SUMS_8(v, i)                                                                      \
  "+f"((v)[i]), "+f"((v)[(i) + 1]), "+f"((v)[(i) + 2]), "+f"((v)[(i) + 3]), "+f"((v)[(i) + 4]), \
      "+f"((v)[(i) + 5]), "+f"((v)[(i) + 6]), "+f"((v)[(i) + 7])
#define TAMIS_SUMS_32(v, i) \
  TAMIS_SUMS_8(v, i), TAMIS_SUMS_8(v, (i) + 8), TAMIS_SUMS_8(v, (i) + 16), TAMIS_SUMS_8(v, (i) + 24)
#define TAMIS_NAMES_8 "%0,%1,%2,%3,%4,%5,%6,%7"
#define TAMIS_NAMES_16 TAMIS_NAMES_8 ",%8,%9,%10,%11,%12,%13,%14,%15"
#define TAMIS_NAMES_32                                                             \
  "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,%16,%17,%18,%19,%20,%21," \
  "%22,%23,%24,%25,%26,%27,%28,%29,%30,%31"
#define TAMIS_NAMES_64                                                                    \
  TAMIS_NAMES_32                                                                          \
  ",%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47,%48,%49,%50,%51,%52," \
  "%53,%54,%55,%56,%57,%58,%59,%60,%61,%62,%63"

// sums (64 x columns) = or += a (64 x 16) * b^T (columns x 16), both in shared memory, rows along
// the inner dimension. Warp w of the warpgroup holds rows 16w .., as fragments C of mma.cuh, 8
// columns each.
#define TAMIS_DEFINE_SHARED_PRODUCT(T, TYPE, COLUMNS, NAMES, SUMS, A, B, ADD)                     \
  __device__ __forceinline__ void ProductOfShared(float(&sums)[COLUMNS / 2], uint64_t a,          \
                                                  uint64_t b, bool add, T) {                      \
    asm volatile("{\n.reg .pred add;\nsetp.ne.b32 add, %" #ADD                                    \
                 ", 0;\n"                                                                         \
                 "wgmma.mma_async.sync.aligned.m64n" #COLUMNS "k16.f32." TYPE "." TYPE " {" NAMES \
                 "}, %" #A ", %" #B ", add, 1, 1, 0, 0;\n}"                                       \
                 : SUMS                                                                           \
                 : "l"(a), "l"(b), "r"(static_cast<int>(add)));                                   \
  }
// sums (64 x columns) += a (64 x 16, fragments A of mma.cuh) * b (16 x columns, in shared memory,
// rows along the columns).
#define TAMIS_DEFINE_REGISTER_PRODUCT(T, TYPE, COLUMNS, NAMES, SUMS, A0, A1, A2, A3, B)           \
  __device__ __forceinline__ void AddProductOfRegisters(float(&sums)[COLUMNS / 2], uint32_t a0,   \
                                                        uint32_t a1, uint32_t a2, uint32_t a3,    \
                                                        uint64_t b, T) {                          \
    asm volatile("wgmma.mma_async.sync.aligned.m64n" #COLUMNS "k16.f32." TYPE "." TYPE " {" NAMES \
                 "}, {%" #A0 ",%" #A1 ",%" #A2 ",%" #A3 "}, %" #B ", 1, 1, 1, 1;"                 \
                 : SUMS                                                                           \
                 : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "l"(b));                                   \
  }
#define TAMIS_ALL_8 TAMIS_SUMS_8(sums, 0)
#define TAMIS_ALL_16 TAMIS_SUMS_8(sums, 0), TAMIS_SUMS_8(sums, 8)
#define TAMIS_ALL_32 TAMIS_SUMS_32(sums, 0)
#define TAMIS_ALL_64 TAMIS_SUMS_32(sums, 0), TAMIS_SUMS_32(sums, 32)
TAMIS_DEFINE_SHARED_PRODUCT(__nv_bfloat16, "bf16", 16, TAMIS_NAMES_8, TAMIS_ALL_8, 8, 9, 10)
TAMIS_DEFINE_SHARED_PRODUCT(__half, "f16", 16, TAMIS_NAMES_8, TAMIS_ALL_8, 8, 9, 10)
TAMIS_DEFINE_SHARED_PRODUCT(__nv_bfloat16, "bf16", 32, TAMIS_NAMES_16, TAMIS_ALL_16, 16, 17, 18)
TAMIS_DEFINE_SHARED_PRODUCT(__half, "f16", 32, TAMIS_NAMES_16, TAMIS_ALL_16, 16, 17, 18)
TAMIS_DEFINE_SHARED_PRODUCT(__nv_bfloat16, "bf16", 64, TAMIS_NAMES_32, TAMIS_ALL_32, 32, 33, 34)
TAMIS_DEFINE_SHARED_PRODUCT(__half, "f16", 64, TAMIS_NAMES_32, TAMIS_ALL_32, 32, 33, 34)
TAMIS_DEFINE_SHARED_PRODUCT(__nv_bfloat16, "bf16", 128, TAMIS_NAMES_64, TAMIS_ALL_64, 64, 65, 66)
TAMIS_DEFINE_SHARED_PRODUCT(__half, "f16", 128, TAMIS_NAMES_64, TAMIS_ALL_64, 64, 65, 66)
TAMIS_DEFINE_REGISTER_PRODUCT(__nv_bfloat16, "bf16", 64, TAMIS_NAMES_32, TAMIS_ALL_32, 32, 33, 34,
                              35, 36)
TAMIS_DEFINE_REGISTER_PRODUCT(__half, "f16", 64, TAMIS_NAMES_32, TAMIS_ALL_32, 32, 33, 34, 35, 36)
TAMIS_DEFINE_REGISTER_PRODUCT(__nv_bfloat16, "bf16", 128, TAMIS_NAMES_64, TAMIS_ALL_64, 64, 65, 66,
                              67, 68)
TAMIS_DEFINE_REGISTER_PRODUCT(__half, "f16", 128, TAMIS_NAMES_64, TAMIS_ALL_64, 64, 65, 66, 67, 68)
#undef TAMIS_ALL_64
#undef TAMIS_ALL_32
#undef TAMIS_ALL_16
#undef TAMIS_ALL_8
#undef TAMIS_DEFINE_REGISTER_PRODUCT
#undef TAMIS_DEFINE_SHARED_PRODUCT
#undef TAMIS_NAMES_64
#undef TAMIS_NAMES_32
#undef TAMIS_NAMES_16
#undef TAMIS_NAMES_8
#undef TAMIS_SUMS_32
#undef TAMIS_SUMS_8

}  // namespace tamis::cuda
