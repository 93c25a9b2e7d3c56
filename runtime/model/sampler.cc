// SPDX-License-Identifier: Apache-2.0
// Logits to tokens. Every rank samples: equal logits and a counter-based generator give equal
// tokens, so that the next step can read them from the slots without asking the host.
#include "kernels/ops.h"
#include "runtime/model/llama.h"

namespace tamis {

void SampleStep(const LlamaContext& c, const StepInputs& inputs) {
  const int64_t num_rows = inputs.num_logit_rows;
  if (num_rows == 0) return;
  const int64_t num_top = inputs.num_top_logprobs;
  const TensorView sampled = Rows(c.act.sampled, 0, num_rows);
  ops::Sample(sampled, Rows(c.act.logprobs, 0, num_rows),
              Columns(Rows(c.act.top_tokens, 0, num_rows), 0, num_top),
              Columns(Rows(c.act.top_logprobs, 0, num_rows), 0, num_top),
              Rows(c.act.logits, 0, num_rows), inputs.sample, c.scratch, c.stream);
  ops::StoreSlotTokens(c.act.slot_tokens, inputs.sample_slots, sampled, c.stream);
}

}  // namespace tamis
