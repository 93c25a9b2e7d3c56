#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""An independent reference of sparse decoding, written from the definitions, in PyTorch.

    make_selection_fixtures.py        writes selection.txt and selection.bin

Random models (dummy weights, as in make_fixtures.py) prefill a prompt densely and decode known
tokens under several settings; the files hold each step's selected positions and logits. All in
float64: a position is only accepted as reference if no other score is so close to the cut that
float32 could choose differently, else other tokens are drawn.
"""

import math
import pathlib

import numpy as np
import torch

import make_fixtures as base

HERE = pathlib.Path(__file__).resolve().parent
SEED = 77
MARGIN = 2e-5  # least distance of scores on the two sides of a cut, relative to the larger
STEPS = 6

# name, H, L, Nq, Nkv, D, F, V, prompt length, filter layers
MODELS = [
    ("gqa3_three_groups", 96, 6, 9, 3, 32, 128, 67, 150, [1, 3]),
    ("gqa2_two_segments", 64, 7, 8, 4, 16, 96, 83, 181, [2, 4]),
    ("mha_one_filter", 80, 4, 5, 5, 24, 100, 59, 137, [0]),
    ("mqa_three_filters", 72, 9, 6, 1, 32, 90, 71, 163, [1, 4, 6]),
]

# name, score, lse, scope, candidates, budget, sinks, recents, wait[, window]
SETTINGS = [
    ("released", "raw_max", "all", "global", "prompt", 0.2, 0, 0, 1),
    ("paper", "softmax_max", "prompt", "global", "prompt", 0.25, 0, 1, 1),
    ("defaults", "raw_max", "all", "global", "history", 100, 4, 64, 0),
    ("softmax_max", "softmax_max", "all", "global", "history", 0.3, 3, 9, 0),
    ("softmax_mean", "softmax_mean", "all", "global", "history", 40, 4, 16, 0),
    ("raw_per_head", "raw_max", "all", "kv_head", "history", 40, 4, 16, 0),
    ("mean_per_head", "softmax_mean", "all", "kv_head", "prompt", 0.3, 5, 12, 0),
    ("released_uniform", "uniform", "prompt", "global", "prompt", 0.25, 0, 8, 1, 8),
    ("exp", "exp", "all", "global", "history", 40, 4, 5, 0, 12),
    ("uniform_per_head", "uniform", "all", "kv_head", "history", 40, 4, 16, 0, 16),
]


class TooClose(Exception):
    pass


def rms_norm(x, weight):
    return x / torch.sqrt((x * x).mean(-1, keepdim=True) + 1e-5) * weight


def rotate(x, positions):
    """Rotate-half rotary embedding of [T, heads, D] at theta 10000."""
    half = x.shape[-1] // 2
    inv_freq = 10000.0 ** (-torch.arange(half, dtype=torch.float64) / half)
    angle = positions[:, None].double() * inv_freq  # [T, D / 2]
    cos, sin = angle.cos()[:, None], angle.sin()[:, None]
    a, b = x[..., :half], x[..., half:]
    return torch.cat([a * cos - b * sin, b * cos + a * sin], -1)


def choose(score, places, candidates):
    """The candidates of the `places` highest scores, lower positions first among equals."""
    order = sorted(candidates, key=lambda j: (-score[j], j))
    last, first_out = score[order[places - 1]], score[order[places]]
    if abs(last - first_out) < MARGIN * max(abs(last), abs(first_out)):
        raise TooClose
    return sorted(order[:places])


def window_score(logits, setting, n, competing, nkv):
    """Scores of an observation window. logits [n, Nq, n] of all queries so far: of each of the last
    ones the maximum over heads of what it attends to, added up. [rows, n]"""
    kind, lse, scope, size = setting[1], setting[2], setting[3], setting[9]
    total = 0.0
    for age in reversed(range(min(size, n))):
        query = n - 1 - age
        keys = competing if lse == "prompt" else range(n)
        keys = [j for j in keys if j <= query]
        of_head = torch.zeros(logits.shape[1], n, dtype=torch.float64)
        of_head[:, :query + 1] = (logits[query] - torch.logsumexp(
            logits[query][:, keys], -1, keepdim=True)).exp()[:, :query + 1]
        rows = of_head[None] if scope == "global" else of_head.reshape(nkv, -1, n)
        total = total + rows.max(1).values * (0.5 ** age if kind == "exp" else 1.0)
    return total


def select(logits, setting, n, prompt_len, nkv, all_logits):
    """One filter layer at one step. logits [Nq, n]: q . k / sqrt(D); all_logits [n, Nq, n] of all
    queries so far. Returns, per selection row (1 or Nkv), the listed positions and the set of all
    attended ones, and the share of the attention that these hold, averaged over heads; None =
    dense."""
    _, kind, lse, scope, mode, budget, sinks, recents = setting[:8]
    forced = {j for j in range(n) if j < sinks or j >= n - max(1, recents)}
    competing = [j for j in range(n if mode == "history" else prompt_len) if j not in forced]
    counted = n if mode == "history" else prompt_len
    k = math.floor(budget * counted) if isinstance(budget, float) else budget
    places = k - sum(1 for j in forced if j < counted)
    if places <= 0 or places >= len(competing):
        return None
    keys = prompt_len if lse == "prompt" else n
    if kind == "raw_max":
        per_head = logits
    else:
        per_head = logits - torch.logsumexp(logits[:, :keys], -1, keepdim=True)
        if kind == "softmax_mean":
            per_head = per_head.exp()
    rows = per_head[None] if scope == "global" else per_head.reshape(nkv, -1, n)
    reduced = rows.mean(1) if kind == "softmax_mean" else rows.max(1).values
    if kind in ("uniform", "exp"):
        reduced = window_score(all_logits(), setting, n, competing, nkv)
    always = forced if mode == "history" else forced | set(range(prompt_len, n))
    chosen = [choose(row.tolist(), places, competing) for row in reduced]
    attended = [sorted(always | set(row)) for row in chosen]
    shares = torch.softmax(logits, -1)
    held = [shares[head, attended[head * len(attended) // len(shares)]].sum()
            for head in range(len(shares))]
    return chosen, attended, float(sum(held)) / len(held)


class Model:
    def __init__(self, h, layers, nq, nkv, d, f, v, filters):
        self.nq, self.nkv, self.d, self.layers, self.filters = nq, nkv, d, layers, filters
        tensor = lambda name, *shape: torch.from_numpy(
            base.dummy_tensor(SEED, name, shape)).double()
        self.embedding = tensor("model.embed_tokens.weight", v, h)
        self.head = tensor("lm_head.weight", v, h)
        self.norm = tensor("model.norm.weight", h)
        self.w = []
        for i in range(layers):
            p = f"model.layers.{i}."
            self.w.append(dict(
                attn_norm=tensor(p + "input_layernorm.weight", h),
                ffn_norm=tensor(p + "post_attention_layernorm.weight", h),
                q=tensor(p + "self_attn.q_proj.weight", nq * d, h),
                k=tensor(p + "self_attn.k_proj.weight", nkv * d, h),
                v=tensor(p + "self_attn.v_proj.weight", nkv * d, h),
                o=tensor(p + "self_attn.o_proj.weight", h, nq * d),
                gate=tensor(p + "mlp.gate_proj.weight", f, h),
                up=tensor(p + "mlp.up_proj.weight", f, h),
                down=tensor(p + "mlp.down_proj.weight", h, f)))

    def heads_of(self, x):
        """Per query head its KV head's rows: [n, Nkv, D] -> [Nq, n, D]."""
        return x.repeat_interleave(self.nq // self.nkv, 1).transpose(0, 1)

    def step(self, ids, cache, setting, prompt_len):
        """Appends ids (the prompt, or one token) to the cache; returns the last token's logits and
        each filter layer's lists."""
        start = 0 if cache[0] is None else cache[0][0].shape[0]
        positions = torch.arange(start, start + len(ids))
        decoding = start > 0
        x = self.embedding[torch.tensor(ids)]
        lists, attended, last_filter = [], None, None
        for i, w in enumerate(self.w):
            normed = rms_norm(x, w["attn_norm"])
            q = rotate((normed @ w["q"].T).view(-1, self.nq, self.d), positions)
            k = rotate((normed @ w["k"].T).view(-1, self.nkv, self.d), positions)
            v = (normed @ w["v"].T).view(-1, self.nkv, self.d)
            all_q = q
            if cache[i] is not None:
                k, v = torch.cat([cache[i][0], k]), torch.cat([cache[i][1], v])
                all_q = torch.cat([cache[i][2], q])
            cache[i] = (k, v, all_q)
            n = k.shape[0]
            logits = q.transpose(0, 1) @ self.heads_of(k).transpose(1, 2) / math.sqrt(self.d)
            allowed = positions[:, None] >= torch.arange(n)[None]  # [T, n]
            allowed = allowed[None].repeat(self.nq, 1, 1)
            if decoding and i in self.filters:
                last_filter = i
                every = lambda: (all_q.transpose(0, 1) @ self.heads_of(k).transpose(1, 2)
                                 / math.sqrt(self.d)).transpose(0, 1)  # [n, Nq, n]
                found = select(logits[:, 0], setting, n, prompt_len, self.nkv, every)
                attended = None if found is None else found[1]
                later = [f for f in self.filters if f > i] + [self.layers]
                if found is not None and i + setting[8] + 1 < later[0]:
                    lists.append((found[0], found[2]))
            elif decoding and last_filter is not None and attended is not None \
                    and i > last_filter + setting[8]:
                allowed[:] = False
                for head in range(self.nq):
                    row = head * self.nkv // self.nq if len(attended) > 1 else 0
                    allowed[head, 0, attended[row]] = True
            weights = torch.softmax(logits.masked_fill(~allowed, -math.inf), -1)
            mixed = (weights @ self.heads_of(v)).transpose(0, 1).reshape(len(ids), -1)
            x = x + mixed @ w["o"].T
            normed = rms_norm(x, w["ffn_norm"])
            gate = normed @ w["gate"].T
            x = x + (gate * torch.sigmoid(gate) * (normed @ w["up"].T)) @ w["down"].T
        return rms_norm(x[-1], self.norm) @ self.head.T, lists


def run(model, ids, prompt_len, setting):
    cache = [None] * model.layers
    model.step(ids[:prompt_len], cache, setting, prompt_len)
    steps = [model.step([token], cache, setting, prompt_len) for token in ids[prompt_len:]]
    return [s[0].numpy() for s in steps], [s[1] for s in steps]


def main():
    lines, blob = [], []
    rng = np.random.default_rng(SEED)
    for name, h, layers, nq, nkv, d, f, v, prompt_len, filters in MODELS:
        model = Model(h, layers, nq, nkv, d, f, v, filters)
        lines += [f"model {name}", f"sizes {h} {layers} {nq} {nkv} {d} {f} {v}", f"seed {SEED}",
                  f"prompt {prompt_len}", f"filters {base.joined(filters)}",
                  f"settings {len(SETTINGS)}"]
        for setting in SETTINGS:
            tries = 0
            while True:
                tries += 1
                ids = rng.integers(0, v, prompt_len + STEPS).tolist()
                try:
                    logits, lists = run(model, ids, prompt_len, setting)
                    break
                except TooClose:
                    continue
            label, kind, lse, scope, mode, budget, sinks, recents, wait = setting[:9]
            window = setting[9] if len(setting) > 9 else 16
            lines += [f"setting {label} {kind} {lse} {scope} {mode} "
                      f"{'fraction' if isinstance(budget, float) else 'count'} {budget} {sinks} "
                      f"{recents} {wait} {window}", f"tokens {base.joined(ids)}"]
            for step in lists:
                lines.append(f"filtered {len(step)}")
                for rows, mass in step:
                    lines.append(f"mass {mass:.9f} rows {len(rows)}")
                    lines += [f"list {base.joined(row)}" for row in rows]
            blob += logits
            print(name, label, "lists of", [len(r) for step in lists[:1] for r in step[0][0]],
                  "after", tries, "draws")
    base.write_lines(HERE / "selection.txt", lines)
    np.concatenate(blob).astype("<f4").tofile(HERE / "selection.bin")


if __name__ == "__main__":
    main()
