# SPDX-License-Identifier: Apache-2.0
"""Pods as namespaces of this machine: runs a rendered container's command as a kubelet and LeaderWorkerSet's
controller would. Needs root, iproute2, util-linux and overlayfs; no container engine."""
import os
import pathlib
import subprocess
import time

import charts

POD = str(charts.HERE / "pod")
LIBEXEC = charts.HERE.parent / "image" / "libexec"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def run(*command, **options):
    return subprocess.run(command, check=True, capture_output=True, text=True, **options)


def why_not():
    """What keeps namespaces from being made here, or None."""
    if os.geteuid() != 0:
        return "needs root"
    for command in [["ip", "netns", "list"], ["unshare", "--uts", "--ipc", "--mount", "--pid", "--fork", "true"]]:
        try:
            subprocess.run(command, check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError) as error:
            return f"{' '.join(command)}: {error}"
    return None


class Network:
    """A network namespace for clients that holds a bridge, and one per host on it."""

    def __init__(self, hosts):
        self.prefix = f"tamis{os.getpid()}"
        self.client = f"{self.prefix}c"
        self.pods = [f"{self.prefix}p{i}" for i in range(hosts)]
        self.addresses = [f"192.0.2.{10 + i}" for i in range(hosts)]

    def open(self):
        for name in [self.client, *self.pods]:
            run("ip", "netns", "add", name)
            run("ip", "-n", name, "link", "set", "lo", "up")
        run("ip", "-n", self.client, "link", "add", "br0", "type", "bridge")
        run("ip", "-n", self.client, "addr", "add", "192.0.2.1/24", "dev", "br0")
        run("ip", "-n", self.client, "link", "set", "br0", "up")
        for i, pod in enumerate(self.pods):
            run("ip", "link", "add", f"veth{i}", "netns", self.client, "type", "veth",
                "peer", "name", "eth0", "netns", pod)
            run("ip", "-n", pod, "addr", "add", f"{self.addresses[i]}/24", "dev", "eth0")
            run("ip", "-n", pod, "link", "set", "eth0", "up")
            run("ip", "-n", self.client, "link", "set", f"veth{i}", "up")
            self.join(i)

    def close(self):
        for name in [self.client, *self.pods]:
            for pid in pids_in(name):
                subprocess.run(["kill", "-KILL", str(pid)], check=False, capture_output=True)
            subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)

    def join(self, host):
        run("ip", "-n", self.client, "link", "set", f"veth{host}", "master", "br0")

    def cut(self, host):
        """Packets of the host are lost from now on; nobody is told."""
        run("ip", "-n", self.client, "link", "set", f"veth{host}", "nomaster")

    def as_client(self, *command):
        return ["ip", "netns", "exec", self.client, *command]


def pids_in(namespace):
    listed = subprocess.run(["ip", "netns", "pids", namespace], capture_output=True, text=True, check=False)
    return [int(pid) for pid in listed.stdout.split()]


class Pod:
    """One pod of a group: `template` is the rendered pod template, `index` LeaderWorkerSet's."""

    def __init__(self, network, docs, template, index, size, folder, settings):
        self.network, self.index, self.namespace = network, index, network.pods[index]
        self.container = charts.container(template)
        self.uid = settings["uid"] or str(template["spec"]["securityContext"]["runAsUser"])
        self.log = pathlib.Path(folder) / f"pod-{index}.log"
        workload, _ = charts.workload(docs)
        leader = f"{workload['metadata']['name']}-0"
        self.host = leader if index == 0 else f"{leader}-{index}"
        # What the controller injects, and DNS answers for.
        self.address = f"{leader}.{leader}.{charts.NAMESPACE}"
        self.environment = {"PATH": PATH, "LWS_LEADER_ADDRESS": self.address, "LWS_GROUP_SIZE": str(size),
                            "LWS_WORKER_INDEX": str(index)}
        self.environment |= {entry["name"]: entry["value"] for entry in self.container["env"]}
        self.root = settings["root"]
        self.binds = self.mounts(docs, template, pathlib.Path(folder), settings)
        self.process = None

    def mounts(self, docs, template, folder, settings):
        hosts = folder / "hosts"
        hosts.write_text(f"127.0.0.1 localhost\n{self.network.addresses[0]} {self.address}\n")
        binds = [f"{hosts}:/etc/hosts"]
        if self.root == "/":  # no image: what it would contain
            binds += [f"{settings['tamis']}:/usr/local/bin/tamis", f"{LIBEXEC}:/usr/libexec/tamis"]
        volumes = {volume["name"]: volume for volume in template["spec"]["volumes"]}
        for mount in self.container["volumeMounts"]:
            volume = volumes[mount["name"]]
            if "configMap" in volume:
                data = next(d["data"] for d in charts.by_kind(docs, "ConfigMap")
                            if d["metadata"]["name"] == volume["configMap"]["name"])
                path = folder / mount["subPath"]
                path.write_text(data[mount["subPath"]])
                path.chmod(0o644)
                binds.append(f"{path}:{mount['mountPath']}")
            elif "persistentVolumeClaim" in volume:
                binds.append(f"{settings['models']}:{mount['mountPath']}")
            else:  # /tmp and /dev/shm, which every pod here has
                assert "emptyDir" in volume, volume
        return binds

    def start(self):
        command = self.container["command"] + self.container.get("args", [])
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [POD, self.namespace, self.host, self.uid, self.root, *self.binds, "--", *command],
                env=self.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)

    def first_process(self):
        for pid in pids_in(self.namespace):
            try:
                status = pathlib.Path(f"/proc/{pid}/status").read_text()
            except OSError:
                continue
            if any(line.split()[-1] == "1" and len(line.split()) > 2
                   for line in status.splitlines() if line.startswith("NSpid:")):
                return pid
        return None

    def exec(self, command):
        """Starts a command in the container, as exec probes and hooks are."""
        return subprocess.Popen(
            ["nsenter", "-t", str(self.first_process()), "-m", "-u", "-i", "-n", "-p", "-r", "-w", "-S", self.uid,
             "-G", self.uid, "--", *command], env=self.environment, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def probe(self, name, tamis):
        """Whether a probe of the container succeeds now."""
        probe = self.container[f"{name}Probe"]
        if "grpc" in probe:
            target = f"{self.network.addresses[self.index]}:{probe['grpc']['port']}"
            command = self.network.as_client(tamis, "health", "--target", target, "--service", probe["grpc"]["service"])
            return subprocess.run(command, capture_output=True, check=False, timeout=20).returncode == 0
        if self.first_process() is None:
            return False
        started = self.exec(probe["exec"]["command"])
        started.communicate(timeout=20)
        return started.returncode == 0

    def ranks(self):
        """Process numbers, on this machine, of the pod's ranks."""
        found = []
        for pid in pids_in(self.namespace):
            try:
                if pathlib.Path(f"/proc/{pid}/comm").read_text().strip() == "tamis":
                    found.append(pid)
            except OSError:
                pass
        return found

    def gone(self):
        return not pids_in(self.namespace)


def wait_for(condition, seconds, what):
    """Seconds until the condition held."""
    begin = time.monotonic()
    while not condition():
        if time.monotonic() - begin > seconds:
            raise AssertionError(f"not within {seconds} s: {what}")
        time.sleep(0.1)
    return time.monotonic() - begin
