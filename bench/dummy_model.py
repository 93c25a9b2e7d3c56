#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A model directory for `--load-format dummy`: config.json of known shapes, and a tokenizer in which
every id is a word of its own.

Usage: dummy_model.py FOLDER SHAPE      SHAPE: llama-3-8b, or tiny (for CPUs)
Writes FOLDER/config.json and FOLDER/tokenizer.json.
"""
import json
import pathlib
import sys

LLAMA_3_8B = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 4096,
    "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128,
    "intermediate_size": 14336, "vocab_size": 128256, "max_position_embeddings": 131072,
    "rms_norm_eps": 1e-05, "rope_theta": 500000.0,
    "rope_scaling": {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0,
                     "high_freq_factor": 4.0, "original_max_position_embeddings": 8192},
    "tie_word_embeddings": False, "bos_token_id": 128000, "eos_token_id": 128001,
    "hidden_act": "silu", "torch_dtype": "bfloat16"}
TINY = LLAMA_3_8B | {
    "hidden_size": 256, "num_hidden_layers": 20, "num_attention_heads": 8,
    "num_key_value_heads": 4, "head_dim": 32, "intermediate_size": 448, "vocab_size": 2000,
    "bos_token_id": 1, "eos_token_id": 2}
SHAPES = {"llama-3-8b": LLAMA_3_8B, "tiny": TINY}


def byte_letters():
    """GPT-2's letters for the 256 bytes: printable ones stand for themselves."""
    kept = [*range(33, 127), *range(161, 173), *range(174, 256)]
    moved = [byte for byte in range(256) if byte not in kept]
    return [chr(byte) for byte in kept] + [chr(256 + i) for i in range(len(moved))]


def main():
    if len(sys.argv) != 3 or sys.argv[2] not in SHAPES:
        sys.exit(__doc__)
    folder, config = pathlib.Path(sys.argv[1]), SHAPES[sys.argv[2]]
    folder.mkdir(parents=True, exist_ok=True)
    letters = byte_letters()
    words = letters + [f"\u0120w{i}" for i in range(len(letters), config["vocab_size"])]
    tokenizer = {
        "added_tokens": [], "normalizer": None, "post_processor": None,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True},
        "decoder": {"type": "ByteLevel"},
        "model": {"type": "BPE", "vocab": {word: i for i, word in enumerate(words)},
                  "merges": []}}
    (folder / "config.json").write_text(json.dumps(config, indent=1))
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))


main()
