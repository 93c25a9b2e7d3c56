#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The rendered LeaderWorkerSet's own commands, run: two pods as namespaces of this machine, a CPU rank in each,
SmolLM2. The group forms in either order of start and answers; a dead rank, a cut network and a drain end it within
their bounds. What needs a real cluster: deploy/README.md.

Environment: TAMIS (the program), TAMIS_TEST_MODEL, and TAMIS_POD_ROOT, an image's root directory to run instead of
this machine's files, with TAMIS_POD_UID instead of the chart's.
"""
import os
import sys
import time
import unittest

from netpods import wait_for, why_not
from replica import MODEL, TAMIS, Replica, first_output

GROUP = {"parallelism": {"tensor": 2, "gpusPerNode": 1}}  # a rank per pod: a group of two
RANK_KILLED_S, LINK_CUT_S = 5, 10


@unittest.skipUnless(TAMIS and MODEL, "TAMIS and TAMIS_TEST_MODEL must name the program and a model")
class Cluster(unittest.TestCase):
    def stopped_stream(self, group, strike, bound, what):
        """A stream runs, `strike` hits the group: all must be gone within the bound, the client told."""
        short = group.ask(8)
        _, error = short.communicate(timeout=60)
        self.assertEqual(short.returncode, 0, error)
        long = group.ask(2000)
        first_output(long)
        strike()
        took, codes = group.wait_gone(bound)
        _, error = long.communicate(timeout=10)
        print(f"{what}: ready after {group.ready_s:.1f} s, all gone after {took:.1f} s (at most {bound}), exit "
              f"codes {codes}; the client: {error.strip()[:80]}")
        self.assertNotEqual(long.returncode, 0)
        self.assertIn("UNAVAILABLE", error)

    def test_rank_killed_leader_first(self):
        with Replica(GROUP, [0, 1]) as group:
            (rank,) = group.pods[1].ranks()
            self.stopped_stream(group, lambda: os.kill(rank, 9), RANK_KILLED_S, "rank killed, leader started first")

    def test_link_cut_worker_first(self):
        with Replica(GROUP, [1, 0]) as group:
            self.stopped_stream(group, lambda: group.network.cut(1), LINK_CUT_S, "link cut, worker started first")

    def test_drain(self):
        """Both pods are deleted together, as when a node is drained: their preStop hooks run."""
        with Replica(GROUP, [0, 1]) as group:
            self.assertTrue(all(pod.probe("liveness", TAMIS) for pod in group.pods))
            streams = [group.ask(24, f"Story number {i}:") for i in range(8)]
            for stream in streams:
                first_output(stream)
            self.assertTrue(all(stream.poll() is None for stream in streams))
            begin = time.monotonic()
            hooks = group.drain()
            wait_for(lambda: not group.pods[0].probe("readiness", TAMIS), 10, "NOT_SERVING")
            late = group.ask(4)
            _, refusal = late.communicate(timeout=20)
            for stream in streams:
                output, error = stream.communicate(timeout=60)
                self.assertEqual(stream.returncode, 0, error)
            _, codes = group.wait_gone(30)
            print(f"drain: 8 of 8 streams finished, all gone after {time.monotonic() - begin:.1f} s, exit codes "
                  f"{codes}; a late client: {refusal.strip()[:80]}")
            self.assertIn("UNAVAILABLE", refusal)
            self.assertEqual(codes, [0, 0])
            for hook in hooks:
                hook.communicate(timeout=5)


if __name__ == "__main__":
    reason = why_not()
    if reason or not MODEL:
        print(f"skipped: {reason or 'TAMIS_TEST_MODEL does not name a model'}")
        sys.exit(77)
    unittest.main(verbosity=0)
