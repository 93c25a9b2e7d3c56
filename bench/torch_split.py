#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""PyTorch beside `tamis bench logits`: the same dummy weights, tokens and tensor-parallel split.

Usage: torch_split.py MODEL TOKENS RANKS OUT [--chunk-tokens N] [--decode-tokens N] [--dtype NAME]
       torchrun --nproc-per-node RANKS torch_split.py ...       where there is a GPU for each rank
MODEL is a folder with config.json (dummy_model.py), TOKENS a file as for `tamis bench logits`.
Writes OUT/torch-1 and OUT/torch-RANKS, the logits of the unsplit and the split model in that
program's layout, and OUT/float32, those of the same weights computed in float32.

Without torchrun one process computes all shards and sums them rank after rank, rounding as an
all-reduce does. The rival is made as strong as it goes: norms, rotation, SiLU and logits are computed
in float32 and rounded once, and products accumulate in float32 (no split-K in bfloat16).
"""
import argparse
import json
import math
import os
import pathlib

import torch
import torch.distributed as dist
import torch.nn.functional as F

DEV = "cuda" if torch.cuda.is_available() else "cpu"
MASK32 = 0xFFFFFFFF


def hash_name(name):  # FNV-1a, 64 bits
    value = 0xCBF29CE484222325
    for byte in name.encode():
        value = ((value ^ byte) * 0x100000001B3) % 2**64
    return value


def philox(key, columns, rows):
    """Philox4x32-10 of counters (column, 0, row, 0): four words of 32 bits, in int64."""
    k0, k1 = key & MASK32, key >> 32
    c0, c2 = torch.broadcast_tensors(columns[None, :], rows[:, None])
    c1 = c3 = torch.zeros((), dtype=torch.int64, device=DEV)
    for _ in range(10):
        p0, p1 = c0 * 0xD2511F53, c2 * 0xCD9E8D57  # the low 64 bits, whatever the sign
        c0, c1 = (p1 >> 32) & MASK32 ^ c1 ^ k0, p1 & MASK32
        c2, c3 = (p0 >> 32) & MASK32 ^ c3 ^ k1, p0 & MASK32
        k0, k1 = (k0 + 0x9E3779B9) & MASK32, (k1 + 0xBB67AE85) & MASK32
    return torch.stack((c0, c1, c2, c3), -1)


def dummy(name, shape, dtype):
    """What FillDummyWeights (runtime/model/dummy_weights.cc) puts there with seed 0."""
    norm = len(shape) == 1
    rows, columns = (1, shape[0]) if norm else shape
    mean, reach = (1.0, 0.1) if norm else (0.0, math.sqrt(3 / columns))
    out = torch.empty(rows, columns, dtype=dtype, device=DEV)
    quads = torch.arange(columns // 4, device=DEV)
    step = max(1, (1 << 25) // columns)
    for begin in range(0, rows, step):
        words = philox(hash_name(name), quads, torch.arange(begin, min(begin + step, rows),
                                                            device=DEV))
        uniform = ((words >> 9).float() + 0.5) / 8388608.0
        out[begin:begin + step] = (mean + reach * (2 * uniform - 1)).flatten(1).to(dtype)
    return out[0] if norm else out


def part(total, rank, ranks):
    """As ShardModel cuts: the first ranks get one more."""
    begin = rank * (total // ranks) + min(rank, total % ranks)
    return slice(begin, begin + total // ranks + (rank < total % ranks))


class Model:
    def __init__(self, config, dtype):
        self.config, c = config, config
        self.eps, self.dim = c["rms_norm_eps"], c["head_dim"]
        self.heads, self.groups = c["num_attention_heads"], c["num_key_value_heads"]
        hidden, q, kv = c["hidden_size"], self.heads * self.dim, self.groups * self.dim
        make = lambda name, *shape: dummy(name + ".weight", shape, dtype)
        self.embed = make("model.embed_tokens", c["vocab_size"], hidden)
        self.head = make("lm_head", c["vocab_size"], hidden)
        self.norm = make("model.norm", hidden)
        self.layers = []
        for i in range(c["num_hidden_layers"]):
            of = f"model.layers.{i}."
            self.layers.append({
                "norm1": make(of + "input_layernorm", hidden),
                "q": make(of + "self_attn.q_proj", q, hidden),
                "k": make(of + "self_attn.k_proj", kv, hidden),
                "v": make(of + "self_attn.v_proj", kv, hidden),
                "o": make(of + "self_attn.o_proj", hidden, q),
                "norm2": make(of + "post_attention_layernorm", hidden),
                "gate": make(of + "mlp.gate_proj", c["intermediate_size"], hidden),
                "up": make(of + "mlp.up_proj", c["intermediate_size"], hidden),
                "down": make(of + "mlp.down_proj", hidden, c["intermediate_size"])})

    def inverse_frequencies(self):
        i = torch.arange(0, self.dim, 2, dtype=torch.float64, device=DEV)
        frequency = self.config["rope_theta"]**(-i / self.dim)
        scaling = self.config["rope_scaling"]
        turns = scaling["original_max_position_embeddings"] * frequency / (2 * math.pi)
        low, high = scaling["low_freq_factor"], scaling["high_freq_factor"]
        keep = ((turns - low) / (high - low)).clamp(0, 1)
        return ((1 - keep) * frequency / scaling["factor"] + keep * frequency).float()


class Shard:
    """One rank's weights, in memory of their own, and its cache."""

    def __init__(self, model, rank, ranks):
        groups, ffn = part(model.groups, rank, ranks), part(
            model.config["intermediate_size"], rank, ranks)
        of_kv = slice(groups.start * model.dim, groups.stop * model.dim)
        each = model.heads // model.groups
        of_q = slice(of_kv.start * each, of_kv.stop * each)
        cut = (lambda x: x) if ranks == 1 else (lambda x: x.contiguous().clone())
        self.head = cut(model.head[part(model.config["vocab_size"], rank, ranks)])
        self.layers = [{
            "qkv": torch.cat((w["q"][of_q], w["k"][of_kv], w["v"][of_kv])),
            "o": cut(w["o"][:, of_q]),
            "gate_up": torch.cat((w["gate"][ffn], w["up"][ffn])),
            "down": cut(w["down"][:, ffn])} for w in model.layers]
        self.sizes = (of_q.stop - of_q.start, of_kv.stop - of_kv.start)
        self.cache = [None] * len(self.layers)


