// SPDX-License-Identifier: Apache-2.0
// Measuring, at start-up, how the model's products are best computed.
#include <algorithm>
#include <vector>

#include "kernels/tune_matmul.h"
#include "runtime/model/llama.h"

namespace tamis {

void TuneProducts(const ModelWeights& weights, const ModelShard& shard, Activations& act,
                  Scratch& scratch, const Stream& stream) {
  if (stream.device() == DeviceKind::kCpu) return;
  // Products of few rows read all of a weight; a few layers' together are more than a cache holds.
  constexpr size_t kLayers = 4;
  const auto tune = [&](const TensorView& out, const TensorView& a,
                        TensorView LayerWeights::*weight) {
    std::vector<ConstTensorView> some;
    for (size_t layer = 0; layer < std::min(kLayers, weights.layers.size()); ++layer) {
      some.push_back(weights.layers[layer].*weight);
    }
    TuneMatMul(out, a, some, scratch, stream);
  };
  tune(act.qkv, act.normed, &LayerWeights::qkv);
  tune(act.partial, act.attn, &LayerWeights::o);
  tune(act.gate_up, act.normed, &LayerWeights::gate_up);
  tune(act.partial, act.ffn, &LayerWeights::down);
  TuneMatMul(Columns(act.logits_local, 0, shard.vocab.count), act.last_hidden, {weights.lm_head},
             scratch, stream);
}

}  // namespace tamis
