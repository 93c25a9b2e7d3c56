#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Does a model split over W ranks say what one rank says? Teacher-forced, through the real server.

Usage: split_agreement.py PROGRAM MODEL ONE_TARGET SPLIT_TARGET

Two servers answer at the targets, one of one rank and one of W. One rank's greedy continuations of
50 texts, 128 tokens each, are the reference. The split server continues the same texts; where it
chooses another token it is set back on the reference's path and goes on. The noise of the dtype is
measured in the same run: how far one rank's own log-probabilities move when its answers are computed
in a batch instead of alone. A disagreement counts against the split only where the reference's two
best tokens are further apart than twice that noise (each of the two may move by it).
"""
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

TOKENS = 128
PROGRAM, MODEL, ONE, SPLIT = sys.argv[1:5]
SUBJECTS = ["The harbour", "My grandfather", "The first train", "A good teacher", "The old library",
            "Every winter", "The small island", "Her garden", "The night market", "This machine"]
OPENINGS = ["{} was the reason why", "{} is often described as", "In the letter she wrote that {}",
            "Nobody in the town remembered when {}", "To understand {}, one has to know that"]
TEXTS = [o.format(s if o.startswith("{") else s[0].lower() + s[1:]) for s in SUBJECTS
         for o in OPENINGS]


def run(*args):
    done = subprocess.run([PROGRAM, *args], capture_output=True, text=True, timeout=120, check=False)
    if done.returncode != 0:
        sys.exit(f"split_agreement: {' '.join(args[:2])}: {done.stderr.strip()}")
    return json.loads(done.stdout)


def continue_(target, ids, count):
    """The greedy continuation: [(token, [(token, logprob) of the best two])]."""
    answer = run("generate", "--target", target, "--token-ids", ",".join(map(str, ids)),
                 "--max-tokens", str(count), "--temperature", "0", "--ignore-eos", "--logprobs",
                 "2", "--json")
    return [(one["token_id"], [(t["token_id"], t["logprob"]) for t in one["top"]])
            for one in answer["logprobs"]]


def forced(target, ids, reference):
    """What `target` chooses at each place of the reference's path."""
    chosen = []
    while len(chosen) < len(reference):
        path = [token for token, _ in reference[:len(chosen)]]
        part = continue_(target, ids + path, len(reference) - len(chosen))
        for token, top in part:
            chosen.append((token, top))
            if token != reference[len(chosen) - 1][0]:
                break
    return chosen


def shifts(reference, other):
    """How far the log-probability of the reference's token moved, where both chose it."""
    return [abs(dict(top)[token] - dict(top2)[token])
            for (token, top), (token2, top2) in zip(reference, other) if token == token2]


def main():
    ids = [run("tokenize", "--model", MODEL, "--text", text) for text in TEXTS]
    reference = [continue_(ONE, one, TOKENS) for one in ids]  # one after the other: batch 1
    with ThreadPoolExecutor(16) as pool:
        batched = list(pool.map(lambda pair: forced(ONE, *pair), zip(ids, reference)))
        split = list(pool.map(lambda pair: forced(SPLIT, *pair), zip(ids, reference)))
    noise = [s for r, b in zip(reference, batched) for s in shifts(r, b)]
    moved = [s for r, o in zip(reference, split) for s in shifts(r, o)]
    bound = max(noise)
    total = wrong = unexplained = own = 0
    for r, o, b in zip(reference, split, batched):
        for (token, top), (token2, _), (token3, _) in zip(r, o, b):
            total += 1
            own += token != token3
            if token == token2:
                continue
            wrong += 1
            gap = top[0][1] - top[1][1]
            unexplained += gap > 2 * bound
            print(f"  disagreement: gap {gap:.4f}" + (" UNEXPLAINED" if gap > 2 * bound else ""))
    mean = lambda values: sum(values) / len(values)  # noqa: E731
    print(f"{total} tokens: {wrong} differ over ranks, {unexplained} of them beyond the noise; "
          f"{own} differ between one rank alone and in a batch")
    print(f"log-probability of the chosen token moves by (mean, max): in a batch {mean(noise):.5f}, "
          f"{max(noise):.4f}; over ranks {mean(moved):.5f}, {max(moved):.4f}")
    return 1 if unexplained else 0


sys.exit(main())
