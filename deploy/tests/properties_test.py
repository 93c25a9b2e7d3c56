#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What must hold in every render, presets and variants alike, whatever the values."""
import copy
import functools
import unittest

import yaml

import charts
from chart_test import all_values


def pods(docs):
    """(role, pod template) of everything that runs containers."""
    _, templates = charts.workload(docs)
    yield from templates.items()
    for pod in charts.by_kind(docs, "Pod"):
        yield "test", pod


def all_containers(template):
    return template["spec"].get("initContainers", []) + template["spec"]["containers"]


def strings(value):
    if isinstance(value, dict):
        for key, inner in value.items():
            yield str(key)
            yield from strings(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from strings(inner)
    else:
        yield str(value)


def every_render(test):
    """The test is called with (values, documents) of each render."""
    @functools.wraps(test)
    def run(self):
        for name, (values, docs) in renders().items():
            with self.subTest(values=name):
                test(self, values, docs)
    return run


@functools.cache
def renders():
    defaults = yaml.safe_load((charts.CHART / "values.yaml").read_text())
    return {name: (charts.merge(defaults, values), charts.documents(values)) for name, values in all_values().items()}


class Properties(unittest.TestCase):
    @every_render
    def test_no_rights_in_the_cluster(self, _values, docs):
        for document in docs:
            self.assertNotRegex(document["kind"], "Role|ServiceAccount|^Secret$")
        for _, template in pods(docs):
            self.assertIs(template["spec"]["automountServiceAccountToken"], False)
            self.assertIs(template["spec"]["enableServiceLinks"], False)

    @every_render
    def test_no_ssh_and_no_latest(self, _values, docs):
        for text in strings(docs):
            self.assertNotRegex(text, r"sshd|\.ssh/|id_rsa|kubectl")
        for _, template in pods(docs):
            for container in all_containers(template):
                self.assertRegex(container["image"], r"(:[^/:]+|@sha256:[0-9a-f]{64})$")
                self.assertNotRegex(container["image"], ":latest$")

    @every_render
    def test_restricted_profile(self, values, docs):
        for _, template in pods(docs):
            spec = template["spec"]
            for field in ["hostNetwork", "hostIPC", "hostPID", "shareProcessNamespace"]:
                self.assertNotIn(field, spec)
            self.assertIs(spec["securityContext"]["runAsNonRoot"], True)
            self.assertGreater(spec["securityContext"]["runAsUser"], 0)
            self.assertEqual(spec["securityContext"]["seccompProfile"], {"type": "RuntimeDefault"})
            allowed = {"emptyDir", "configMap", "persistentVolumeClaim", "secret", "image", "name"}
            if values["model"]["source"] == "hostPath":
                allowed.add("hostPath")
            for volume in spec.get("volumes", []):
                self.assertLessEqual(set(volume), allowed)
            for container in all_containers(template):
                self.assertEqual(container["securityContext"], {
                    "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True,
                    "capabilities": {"drop": ["ALL"]}})

    def test_root_only_when_asked(self):
        values = charts.merge(charts.presets()["llama-70b-tp16-lws"], {"rdma": {"runAsRoot": True}})
        for role, template in pods(charts.documents(values)):
            if role == "test":
                continue
            self.assertEqual(template["spec"]["securityContext"]["runAsUser"], 0)
            # Else mpirun refuses to run as root.
            environment = {entry["name"]: entry.get("value") for entry in charts.container(template)["env"]}
            for name in ["OMPI_ALLOW_RUN_AS_ROOT", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "PRTE_ALLOW_RUN_AS_ROOT"]:
                self.assertEqual(environment.get(name), "1", name)
            context = charts.container(template)["securityContext"]
            self.assertEqual(context["capabilities"], {"drop": ["ALL"], "add": ["IPC_LOCK"]})
            self.assertIs(context["allowPrivilegeEscalation"], False)

    @every_render
    def test_probes_and_drain_everywhere(self, values, docs):
        _, templates = charts.workload(docs)
        for role, template in templates.items():
            container = charts.container(template)
            handlers = {name: container[f"{name}Probe"] for name in ["startup", "readiness", "liveness"]}
            for name, probe in handlers.items():
                if role == "worker" or values["tls"]["secretName"]:
                    command = probe["exec"]["command"]
                    self.assertEqual(command[0], "/usr/libexec/tamis/alive")
                    self.assertIn(f"--heartbeat-file={command[1]}", self.serve_arguments(templates))
                else:
                    self.assertEqual(probe["grpc"], {"port": values["server"]["grpcPort"], "service": name})
            hook = container["lifecycle"]["preStop"]["exec"]["command"]
            self.assertEqual(hook[:2], ["/usr/libexec/tamis/drain", "worker" if role == "worker" else "leader"])
            grace = template["spec"]["terminationGracePeriodSeconds"]
            shutdown = values["shutdown"]
            self.assertGreaterEqual(grace, shutdown["delaySeconds"] + shutdown["timeoutSeconds"] + 20)
            self.assertIn(f"--shutdown-timeout={shutdown['timeoutSeconds']}", self.serve_arguments(templates))

    @staticmethod
    def serve_arguments(templates):
        return charts.container(templates.get("leader") or templates["single"])["args"]

    @every_render
    def test_ranks(self, values, docs):
        workload, templates = charts.workload(docs)
        tensor, per_node = values["parallelism"]["tensor"], values["parallelism"]["gpusPerNode"]
        arguments = self.serve_arguments(templates)
        if workload["kind"] == "Deployment":
            hosts, ranks = 1, int(arguments[arguments.index("-n") + 1])
            self.assertEqual(charts.container(templates["single"])["command"], ["mpirun"])
        else:
            hosts, ranks = workload["spec"]["leaderWorkerTemplate"]["size"], int(arguments[0])
        self.assertEqual(hosts * ranks, tensor)
        self.assertLessEqual(ranks, per_node)
        self.assertIn(f"--tensor-parallel-size={tensor}", arguments)
        for template in templates.values():
            limits = charts.container(template)["resources"].get("limits", {})
            self.assertEqual(limits.get("nvidia.com/gpu", 0), ranks if values["device"] == "cuda" else 0)

    @every_render
    def test_selectors_and_names(self, values, docs):
        workload, templates = charts.workload(docs)
        self.assertLessEqual(len(workload["metadata"]["name"]), 40)
        self.assertRegex(workload["metadata"]["name"], r"^[a-z]([-a-z0-9]*[a-z0-9])?$")
        labels = {role: template["metadata"]["labels"] for role, template in templates.items()}
        for role, own in labels.items():
            for service in charts.by_kind(docs, "Service") + charts.by_kind(docs, "PodMonitor"):
                selector = service["spec"]["selector"]
                matched = selector.get("matchLabels", selector).items() <= own.items()
                self.assertEqual(matched, role != "worker")
            for policy in charts.by_kind(docs, "NetworkPolicy"):
                self.assertLessEqual(policy["spec"]["podSelector"]["matchLabels"].items(), own.items())
            for budget in charts.by_kind(docs, "PodDisruptionBudget"):
                self.assertLessEqual(budget["spec"]["selector"]["matchLabels"].items(), own.items())
        for scaler in (charts.by_kind(docs, "ScaledObject")
                       + charts.by_kind(docs, "HorizontalPodAutoscaler")):
            self.assertEqual(scaler["spec"]["scaleTargetRef"], {
                "apiVersion": workload["apiVersion"], "kind": workload["kind"],
                "name": workload["metadata"]["name"]})
            self.assertNotIn("replicas", workload["spec"])
        for pod in charts.by_kind(docs, "Pod"):
            service = charts.by_kind(docs, "Service")[0]["metadata"]["name"]
            self.assertIn(f"--target={service}.llm.svc:50051", charts.container(pod)["args"])

    @every_render
    def test_leader_and_worker_differ_in_role_only(self, _values, docs):
        _, templates = charts.workload(docs)
        if "single" in templates:
            return
        rest = []
        for template in copy.deepcopy(list(templates.values())):
            template["metadata"]["labels"].pop("app.kubernetes.io/component")
            for field in ["command", "args", "ports", "lifecycle", "livenessProbe", "readinessProbe", "startupProbe"]:
                charts.container(template).pop(field, None)
            rest.append(template)
        self.assertEqual(*rest)


if __name__ == "__main__":
    unittest.main()
