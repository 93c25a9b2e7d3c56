#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The chart without a cluster: every preset renders, lints, validates and equals its golden file; broken values
are refused by name; every render has the properties that the deployment relies on.

Usage: chart_test.py [--update]   (--update writes golden/ anew)
"""
import copy
import sys
import unittest

import helm_python
import yaml

import charts
import strict

VERSION, NEWEST = "1.35", "1.37"
OLDEST = "1.28"  # Chart.yaml's kubeVersion; image volumes came later


def golden(name):
    return charts.HERE / "golden" / f"{name}.yaml"


def golden_text(values):
    parts = []
    for template, text in charts.render(values).items():
        parts.append(f"# {template}\n" + "\n".join(line.rstrip() for line in text.splitlines()))
    return "\n".join(parts) + "\n"


def all_values():
    """name -> values: presets, and variants over them."""
    found = charts.presets()
    for name, variant in yaml.safe_load((charts.HERE / "variants.yaml").read_text()).items():
        variant = dict(variant)
        found[name] = charts.merge(found[variant.pop("over")], variant)
    return found


class Presets(unittest.TestCase):
    def test_lint(self):
        for name, values in charts.presets().items():
            report = helm_python.lint(charts.CHART, values=charts.merge({"multinode": {"requireApi": False}}, values))
            self.assertEqual((name, report["errors"]), (name, []))

    def test_the_four_presets_are_there(self):
        self.assertEqual(sorted(charts.presets()),
                         ["cpu-smollm2", "llama-70b-tp16-lws", "llama-70b-tp8", "llama-8b-1gpu"])

    def test_valid_and_strict(self):
        presets = charts.presets()
        for name, values in all_values().items():
            versions = [VERSION]
            if name in presets:
                versions += [NEWEST] if values["model"]["source"] == "oci" else [NEWEST, OLDEST]
            for document in charts.documents(values):
                for version in versions:
                    with self.subTest(values=name, kind=document["kind"], version=version):
                        strict.validate(document, version)

    def test_examples(self):
        paths = sorted((charts.HERE.parent / "examples").glob("*.yaml"))
        self.assertTrue(paths)
        for path in paths:
            for document in yaml.safe_load_all(path.read_text()):
                strict.validate(document, VERSION)

    def test_strictness(self):
        """The validation itself: a misspelt field is found in a Deployment, in a LeaderWorkerSet
        and in the pods of one."""
        def spoil(docs, *path):
            found, _ = charts.workload(docs)
            found = copy.deepcopy(found)
            place = found
            for key in path[:-1]:
                place = place[key]
            place[path[-1]] = {}
            return found
        single = charts.documents(charts.presets()["llama-8b-1gpu"])
        group = charts.documents(charts.presets()["llama-70b-tp16-lws"])
        pod = ("spec", "leaderWorkerTemplate", "workerTemplate", "spec", "containers", 0)
        for broken in [spoil(single, "spec", "template", "spec", "hostNetwrk"),
                       spoil(group, "spec", "leaderWorkerTemplate", "restartPolcy"),
                       spoil(group, *pod, "readynessProbe")]:
            with self.assertRaises(Exception) as caught:
                strict.validate(broken, "1.35")
            self.assertRegex(str(caught.exception), "hostNetwrk|restartPolcy|readynessProbe")

    def test_golden(self):
        for name, values in charts.presets().items():
            with self.subTest(preset=name):
                self.assertEqual(golden_text(values), golden(name).read_text(),
                                 "if this is meant: deploy/tests/chart_test.py --update")


class Broken(unittest.TestCase):
    def test_refused_by_name(self):
        cases = yaml.safe_load((charts.HERE / "broken.yaml").read_text())
        self.assertGreaterEqual(len(cases), 20)
        for case in cases:
            with self.subTest(case=case):
                values = charts.merge(charts.presets()[case["over"]], case["values"])
                with self.assertRaises(helm_python.HelmError) as caught:
                    charts.render(values)
                self.assertIn(case["says"], str(caught.exception))


def main():
    if "--update" in sys.argv:
        for path in golden("x").parent.glob("*.yaml"):
            path.unlink()
        for name, values in charts.presets().items():
            golden(name).write_text(golden_text(values))
        return
    unittest.main()


if __name__ == "__main__":
    main()
