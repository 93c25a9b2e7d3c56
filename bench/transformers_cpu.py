#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What Hugging Face transformers reaches on this machine's cores, to stand beside Tamis in one run.

SmolLM2-135M's shapes with random float32 weights, eager: the read ceiling, the prefill of 1000
tokens, and decoding one stream. Needs torch and transformers. Usage: transformers_cpu.py [THREADS]
"""
import sys
import time

import torch
from transformers import LlamaConfig, LlamaForCausalLM


def main():
    torch.set_num_threads(int(sys.argv[1]) if len(sys.argv) > 1 else 2)
    block = torch.rand(1 << 28)  # 1 GiB
    best = min(timed(block.sum)[0] for _ in range(5))
    print(f"read ceiling: {block.numel() * 4 / best / 1e9:.1f} GB/s")
    config = LlamaConfig(hidden_size=576, intermediate_size=1536, num_hidden_layers=30,
                         num_attention_heads=9, num_key_value_heads=3, head_dim=64,
                         vocab_size=49152, tie_word_embeddings=True, max_position_embeddings=8192)
    model = LlamaForCausalLM(config).eval()
    prompt = torch.randint(0, 49000, (1, 1000))
    with torch.inference_mode():
        model(prompt[:, :64])
        print(f"prefill of 1000 tokens: {timed(lambda: model(prompt))[0]:.2f} s")
        cache = model(prompt[:, :16], use_cache=True).past_key_values
        token, steps = prompt[:, :1], 128
        start = time.perf_counter()
        for _ in range(steps):
            out = model(token, past_key_values=cache, use_cache=True)
            cache, token = out.past_key_values, out.logits[:, -1:].argmax(-1)
        print(f"decoding: {steps / (time.perf_counter() - start):.1f} tokens/s")


def timed(call):
    start = time.perf_counter()
    result = call()
    return time.perf_counter() - start, result


if __name__ == "__main__":
    main()
