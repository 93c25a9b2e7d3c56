#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""How often transformers in bfloat16 agrees with itself in float32, teacher-forced on SmolLM2.

The same tokens and the same weights as teacher_forced_gpu_test.cc, whose bound comes from here.
float32 runs on the CPU, bfloat16 on the GPU. Needs torch, transformers and gguf.
Usage: transformers_agreement.py MODEL.gguf
"""
import pathlib
import sys

import numpy as np
import torch

import make_fixtures

HERE = pathlib.Path(__file__).parent


def likeliest(model, sequences, device, dtype):
    model = model.to(device=device, dtype=dtype)
    with torch.inference_mode():
        return np.stack([model(torch.tensor([ids], device=device)).logits[0].float().argmax(-1)
                         .cpu().numpy() for ids in sequences])


def main():
    lines = (HERE / "teacher_forced.txt").read_text().splitlines()[1:]
    sequences = [[int(x) for x in line.split()[2:]] for line in lines]
    model = make_fixtures.smollm2_weights(sys.argv[1])
    reference = likeliest(model, sequences, "cpu", torch.float32)
    for attention in ("eager", "sdpa"):
        model = make_fixtures.smollm2_weights(sys.argv[1])
        model.set_attn_implementation(attention)
        got = likeliest(model, sequences, "cuda", torch.bfloat16)
        print(f"top-1 agreement of transformers' bfloat16 ({attention}, GPU) with its float32 "
              f"(CPU) over {len(sequences)} x {len(sequences[0])} tokens: "
              f"{(got == reference).mean():.4f}")


if __name__ == "__main__":
    main()
