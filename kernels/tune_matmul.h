// SPDX-License-Identifier: Apache-2.0
// Choosing, once and by measurement, how a device computes products of a shape.
#pragma once

#include <vector>

#include "kernels/device.h"
#include "kernels/scratch.h"
#include "kernels/tensor.h"

namespace tamis {

// Measures the ways to compute out = a * weight^T for 1 to M rows, by powers of two, and keeps the
// fastest for the life of the process: MatMul then takes it for any row count in between. Shapes
// that were measured before are not measured again. `weights` [N, K] have one shape; several of
// them keep the cache from flattering small products. Overwrites `a` [M, K] and `out` [M, N].
//
// For start-up, before graphs are captured: waits for the stream, and takes tenths of a second per
// shape. Does nothing on CPUs. Which way is fastest may differ between runs, and then so do the
// last bits of the products.
void TuneMatMul(TensorView out, TensorView a, const std::vector<ConstTensorView>& weights,
                Scratch& scratch, const Stream& stream);

namespace cuda {
void TuneMatMul(TensorView out, TensorView a, const std::vector<ConstTensorView>& weights,
                Scratch& scratch, const Stream& stream);
}

}  // namespace tamis
