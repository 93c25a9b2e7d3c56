// SPDX-License-Identifier: Apache-2.0
// Measuring, at start-up, how the model's products are best computed.
#pragma once

#include "kernels/device.h"
#include "kernels/scratch.h"
#include "runtime/model/llama.h"
#include "runtime/model/weights.h"

namespace tamis {

// TuneMatMul for every product of a step, at all row counts that the activations have room for.
// Before the first step: overwrites activations, and waits. Nothing on CPUs.
void TuneProducts(const ModelWeights& weights, const ModelShard& shard, Activations& act,
                  Scratch& scratch, const Stream& stream);

}  // namespace tamis
