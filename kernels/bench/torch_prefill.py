#!/usr/bin/env python3
"""The rival of PrefillAttention in the same run: PyTorch's scaled_dot_product_attention through cuDNN
(and FlashAttention), causal, 32 query and 8 KV heads of 128, bfloat16, contiguous keys and values;
and the ceiling, a bfloat16 product of 8192 x 8192 x 8192. Needs torch and a GPU."""
import statistics

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

Q_HEADS, KV_HEADS, HEAD_DIM = 32, 8, 128


def median_us(run, runs=11, warmup=2):
    for _ in range(warmup):
        run()
    times = []
    for _ in range(runs):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        run()
        end.record()
        torch.cuda.synchronize()
        times.append(1000 * begin.elapsed_time(end))
    return statistics.median(times)


def random(*shape):
    return torch.randn(*shape, device="cuda", dtype=torch.bfloat16)


def report(name, us, flops):
    print(f"| {name:44s} | {us:10.2f} us | {flops / us / 1e6:6.1f} TFLOP/s |", flush=True)


def attention(tokens, backend):
    q = random(1, Q_HEADS, tokens, HEAD_DIM)
    k, v = (random(1, KV_HEADS, tokens, HEAD_DIM) for _ in range(2))
    with sdpa_kernel(backend), torch.no_grad():
        us = median_us(lambda: torch.nn.functional.scaled_dot_product_attention(
            q, k, v, is_causal=True, enable_gqa=True))
    pairs = tokens * (tokens + 1) / 2
    report(f"torch {backend.name} {tokens // 1024}K", us, 4 * HEAD_DIM * Q_HEADS * pairs)


def main():
    a, b = random(8192, 8192), random(8192, 8192)
    report("torch product 8192^3", median_us(lambda: a @ b.T), 2 * 8192**3)
    for tokens in (2048, 8192, 32768):
        attention(tokens, SDPBackend.CUDNN_ATTENTION)
    attention(32768, SDPBackend.FLASH_ATTENTION)


if __name__ == "__main__":
    main()
