# SPDX-License-Identifier: Apache-2.0
"""One replica of the rendered chart, running as pods on this machine (netpods.py), as the tests of it need it."""
import os
import pathlib
import subprocess
import sys
import tempfile
import time

import charts
from netpods import Network, Pod, wait_for

TAMIS, MODEL = os.environ.get("TAMIS"), os.environ.get("TAMIS_TEST_MODEL")
READY_S = 60


def values(patch):
    """The cpu-smollm2 preset for this machine's model and few cores, with patch over it."""
    small = {
        "model": {"path": pathlib.Path(MODEL).name},
        "shutdown": {"delaySeconds": 0, "timeoutSeconds": 60},
        "server": {"config": {"num-kv-blocks": 256, "max-num-seqs": 16, "cpu-threads": 1}},
    }
    return charts.merge(charts.merge(charts.presets()["cpu-smollm2"], small), patch)


class Replica:
    """A running Deployment's pod or LeaderWorkerSet's group; `with` starts its pods in the given order and ends
    whatever is left."""

    def __init__(self, patch, order):
        self.values, self.order = values(patch), order

    def __enter__(self):
        docs = charts.documents(self.values)
        workload, templates = charts.workload(docs)
        size = len(self.order)
        if workload["kind"] == "LeaderWorkerSet":
            assert size == workload["spec"]["leaderWorkerTemplate"]["size"]
        self.folder = tempfile.TemporaryDirectory()
        pathlib.Path(self.folder.name).chmod(0o755)
        settings = {"root": os.environ.get("TAMIS_POD_ROOT", "/"), "uid": os.environ.get("TAMIS_POD_UID"),
                    "tamis": TAMIS, "models": str(pathlib.Path(MODEL).resolve().parent)}
        self.network = Network(size)
        self.network.open()
        first = templates.get("leader") or templates["single"]
        self.pods = [Pod(self.network, docs, first if i == 0 else templates["worker"], i, size, self.folder.name,
                         settings) for i in range(size)]
        port = self.pods[0].container["startupProbe"]["grpc"]["port"]
        self.target = f"{self.network.addresses[0]}:{port}"
        begin = time.monotonic()
        for i in self.order:
            self.pods[i].start()
            if i != self.order[-1]:
                time.sleep(3)
        try:
            wait_for(lambda: all(pod.probe("startup", TAMIS) for pod in self.pods), READY_S, "every startup probe")
            wait_for(lambda: all(pod.probe("readiness", TAMIS) for pod in self.pods), 5, "every readiness probe")
            self.ready_s = time.monotonic() - begin
        except BaseException:
            self.__exit__(*sys.exc_info())
            raise
        return self

    def __exit__(self, kind, *_):
        if kind is not None:
            for pod in self.pods:
                print(f"--- {pod.host}\n{pod.log.read_text()[-3000:]}")
        self.network.close()
        self.folder.cleanup()

    def ask(self, tokens, prompt="Once upon a time"):
        return subprocess.Popen(
            self.network.as_client(TAMIS, "generate", "--target", self.target, "--prompt", prompt, "--max-tokens",
                                   str(tokens), "--temperature", "0", "--ignore-eos"),
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def wait_gone(self, seconds):
        took = wait_for(lambda: all(pod.gone() for pod in self.pods), seconds, "every process of both pods gone")
        return took, [pod.process.wait(timeout=5) for pod in self.pods]

    def drain(self):
        """Starts the preStop hooks of all pods, as the deletion of the replica does."""
        return [pod.exec(pod.container["lifecycle"]["preStop"]["exec"]["command"]) for pod in self.pods]


def first_output(process):
    """Waits until a stream has begun."""
    return process.stdout.read(1)
