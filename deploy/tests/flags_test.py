#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The chart asks of the program only what it has: flags and configuration keys (by --help of TAMIS), and the metrics
of alerts, dashboard and autoscaling (by the source that registers them)."""
import os
import re
import subprocess
import unittest

import yaml

import charts
from chart_test import all_values


def help_of(command):
    found = subprocess.run([os.environ["TAMIS"], command, "--help"], capture_output=True, text=True, check=True)
    return set(re.findall(r"--([a-z][a-z0-9-]*)", found.stdout))


def flags_in(arguments):
    return {argument[2:].split("=")[0] for argument in arguments if argument.startswith("--")}


class Flags(unittest.TestCase):
    def test_every_render(self):
        serve, generate = help_of("serve"), help_of("generate")
        for name, values in all_values().items():
            docs = charts.documents(values)
            _, templates = charts.workload(docs)
            arguments = charts.container(templates.get("leader") or templates["single"])["args"]
            used = flags_in(arguments[arguments.index("serve"):])
            (config,) = [d["data"]["serve.yaml"] for d in charts.by_kind(docs, "ConfigMap")
                         if "serve.yaml" in d.get("data", {})]
            with self.subTest(values=name):
                self.assertEqual((used | set(yaml.safe_load(config))) - serve, set())
                for pod in charts.by_kind(docs, "Pod"):
                    self.assertEqual(flags_in(charts.container(pod)["args"]) - generate, set())

    def test_metrics(self):
        source = (charts.HERE.parents[1] / "launcher" / "metrics.cc").read_text()
        known = set(re.findall(r'"((?:vllm|tamis):\w+)"', source))
        texts = [text for values in charts.presets().values() for text in charts.render(values).values()]
        used = set(re.findall(r"\b((?:vllm|tamis):[a-z][a-z0-9_]*)", "\n".join(texts)))
        self.assertGreater(len(used), 10)
        self.assertEqual({re.sub("_(bucket|sum|count)$", "", name) for name in used} - known, set())


if __name__ == "__main__":
    unittest.main()