class Run:
    """A forward pass over `shards`, whose partial sums are added in `dtype`."""

    def __init__(self, model, shards, dtype, distributed=False):
        self.model, self.shards, self.dtype, self.distributed = model, shards, dtype, distributed
        self.inv_freq = model.inverse_frequencies()

    def combine(self, partials):
        total = partials[0]
        for other in partials[1:]:
            total = total + other
        if self.distributed:
            dist.all_reduce(total)
        return total

    def rms_norm(self, x, weight):
        wide = x.float()
        scale = torch.rsqrt(wide.square().mean(-1, keepdim=True) + self.model.eps)
        return (wide * scale * weight.float()).to(self.dtype)

    def rope(self, x, start):  # [S, heads, T, D]
        position = torch.arange(start, start + x.shape[2], device=DEV, dtype=torch.float32)
        angle = position[:, None] * self.inv_freq
        a, b = x.float().chunk(2, -1)
        cos, sin = angle.cos(), angle.sin()
        return torch.cat((a * cos - b * sin, b * cos + a * sin), -1).to(self.dtype)

    def attention(self, shard, layer, x, start):
        num_seqs, length, _ = x.shape
        q_size, kv_size = shard.sizes
        qkv = F.linear(x, shard.layers[layer]["qkv"].to(self.dtype))
        q, k, v = (t.view(num_seqs, length, -1, self.model.dim).transpose(1, 2)
                   for t in qkv.split((q_size, kv_size, kv_size), -1))
        q, k = self.rope(q, start), self.rope(k, start)
        if start > 0:
            k, v = (torch.cat(pair, 2) for pair in zip(shard.cache[layer], (k, v)))
        shard.cache[layer] = (k, v)
        out = F.scaled_dot_product_attention(q, k, v, is_causal=start == 0, enable_gqa=True)
        out = out.transpose(1, 2).reshape(num_seqs, length, q_size)
        return F.linear(out, shard.layers[layer]["o"].to(self.dtype))

    def ffn(self, shard, layer, x):
        gate, up = F.linear(x, shard.layers[layer]["gate_up"].to(self.dtype)).float().chunk(2, -1)
        return F.linear((F.silu(gate) * up).to(self.dtype),
                        shard.layers[layer]["down"].to(self.dtype))

    def hidden(self, ids, start):
        x = self.model.embed[ids].to(self.dtype)
        for i, w in enumerate(self.model.layers):
            normed = self.rms_norm(x, w["norm1"])
            x = x + self.combine([self.attention(s, i, normed, start) for s in self.shards])
            normed = self.rms_norm(x, w["norm2"])
            x = x + self.combine([self.ffn(s, i, normed) for s in self.shards])
        return self.rms_norm(x, self.model.norm)

    def logits(self, hidden):  # [rows, H] -> float32 [rows, V] on the host
        slices = [F.linear(hidden.float(), s.head.float()) for s in self.shards]
        if not self.distributed:
            return torch.cat(slices, -1).cpu()
        gathered = [None] * dist.get_world_size()
        dist.all_gather_object(gathered, slices[0].cpu())
        return torch.cat(gathered, -1)


