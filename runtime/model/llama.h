// SPDX-License-Identifier: Apache-2.0
// The forward pass of a Llama-family model on one rank's shard.
#pragma once

#include "kernels/device.h"
#include "kernels/scratch.h"
#include "parallel/collectives.h"
#include "parallel/shard.h"
#include "runtime/model/config.h"
#include "runtime/model/kv_cache.h"
#include "runtime/model/select.h"
#include "runtime/model/selection_config.h"
#include "runtime/model/step_inputs.h"
#include "runtime/model/weights.h"

namespace tamis {

// Every activation of one step, as views into one buffer sized at start-up.
struct Activations {
  TensorView token_ids;      // i32 [T_max] after ResolveTokens
  TensorView residual;       // [T_max, H]
  TensorView normed;         // [T_max, H]
  TensorView qkv;            // [T_max, (Nq_local + 2 * Nkv_local) * D]
  TensorView attn;           // [T_max, Nq_local * D]
  TensorView partial;        // [T_max, H] this rank's part of a sum over ranks
  TensorView gate_up;        // [T_max, 2 * F_local]
  TensorView ffn;            // [T_max, F_local]
  TensorView last_hidden;    // [S_max, H]
  TensorView logits_local;   // f32 [S_max, V_pad]
  TensorView logits_all;     // f32 [W, S_max, V_pad]
  TensorView logits;         // f32 [S_max, V]
  TensorView slot_tokens;    // i32 [max_num_seqs] what each slot sampled last
  TensorView sampled;        // i32 [S_max]
  TensorView logprobs;       // f32 [S_max]
  TensorView top_tokens;     // i32 [S_max, N_max]
  TensorView top_logprobs;   // f32 [S_max, N_max]
  TensorView inv_freq;       // f32 [D / 2]
  TensorView vocab_offsets;  // i32 [W + 1]
  SelectionActivations selection;
  Buffer buffer;
};

struct StepLimits {
  int64_t num_tokens_max = 0;    // T_max
  int64_t logit_rows_max = 0;    // S_max
  int64_t num_slots = 0;         // max_num_seqs
  int64_t top_logprobs_max = 0;  // N_max
  int64_t context_len_max = 0;   // max_model_len
  SelectionLimits selection = {};
};

size_t ActivationBytes(const ModelConfig& config, const ModelShard& shard, DType dtype,
                       const StepLimits& limits);
// Upper bound of the scratch that any op of a step within `limits` takes.
size_t ScratchBytes(const ModelConfig& config, const ModelShard& shard, DType dtype,
                    DeviceKind device, const StepLimits& limits);
Activations AllocateActivations(const ModelConfig& config, const ModelShard& shard, DType dtype,
                                DeviceKind device, const StepLimits& limits);

// TuneMatMul for every product of a step, at all row counts that the activations have room for.
// Before the first step: overwrites activations, and waits. Nothing on CPUs.
void TuneProducts(const ModelWeights& weights, const ModelShard& shard, Activations& act,
                  Scratch& scratch, const Stream& stream);

// What the forward pass composes; all outlive the call.
struct LlamaContext {
  const ModelConfig& config;
  const ModelShard& shard;
  const ModelWeights& weights;
  const KvCache& kv;
  Activations& act;
  Collectives& collectives;
  Scratch& scratch;
  const Stream& stream;
  const SelectionLayers* layers = nullptr;      // null = every layer is dense
  const SelectionObserver* observer = nullptr;  // null = nobody looks
  // Sees every filter layer with other scores: each candidate's share of attention, added over this
  // rank's heads. Null = they are not computed.
  const SelectionObserver* mass_observer = nullptr;
};

// Runs the step: writes keys and values into the cache and act.logits[0, num_logit_rows), equal on
// every rank. The two all-reduces per layer are visible lines in it.
void Forward(const LlamaContext& context, const StepInputs& inputs);

// Samples act.logits into act.sampled, act.logprobs, act.slot_tokens and, if any row wants it, all
// N_max columns of act.top_*.
void SampleStep(const LlamaContext& context, const StepInputs& inputs);

}  // namespace tamis
