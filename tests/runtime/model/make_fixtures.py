#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes the reference logits of the model tests with Hugging Face transformers, in float32.

    make_fixtures.py random           writes random_models.txt and random_models.bin
    make_fixtures.py smollm2 FILE     writes smollm2.txt and smollm2.bin from a GGUF file

Needs torch, transformers, gguf and numpy. The weights of the random models are not stored: they
are FillDummyWeights' function of (seed, tensor name, row, column), restated here in numpy. Text
files hold what was run, .bin files little-endian float32.
"""

import os
import pathlib
import sys

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np
import torch
import transformers

HERE = pathlib.Path(__file__).resolve().parent
SEED = 20251

# name, H, L, Nq, Nkv, D, F, V, tied, theta, scaling, prompt length
RANDOM_MODELS = [
    ("gqa1_d64_tied", 128, 3, 4, 4, 64, 192, 257, True, 1e4, None, 24),
    ("gqa2_d64_untied", 192, 2, 6, 3, 64, 250, 1003, False, 1e4, None, 31),
    ("gqa3_d64_two_chunks", 144, 4, 9, 3, 64, 320, 512, True, 1e5, None, 530),
    ("gqa4_d128_llama3", 256, 2, 8, 2, 128, 321, 1003, False, 5e5, "llama3", 40),
    ("gqa3_d80_five_groups", 240, 3, 15, 5, 80, 200, 257, False, 1e4, None, 24),
    ("gqa4_d80_one_group", 96, 2, 4, 1, 80, 128, 320, True, 5e5, "llama3", 90),
    ("gqa2_d128_five_groups", 130, 5, 10, 5, 128, 96, 263, True, 1e4, "linear", 24),
]
LLAMA3 = dict(factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_positions=32)
LINEAR_FACTOR = 4.0


def philox(key, counter_low, counter_high):
    """Philox4x32-10 of kernels/philox.h over arrays of uint64 counters: [..., 4] uint32."""
    mask = np.uint64(0xFFFFFFFF)
    shift = np.uint64(32)
    c = [counter_low & mask, counter_low >> shift, counter_high & mask, counter_high >> shift]
    k0, k1 = key & 0xFFFFFFFF, key >> 32
    for _ in range(10):
        p0 = np.uint64(0xD2511F53) * c[0]
        p1 = np.uint64(0xCD9E8D57) * c[2]
        c = [(p1 >> shift) ^ c[1] ^ np.uint64(k0), p1 & mask,
             (p0 >> shift) ^ c[3] ^ np.uint64(k1), p0 & mask]
        k0 = (k0 + 0x9E3779B9) & 0xFFFFFFFF
        k1 = (k1 + 0xBB67AE85) & 0xFFFFFFFF
    return np.stack(np.broadcast_arrays(*c), axis=-1).astype(np.uint32)


def dummy_tensor(seed, name, shape):
    """FillDummyWeights' values of one checkpoint tensor, in float32 throughout."""
    mask = (1 << 64) - 1
    name_hash = 0xCBF29CE484222325  # FNV-1a
    for byte in name.encode():
        name_hash = (name_hash ^ byte) * 0x100000001B3 & mask
    key = (seed * 0x9E3779B97F4A7C15 & mask) ^ name_hash
    rows, columns = (1, shape[0]) if len(shape) == 1 else shape
    words = philox(key, np.arange((columns + 3) // 4, dtype=np.uint64)[None, :],
                   np.arange(rows, dtype=np.uint64)[:, None])
    words = words.reshape(rows, -1)[:, :columns]
    f = np.float32
    uniform = ((words >> np.uint32(9)).astype(f) + f(0.5)) * f(1.0 / 8388608.0)
    norm = len(shape) == 1
    mean, reach = (f(1.0), f(0.1)) if norm else (f(0.0), np.sqrt(f(3.0) / f(columns)))
    return (mean + reach * (f(2.0) * uniform - f(1.0))).reshape(shape)


def rope_parameters(theta, scaling):
    if scaling == "llama3":
        return dict(rope_type="llama3", rope_theta=theta, factor=LLAMA3["factor"],
                    low_freq_factor=LLAMA3["low_freq_factor"],
                    high_freq_factor=LLAMA3["high_freq_factor"],
                    original_max_position_embeddings=LLAMA3["original_max_positions"])
    if scaling == "linear":
        return dict(rope_type="linear", rope_theta=theta, factor=LINEAR_FACTOR)
    return dict(rope_type="default", rope_theta=theta)


def make_model(h, layers, nq, nkv, d, f, v, tied, theta, scaling, positions, eps=1e-5):
    config = transformers.LlamaConfig(
        hidden_size=h, num_hidden_layers=layers, num_attention_heads=nq, num_key_value_heads=nkv,
        head_dim=d, intermediate_size=f, vocab_size=v, tie_word_embeddings=tied,
        rms_norm_eps=eps, max_position_embeddings=positions,
        rope_parameters=rope_parameters(theta, scaling), attn_implementation="eager",
        pad_token_id=None)
    return transformers.LlamaForCausalLM(config).eval().to(torch.float32)


def load(model, tensors):
    """Fills the model from {name: array}; a tied lm_head has no entry."""
    missing, unexpected = model.load_state_dict(
        {name: torch.from_numpy(np.ascontiguousarray(x)) for name, x in tensors.items()},
        strict=False)
    assert not unexpected and set(missing) <= {"lm_head.weight"}, (missing, unexpected)
    model.tie_weights()


def all_logits(model, ids):
    with torch.no_grad():
        return model(torch.tensor([ids])).logits[0].numpy().astype(np.float32)  # [T, V]


def write_lines(path, lines):
    path.write_text("\n".join(lines) + "\n")


def joined(values):
    return f"{len(values)} " + " ".join(str(int(x)) for x in values)


def make_random():
    rng = np.random.default_rng(SEED)
    lines, blob = [], []
    for (name, h, layers, nq, nkv, d, f, v, tied, theta, scaling, length) in RANDOM_MODELS:
        model = make_model(h, layers, nq, nkv, d, f, v, tied, theta, scaling, 1024)
        state = model.state_dict()
        load(model, {n: dummy_tensor(SEED, n, tuple(x.shape)) for n, x in state.items()
                     if not (tied and n == "lm_head.weight")})
        ids = rng.integers(0, v, length)
        rows = sorted({0, length // 3, 2 * length // 3, length - 2, length - 1})
        blob.append(all_logits(model, ids.tolist())[rows])
        scaling_fields = {None: "none 1 1 4 8192", "linear": f"linear {LINEAR_FACTOR} 1 4 8192",
                          "llama3": "llama3 {factor} {low_freq_factor} {high_freq_factor} "
                                    "{original_max_positions}".format(**LLAMA3)}
        lines += [f"model {name}", f"sizes {h} {layers} {nq} {nkv} {d} {f} {v} {int(tied)}",
                  f"rope {theta} {scaling_fields[scaling]}", f"seed {SEED}",
                  f"tokens {joined(ids)}", f"rows {joined(rows)}"]
        print(name, "logit norms", np.linalg.norm(blob[-1], axis=1).round(2))
    write_lines(HERE / "random_models.txt", lines)
    np.concatenate([x.ravel() for x in blob]).astype("<f4").tofile(HERE / "random_models.bin")


# ---- SmolLM2 -------------------------------------------------------------------------------------

TEXTS = [
    "The capital of France is",
    "def fibonacci(n):\n    if n < 2:\n        return n\n    return",
    "<|im_start|>user\nWhat is a tamis?<|im_end|>\n<|im_start|>assistant\n",
]
LONG_TEXT = ("A drum sieve is a kitchen utensil shaped somewhat like a snare drum. Food is put in "
             "and pushed through the mesh with a scraper; what is fine enough passes. ") * 17

SUBJECTS = ["The sea", "A good teacher", "My grandmother", "The old bridge", "Every morning",
            "In the year 1969", "A prime number", "The recipe", "Python code", "The moon"]
CONTINUATIONS = [" is known for", " once said that", " can be described in three words:",
                 " was built because nobody", " and the reason why, explained to a child:\n"]

HF_OF_GGUF = {"attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm",
              "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj",
              "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj",
              "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj"}


def hf_tensor(name, x, nq, nkv):
    """A GGUF tensor under its Hugging Face name, query and key rows in rotate-half order."""
    if name == "token_embd.weight":
        return "model.embed_tokens.weight", x
    if name == "output_norm.weight":
        return "model.norm.weight", x
    _, layer, part, _ = name.split(".")
    if part in ("attn_q", "attn_k"):
        heads = nq if part == "attn_q" else nkv
        rows, columns = x.shape
        x = x.reshape(heads, rows // heads // 2, 2, columns).swapaxes(1, 2).reshape(rows, columns)
    return f"model.layers.{layer}.{HF_OF_GGUF[part]}.weight", x


def smollm2_weights(path):
    import gguf
    reader = gguf.GGUFReader(path)
    field = lambda key: reader.fields["llama." + key].contents()
    nq, nkv = field("attention.head_count"), field("attention.head_count_kv")
    h = field("embedding_length")
    model = make_model(h, field("block_count"), nq, nkv, h // nq, field("feed_forward_length"),
                       field("vocab_size"), True, field("rope.freq_base"), None,
                       field("context_length"), field("attention.layer_norm_rms_epsilon"))
    load(model, dict(hf_tensor(t.name, gguf.quants.dequantize(t.data, t.tensor_type)
                               .astype(np.float32), nq, nkv) for t in reader.tensors))
    return model


def smollm2(path):
    model = smollm2_weights(path)
    path = pathlib.Path(path)
    tokenizer = transformers.AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    return model, lambda text: tokenizer(text, add_special_tokens=False)["input_ids"]


def make_smollm2(path):
    model, encode = smollm2(path)
    lines, blob = [], []
    for index, text in enumerate(TEXTS + [LONG_TEXT]):
        ids = encode(text)
        length = len(ids)
        logits = all_logits(model, ids)
        rows = sorted({length // 2, length - 1})
        lines += [f"sequence {index}", f"tokens {joined(ids)}", f"rows {joined(rows)}"]
        for row in rows:
            # Every 16th logit, the 16 largest, and the whole row's norm.
            top = np.argsort(-logits[row], kind="stable")[:16]
            lines.append(f"top {joined(top)}")
            norm = np.linalg.norm(logits[row].astype(np.float64))
            blob += [logits[row][::16], logits[row][top], np.array([norm])]
        print(index, length, "tokens; next:", int(np.argmax(logits[-1])))
    write_lines(HERE / "smollm2.txt", lines)
    np.concatenate([x.ravel() for x in blob]).astype("<f4").tofile(HERE / "smollm2.bin")

    prompts = [s + c for s in SUBJECTS for c in CONTINUATIONS]
    write_lines(HERE / "smollm2_prompts.txt", [f"prompts {len(prompts)}"] +
                [f"tokens {joined(encode(p))}" for p in prompts])


def main():
    torch.manual_seed(0)
    if sys.argv[1:] == ["random"]:
        make_random()
    elif len(sys.argv) == 3 and sys.argv[1] == "smollm2":
        make_smollm2(sys.argv[2])
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main()
