#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A rendered Deployment's pod, two CPU ranks, run from an image (TAMIS_POD_ROOT, see cluster_test.py): probes, an
answer, drain. Part of image_test; scripts/test runs groups, whose pods are made by the same template."""
import unittest

from replica import Replica


class SinglePod(unittest.TestCase):
    def test_answers_and_drains(self):
        with Replica({}, [0]) as replica:
            self.assertEqual(len(replica.pods[0].ranks()), 2)
            stream = replica.ask(16)
            output, error = stream.communicate(timeout=60)
            self.assertEqual(stream.returncode, 0, error)
            hooks = replica.drain()
            took, codes = replica.wait_gone(30)
            self.assertEqual(codes, [0])
            for hook in hooks:
                hook.communicate(timeout=5)
            print(f"one pod of two ranks: ready after {replica.ready_s:.1f} s, said {output.strip()[:40]!r}, drained "
                  f"in {took:.1f} s")


if __name__ == "__main__":
    unittest.main(verbosity=0)
