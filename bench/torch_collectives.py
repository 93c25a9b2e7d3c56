#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Rivals of Tamis's collectives: NCCL and torch's symmetric memory, per call in a CUDA graph.

Usage: torchrun --nproc-per-node W torch_collectives.py
Prints microseconds (median of several runs, on the slowest rank). NVLink multicast stays off.
"""
import os
import statistics

os.environ.setdefault("NCCL_NVLS_ENABLE", "0")
os.environ.setdefault("TORCH_SYMM_MEM_DISABLE_MULTICAST", "1")

import torch  # noqa: E402
import torch.distributed as dist  # noqa: E402
import torch.distributed._symmetric_memory as symm_mem  # noqa: E402

CALLS, REPLAYS, RUNS = 40, 10, 7


def timed(call):
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        call()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=stream):
        for _ in range(CALLS):
            call()
    samples = []
    for _ in range(RUNS):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        dist.barrier()
        with torch.cuda.stream(stream):
            graph.replay()
            begin.record()
            for _ in range(REPLAYS):
                graph.replay()
            end.record()
        torch.cuda.synchronize()
        samples.append(1000 * begin.elapsed_time(end) / (REPLAYS * CALLS))
    slowest = torch.tensor([statistics.median(samples)], device="cuda")
    dist.all_reduce(slowest, op=dist.ReduceOp.MAX)
    return slowest.item()


def main():
    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    torch.cuda.set_device(rank)
    dist.init_process_group("nccl", device_id=torch.device("cuda", rank))
    name = dist.group.WORLD.group_name
    say = print if rank == 0 else lambda *a, **k: None
    say(f"torch {torch.__version__}, NCCL {torch.cuda.nccl.version()}, {size} ranks")
    say("all-reduce of bf16, us: NCCL, symmetric memory one-shot, two-shot")
    for bytes_ in [8 << (10 + i) for i in range(0, 11)]:
        x = torch.zeros(bytes_ // 2, dtype=torch.bfloat16, device="cuda").normal_()
        shared = symm_mem.empty(bytes_ // 2, dtype=torch.bfloat16, device="cuda")
        symm_mem.rendezvous(shared, name)
        shared.copy_(x)
        nccl = timed(lambda: dist.all_reduce(x))
        one = timed(lambda: torch.ops.symm_mem.one_shot_all_reduce(shared, "sum", name))
        two = timed(lambda: torch.ops.symm_mem.two_shot_all_reduce_(shared, "sum", name))
        say(f"{bytes_:9d} {nccl:8.2f} {one:8.2f} {two:8.2f}", flush=True)
    say("all-gather, bytes per rank, us: NCCL")
    for bytes_ in (16 << 10, 128 << 10, 512 << 10):
        x = torch.zeros(bytes_ // 2, dtype=torch.bfloat16, device="cuda").normal_()
        out = torch.empty(size * x.numel(), dtype=x.dtype, device="cuda")
        say(f"{bytes_:9d} {timed(lambda: dist.all_gather_into_tensor(out, x)):8.2f}", flush=True)
    dist.destroy_process_group()


main()