def all_logits(run, ids, chunk_tokens, decode_tokens):
    """float32 [steps, sequences, V]: after each chunk's end, then each decoded token."""
    prefill = ids.shape[1] - decode_tokens
    ends = [min(at + chunk_tokens, prefill) - 1 for at in range(0, prefill, chunk_tokens)]
    hidden = run.hidden(ids[:, :prefill], 0)
    rows = [hidden[:, end] for end in ends]
    for at in range(prefill, ids.shape[1]):
        rows.append(run.hidden(ids[:, at:at + 1], at)[:, 0])
    return torch.stack([run.logits(row) for row in rows])


@torch.no_grad()
def main():
    parser = argparse.ArgumentParser()
    for name in ("model", "tokens", "ranks", "out"):
        parser.add_argument(name)
    parser.add_argument("--chunk-tokens", type=int, default=64)
    parser.add_argument("--decode-tokens", type=int, default=16)
    parser.add_argument("--dtype", default="bfloat16")
    args = parser.parse_args()
    ranks, dtype = int(args.ranks), getattr(torch, args.dtype)
    torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = False
    torch.backends.cuda.matmul.allow_tf32 = False
    rank, distributed = int(os.environ.get("RANK", 0)), "RANK" in os.environ
    if distributed:
        if DEV == "cuda":
            torch.cuda.set_device(rank)
        dist.init_process_group("nccl" if DEV == "cuda" else "gloo")
        assert dist.get_world_size() == ranks
    config = json.loads((pathlib.Path(args.model) / "config.json").read_text())
    lines = pathlib.Path(args.tokens).read_text().split()
    ids = torch.tensor([[int(i) for i in line.split(",")] for line in lines], device=DEV)
    model = Model(config, dtype)

    def save(name, run, decode_tokens=args.decode_tokens):
        logits = all_logits(run, ids, args.chunk_tokens, decode_tokens)
        if rank == 0:
            logits.numpy().tofile(pathlib.Path(args.out) / name)
            print(f"{name}: {list(logits.shape)} logits", flush=True)

    save("torch-1", Run(model, [Shard(model, 0, 1)], dtype))
    mine = [rank] if distributed else range(ranks)
    save(f"torch-{ranks}", Run(model, [Shard(model, r, ranks) for r in mine], dtype, distributed))
    save("float32", Run(model, [Shard(model, 0, 1)], torch.float32))
    if distributed:
        dist.destroy_process_group()


main()
