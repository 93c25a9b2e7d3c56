#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes fixtures/: block-quantised rows with the floats that the `gguf` package decodes them to,
and one tiny model as a Hugging Face directory and as a GGUF file, by independent writers.

Usage: make_fixtures.py OUT_DIR   (needs numpy, torch, gguf, safetensors)
"""
import json
import pathlib
import sys

import gguf
import numpy as np
import torch
from safetensors.torch import save_file

ROWS = {"Q4_0": 3 * 32, "Q4_1": 3 * 32, "Q8_0": 3 * 32, "Q6_K": 2 * 256, "BF16": 40, "F16": 40}
HIDDEN, LAYERS, Q_HEADS, KV_HEADS, HEAD_DIM, FFN, VOCAB = 24, 2, 6, 3, 8, 20, 37


def write_blocks(out, rng):
    """NAME.bin: the encoded row, then its decoded float32 values."""
    for name, elements in ROWS.items():
        kind = gguf.GGMLQuantizationType[name]
        values = rng.standard_normal(elements).astype(np.float32)
        if name == "Q6_K":  # the package decodes this type but does not encode it
            block_elements, block_bytes = gguf.GGML_QUANT_SIZES[kind]
            blocks = rng.integers(0, 256, (elements // block_elements, block_bytes), np.uint8)
            blocks[:, -2:] = np.array([[0.01], [-0.003]], np.float16).view(np.uint8)
            encoded = blocks.reshape(-1)
        elif name == "F16":
            values[:4] = [6e-8, -6.1e-5, 65504, -np.inf]  # subnormals and the ends of the range
            encoded = values.astype(np.float16).view(np.uint8)
        else:
            encoded = gguf.quants.quantize(values.reshape(1, -1), kind).reshape(-1).view(np.uint8)
        if name == "F16":
            decoded = encoded.view(np.float16).astype(np.float32)
        else:
            decoded = gguf.quants.dequantize(encoded.reshape(1, -1), kind).reshape(-1)
        assert decoded.size == elements and decoded.dtype == np.float32
        (out / f"{name}.bin").write_bytes(encoded.tobytes() + decoded.tobytes())


def interleave(weight, heads):
    """The row order of query and key heads in GGUF llama files: pairs (i, i + D/2) adjacent."""
    rows, columns = weight.shape
    return (weight.reshape(heads, 2, rows // heads // 2, columns).swapaxes(1, 2)
            .reshape(rows, columns))


def tiny_model(rng):
    shapes = {"model.embed_tokens.weight": (VOCAB, HIDDEN), "model.norm.weight": (HIDDEN,),
              "lm_head.weight": (VOCAB, HIDDEN)}
    for layer in range(LAYERS):
        prefix = f"model.layers.{layer}."
        shapes |= {
            prefix + "input_layernorm.weight": (HIDDEN,),
            prefix + "post_attention_layernorm.weight": (HIDDEN,),
            prefix + "self_attn.q_proj.weight": (Q_HEADS * HEAD_DIM, HIDDEN),
            prefix + "self_attn.k_proj.weight": (KV_HEADS * HEAD_DIM, HIDDEN),
            prefix + "self_attn.v_proj.weight": (KV_HEADS * HEAD_DIM, HIDDEN),
            prefix + "self_attn.o_proj.weight": (HIDDEN, Q_HEADS * HEAD_DIM),
            prefix + "mlp.gate_proj.weight": (FFN, HIDDEN),
            prefix + "mlp.up_proj.weight": (FFN, HIDDEN),
            prefix + "mlp.down_proj.weight": (HIDDEN, FFN)}
    return {name: rng.standard_normal(shape).astype(np.float16) for name, shape in shapes.items()}


def write_hf(out, model):
    out.mkdir(exist_ok=True)
    save_file({name: torch.from_numpy(value) for name, value in model.items()},
              out / "model.safetensors", metadata={"format": "pt"})
    config = {"architectures": ["LlamaForCausalLM"], "model_type": "llama",
              "hidden_size": HIDDEN, "num_hidden_layers": LAYERS,
              "num_attention_heads": Q_HEADS, "num_key_value_heads": KV_HEADS,
              "head_dim": HEAD_DIM, "intermediate_size": FFN, "vocab_size": VOCAB,
              "max_position_embeddings": 512, "rms_norm_eps": 1e-5, "rope_theta": 20000.0,
              "tie_word_embeddings": False, "bos_token_id": 1, "eos_token_id": 2,
              "hidden_act": "silu", "torch_dtype": "float16"}
    (out / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    (out / "generation_config.json").write_text('{"eos_token_id": [2, 5]}\n')


def write_gguf(path, model):
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_embedding_length(HIDDEN)
    writer.add_block_count(LAYERS)
    writer.add_head_count(Q_HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_key_length(HEAD_DIM)
    writer.add_value_length(HEAD_DIM)
    writer.add_rope_dimension_count(HEAD_DIM)
    writer.add_rope_freq_base(20000.0)
    writer.add_feed_forward_length(FFN)
    writer.add_vocab_size(VOCAB)
    writer.add_context_length(512)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_eot_token_id(5)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, LAYERS)
    for name, value in model.items():
        if ".q_proj." in name:
            value = interleave(value, Q_HEADS)
        elif ".k_proj." in name:
            value = interleave(value, KV_HEADS)
        if value.ndim == 1:
            value = value.astype(np.float32)
        writer.add_tensor(names.get_name(name, try_suffixes=(".weight",)), value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def main():
    out = pathlib.Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(20260101)
    write_blocks(out, rng)
    model = tiny_model(rng)
    write_hf(out / "tiny", model)
    write_gguf(out / "tiny.gguf", model)


if __name__ == "__main__":
    main()
