#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The decode step that plain PyTorch reaches, to stand beside ours in one run on one GPU.

Llama-3-8B shapes, random bf16 weights, one decode step captured in a CUDA graph with cuDNN
attention: dense, and an OmniKV-like step (max over heads of softmax, torch.topk, gathered
attention). Prints one JSON line per case.
Usage: torch_decode.py [--cases 1x131072,8x32768] [--k 2048] [--filters 2,8,18] [--hf]
--hf also times transformers' eager LlamaForCausalLM. Needs torch (and transformers for --hf) and
~33 GB for 1x131072.
"""
import argparse
import json
import statistics
import time

import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

L, H, FFN, V, NQ, NKV, D = 32, 4096, 14336, 128256, 32, 8, 128
DEV, BF16 = "cuda", torch.bfloat16
ORDER = [SDPBackend.CUDNN_ATTENTION, SDPBackend.FLASH_ATTENTION, SDPBackend.MATH]


def median_ms(fn, runs=10, warmup=3):
    for _ in range(warmup):
        fn()
    times = []
    for _ in range(runs):
        a, b = torch.cuda.Event(True), torch.cuda.Event(True)
        a.record()
        fn()
        b.record()
        torch.cuda.synchronize()
        times.append(a.elapsed_time(b))
    return statistics.median(times)


class Model:
    def __init__(self):
        w = lambda *s: torch.randn(*s, device=DEV, dtype=BF16) * 0.02
        one = lambda: torch.ones(H, device=DEV, dtype=BF16)
        self.layers = [(w((NQ + 2 * NKV) * D, H), w(H, NQ * D), w(2 * FFN, H), w(H, FFN), one(),
                        one()) for _ in range(L)]
        self.embed, self.head, self.norm = w(V, H), w(V, H), one()
        self.weight_bytes = 2 * (sum(t.numel() for l in self.layers for t in l) +
                                 self.head.numel())

    def step(self, tokens, kv, cos, sin, filters=None, k=0):
        x, idx = F.embedding(tokens, self.embed), None
        n = x.shape[0]

        def rope(t):
            return t * cos + torch.cat((-t[..., D // 2:], t[..., :D // 2]), -1) * sin

        for i, (qkv, o, gate_up, down, n1, n2) in enumerate(self.layers):
            q, kk, v = F.linear(F.rms_norm(x, (H,), n1, 1e-5), qkv).split(
                (NQ * D, NKV * D, NKV * D), -1)
            q, kk = rope(q.view(n, NQ, D)), rope(kk.view(n, NKV, D))
            K, Vc = kv[i]
            K[:, :, -1], Vc[:, :, -1] = kk, v.view(n, NKV, D)
            if filters is None or i < filters[0] or i in filters:
                a = F.scaled_dot_product_attention(q.unsqueeze(2), K, Vc, enable_gqa=True)
                if filters is not None and i in filters:
                    s = torch.einsum("bghd,bgld->bghl", q.view(n, NKV, NQ // NKV, D), K)
                    s = s * D**-0.5
                    idx = torch.softmax(s.float(), -1).amax((1, 2)).topk(k, -1).indices
            else:
                g = idx[:, None, :, None].expand(n, NKV, k, D)
                a = F.scaled_dot_product_attention(q.unsqueeze(2), K.gather(2, g), Vc.gather(2, g),
                                                   enable_gqa=True)
            x = x + F.linear(a.reshape(n, H), o)
            g, u = F.linear(F.rms_norm(x, (H,), n2, 1e-5), gate_up).chunk(2, -1)
            x = x + F.linear(F.silu(g) * u, down)
        return F.linear(F.rms_norm(x, (H,), self.norm, 1e-5), self.head).argmax(-1)


def graphed(fn):
    with sdpa_kernel(ORDER, set_priority=True):
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            fn()
            fn()
        torch.cuda.current_stream().wait_stream(side)
        torch.cuda.synchronize()
        g = torch.cuda.CUDAGraph()
        with torch.cuda.graph(g):
            fn()
    return g


def hf_eager(contexts):
    from transformers import DynamicCache, LlamaConfig, LlamaForCausalLM
    cfg = LlamaConfig(vocab_size=V, hidden_size=H, intermediate_size=FFN, num_hidden_layers=L,
                      num_attention_heads=NQ, num_key_value_heads=NKV, rope_theta=5e5,
                      max_position_embeddings=1 << 20, rms_norm_eps=1e-5)
    torch.set_default_dtype(BF16)
    with torch.device(DEV):
        model = LlamaForCausalLM(cfg).eval()
    torch.set_default_dtype(torch.float32)
    model.set_attn_implementation("sdpa")
    for n in contexts:
        cache = DynamicCache(config=cfg)
        for i in range(L):
            cache.update(*(torch.randn(1, NKV, n, D, device=DEV, dtype=BF16) for _ in range(2)), i)
        x, times = torch.zeros(1, 1, dtype=torch.long, device=DEV), []
        with torch.no_grad():
            for s in range(11):
                torch.cuda.synchronize()
                t = time.time()
                out = model(input_ids=x, past_key_values=cache, use_cache=True,
                            position_ids=torch.tensor([[n + s]], device=DEV))
                x = out.logits[:, -1:].argmax(-1)
                torch.cuda.synchronize()
                times.append((time.time() - t) * 1e3)
        print(json.dumps({"impl": "hf_eager_dense", "batch": 1, "context": n,
                          "ms": round(statistics.median(times[3:]), 3)}), flush=True)
        del cache, out


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--cases", default="1x1024,1x32768,1x131072,2x131072,8x32768")
    p.add_argument("--k", type=int, default=2048)
    p.add_argument("--filters", default="2,8,18")
    p.add_argument("--hf", action="store_true")
    a = p.parse_args()
    cases = [tuple(map(int, c.split("x"))) for c in a.cases.split(",")]
    if a.hf:
        hf_eager(sorted({n for b, n in cases if b == 1}))
        torch.cuda.empty_cache()
    filters = tuple(map(int, a.filters.split(",")))
    with torch.no_grad():
        m = Model()
        cos, sin = (torch.randn(D, device=DEV, dtype=BF16) for _ in range(2))
        for b, n in cases:
            kv = [tuple(torch.randn(b, NKV, n, D, device=DEV, dtype=BF16) for _ in range(2))
                  for _ in range(L)]
            tok = torch.zeros(b, dtype=torch.long, device=DEV)
            dense_bytes = m.weight_bytes + b * n * 4 * NKV * D * L
            for impl, args in (("torch_graph_dense", ()),
                               ("torch_graph_omnikv_like", (filters, min(a.k, n)))):
                g = graphed(lambda: m.step(tok, kv, cos, sin, *args))
                ms = median_ms(g.replay)
                row = {"impl": impl, "batch": b, "context": n, "ms": round(ms, 3)}
                if not args:
                    row["tb_per_s"] = round(dense_bytes / ms / 1e9, 3)
                print(json.dumps(row), flush=True)
                del g
            del kv
            torch.cuda.empty_cache()


if __name__ == "__main__":
    main()
