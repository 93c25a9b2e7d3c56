// SPDX-License-Identifier: Apache-2.0
// Vector code without -march: hot loops are compiled once per instruction set and the loader picks
// by the machine at hand. The loops fix the order of every sum, so that all versions agree bit for
// bit; nothing here may be reordered or contracted.
#pragma once

// clang 14 has no target_clones, and ifunc resolvers run before a sanitizer is set up.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && \
    !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define TAMIS_SIMD_CLONES __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define TAMIS_SIMD_CLONES
#endif

// Helpers of such loops must be part of each version.
#define TAMIS_SIMD_INLINE inline __attribute__((always_inline))
