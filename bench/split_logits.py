#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""How far are the logits of W ranks from those of one, and is that more than PyTorch's split makes?

Usage: split_logits.py FOLDER RANKS VOCAB SEQUENCES DECODED
FOLDER holds float32 [steps, sequences, V]: tamis-1, tamis-RANKS of `tamis bench logits`, and, where
torch_split.py ran, torch-1, torch-RANKS and float32. Of the steps the last DECODED were decoded, those
before prefilled. The relative error is ||split - one|| / ||one||, of all logits.
Exit code 1 if Tamis's error is above torch's by more than chance: the tokens are the same, so the
differences of each sequence's two errors are compared, and their mean may be at most twice its
standard error above 0.
"""
import pathlib
import sys

import numpy as np

FOLDER, RANKS = pathlib.Path(sys.argv[1]), sys.argv[2]
VOCAB, SEQUENCES, DECODED = map(int, sys.argv[3:6])
if SEQUENCES < 2:
    sys.exit("split_logits: SEQUENCES: 1; allowed are 2 and more, chance is judged by their spread")


def read(name):
    logits = np.fromfile(FOLDER / name, np.float32).reshape(-1, SEQUENCES, VOCAB)
    if not np.isfinite(logits).all():
        sys.exit(f"split_logits: {name} holds logits that are not finite")
    return logits


def norm(x):
    return np.sqrt(np.square(x, dtype=np.float64).sum())


def error(a, b):
    return norm(a - b) / norm(b)


def report(name, a, b):
    cut = len(b) - DECODED
    print(f"| {name} | {error(a, b):.3e} | {error(a[:cut], b[:cut]):.3e} | "
          f"{error(a[cut:], b[cut:]):.3e} | {np.abs(a - b).max():.3e} | "
          f"{100 * (a.argmax(-1) == b.argmax(-1)).mean():.1f} |")


def errors_of_sequences(a, b):
    return np.array([error(a[:, s], b[:, s]) for s in range(SEQUENCES)])


def main():
    one, split = read("tamis-1"), read(f"tamis-{RANKS}")
    print(f"{len(one)} steps of {SEQUENCES} sequences, the last {DECODED} decoded; "
          f"logits of rms {norm(one) / np.sqrt(one.size):.3f}")
    print("| | relative error | prefilled | decoded | largest difference | same top-1 % |")
    print("|---|---|---|---|---|---|")
    report(f"tamis, {RANKS} ranks, from 1 rank", split, one)
    if not (FOLDER / f"torch-{RANKS}").exists():
        print("no PyTorch to compare with")
        return 0
    torch_one, torch_split, exact = read("torch-1"), read(f"torch-{RANKS}"), read("float32")
    report(f"torch, {RANKS} ranks, from 1 rank", torch_split, torch_one)
    for name, logits in [("tamis, 1 rank", one), (f"tamis, {RANKS} ranks", split),
                         ("torch, 1 rank", torch_one), (f"torch, {RANKS} ranks", torch_split)]:
        report(f"{name}, from float32", logits, exact)
    ours, theirs = errors_of_sequences(split, one), errors_of_sequences(torch_split, torch_one)
    excess = ours - theirs
    chance = 2 * excess.std(ddof=1) / np.sqrt(SEQUENCES)
    print(f"a sequence's error: tamis {ours.mean():.3e} ({ours.min():.3e} to {ours.max():.3e}), "
          f"torch {theirs.mean():.3e} ({theirs.min():.3e} to {theirs.max():.3e}); tamis - torch "
          f"{excess.mean():+.2e}, of which chance explains {chance:.2e}")
    return 0 if excess.mean() <= chance else 1


sys.exit(main())
