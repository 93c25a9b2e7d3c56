# SPDX-License-Identifier: Apache-2.0
"""Renders the chart with Helm's own engine (helm-python-sdk: Helm 4 as a library, no cluster)."""
import pathlib

import helm_python
import yaml

HERE = pathlib.Path(__file__).resolve().parent
CHART = HERE.parent / "charts" / "tamis"
RELEASE, NAMESPACE = "demo", "llm"

# Helm logs every `fail` of a template to the process's log; the tests read the exceptions.
helm_python.disable_logging()


def merge(base, patch):
    """base with patch over it, maps merged, all else replaced. Neither is changed."""
    if not (isinstance(base, dict) and isinstance(patch, dict)):
        return patch
    return {**base, **{key: merge(base.get(key), value) for key, value in patch.items()}}


def presets():
    """name -> values of the chart's presets."""
    return {path.stem: yaml.safe_load(path.read_text()) for path in sorted(CHART.glob("ci/*.yaml"))}


def render(values, release=RELEASE):
    """template -> text. There is no cluster to ask for LeaderWorkerSet's API."""
    values = merge({"multinode": {"requireApi": False}}, values)
    with helm_python.Chart.load(CHART) as chart:
        texts = chart.render(values, name=release, namespace=NAMESPACE)
    return {name.split("templates/", 1)[1]: text for name, text in sorted(texts.items())
            if text.strip() and name.endswith(".yaml")}


def documents(values, release=RELEASE):
    return [document for text in render(values, release).values()
            for document in yaml.safe_load_all(text) if document]


def by_kind(docs, kind):
    return [document for document in docs if document["kind"] == kind]


def workload(docs):
    """(document, {role: pod template}) of the one Deployment or LeaderWorkerSet."""
    (found,) = by_kind(docs, "Deployment") + by_kind(docs, "LeaderWorkerSet")
    if found["kind"] == "Deployment":
        return found, {"single": found["spec"]["template"]}
    template = found["spec"]["leaderWorkerTemplate"]
    return found, {"leader": template["leaderTemplate"], "worker": template["workerTemplate"]}


def container(template):
    (found,) = template["spec"]["containers"]
    return found
