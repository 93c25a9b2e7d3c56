// SPDX-License-Identifier: Apache-2.0
// Logits to tokens. Every rank samples: equal logits and a counter-based generator give equal
// tokens, so that the next step can read them from the slots without asking the host.
#include "kernels/ops.h"
#include "runtime/model/llama.h"

namespace tamis {

void SampleStep(const LlamaContext& c, const StepInputs& inputs) {
  const int64_t num_rows = inputs.num_logit_rows;
  if (num_rows == 0) return;
  // All N_max as soon as any row wants some, so that rows lie N_max apart in every step.
  const int64_t num_top = inputs.num_top_logprobs > 0 ? c.act.top_tokens.shape[1] : 0;
  const auto top = [&](const TensorView& x) {  // [S, N]
    return TensorView(x.data, {num_rows, num_top}, x.dtype, x.device);
  };
  const TensorView sampled = Rows(c.act.sampled, 0, num_rows);
  ops::Sample(sampled, Rows(c.act.logprobs, 0, num_rows), top(c.act.top_tokens),
              top(c.act.top_logprobs), Rows(c.act.logits, 0, num_rows), inputs.sample, c.scratch,
              c.stream);
  ops::StoreSlotTokens(c.act.slot_tokens, inputs.sample_slots, sampled, c.stream);
}

}  // namespace tamis
