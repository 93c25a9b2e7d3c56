#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The image's entry scripts and the chart's download script, one by one, with stand-ins for the programs that they
call; and the chart's README against its schema. cluster_test.py runs the entry scripts for real."""
import os
import pathlib
import socket
import subprocess
import sys
import tempfile
import time
import unittest

import charts
from netpods import wait_for, why_not

LIBEXEC = charts.HERE.parent / "image" / "libexec"


def program(folder, name, body):
    path = pathlib.Path(folder) / name
    path.write_text("#!/bin/bash\n" + body)
    path.chmod(0o755)


class Alive(unittest.TestCase):
    def check(self, *arguments):
        return subprocess.run([LIBEXEC / "alive", *arguments], capture_output=True, text=True, check=False)

    def test_states_and_age(self):
        with tempfile.TemporaryDirectory() as folder:
            file = pathlib.Path(folder) / "heartbeat"
            self.assertIn("not there", self.check(file, "15").stderr)
            file.write_text("loading\n")
            self.assertEqual(self.check(file, "15").returncode, 0)
            refused = self.check(file, "15", "serving", "draining")
            self.assertEqual(refused.returncode, 1)
            self.assertIn("'loading'", refused.stderr)
            file.write_text("draining\n")
            self.assertEqual(self.check(file, "15", "serving", "draining").returncode, 0)
            old = time.time() - 60
            os.utime(file, (old, old))
            refused = self.check(file, "15")
            self.assertEqual(refused.returncode, 1)
            self.assertIn("60 s old", refused.stderr)

    def test_drain_refuses_an_unknown_role(self):
        found = subprocess.run([LIBEXEC / "drain", "boss"], capture_output=True, text=True, check=False)
        self.assertEqual(found.returncode, 2)
        self.assertIn("boss", found.stderr)


@unittest.skipIf(why_not(), f"process 1 of a namespace: {why_not()}")
class Entry(unittest.TestCase):
    """As process 1, with programs that print how they were called."""

    def run_script(self, arguments, daemon, environment, as_first=True):
        with tempfile.TemporaryDirectory() as folder:
            for name in [daemon, "mpirun"]:
                program(folder, name, f'echo {name} "$@"; env | grep _MCA_ | sort\n')
            program(folder, "getent", 'echo "192.0.2.10 STREAM $2"\n')
            program(folder, "uname", "echo pod-0\n")
            # In place of the worker's attempt to reach the leader's gate: refused twice, then open.
            program(folder, "timeout", f'echo >>{folder}/tries "$@"; (($(wc -l <{folder}/tries) > 2))\n')
            # Nothing else on PATH may bring the other version's daemon.
            for name in ["bash", "head", "cut", "sleep", "dirname", "grep", "sort", "env", "wc"]:
                os.symlink(f"/usr/bin/{name}", pathlib.Path(folder) / name)
            first = ["/usr/bin/unshare", "--pid", "--fork"] if as_first else []
            return subprocess.run([*first, *arguments], env={"PATH": folder, **environment}, capture_output=True,
                                  text=True, check=False, timeout=20)

    GROUP = {"LWS_LEADER_ADDRESS": "pod-0.pod-0.llm", "LWS_GROUP_SIZE": "2", "LWS_WORKER_INDEX": "1"}

    def test_worker_4(self):
        text = self.run_script([LIBEXEC / "worker"], "orted", self.GROUP).stdout
        # What mpirun of Open MPI 4.1.4, as process 1 of a host named pod-0, calls its job.
        self.assertIn("ess_base_jobid 643563520", text)
        self.assertIn("643563520.0;tcp://192.0.2.10:7100", text)
        self.assertIn("OMPI_MCA_oob_tcp_keepalive_probes=3", text)

    def test_worker_5(self):
        text = self.run_script([LIBEXEC / "worker"], "prted", {**self.GROUP, "TAMIS_BOOT_PORT": "7200"}).stdout
        self.assertIn("ess_base_nspace prterun-pod-0-1@0", text)
        self.assertIn("prterun-pod-0-1@0.0;tcp://192.0.2.10:7200:24", text)
        self.assertIn("PRTE_MCA_oob_tcp_keepalive_probes=3", text)

    def test_leader(self):
        for daemon, agent in [("orted", f"--mca plm_rsh_agent {LIBEXEC}/gate 7101"),
                              ("prted", f"--prtemca plm_ssh_agent {LIBEXEC}/gate 7101")]:
            with self.subTest(daemon=daemon):
                text = self.run_script([LIBEXEC / "leader", "8", "tamis", "serve"], daemon,
                                       {**self.GROUP, "LWS_GROUP_SIZE": "3", "LWS_WORKER_INDEX": "0"}).stdout
                self.assertIn("-H pod-0:8,pod-0-1:8,pod-0-2:8 -n 24", text)
                self.assertIn(agent, text)
                self.assertIn("tamis serve", text)

    def test_refusals(self):
        for change, says in [({"LWS_GROUP_SIZE": "two"}, "LWS_GROUP_SIZE is 'two'"),
                             ({"LWS_WORKER_INDEX": "0"}, "LWS_WORKER_INDEX is '0'"),
                             ({"LWS_LEADER_ADDRESS": ""}, "LWS_LEADER_ADDRESS is not set")]:
            found = self.run_script([LIBEXEC / "worker"], "orted", {**self.GROUP, **change})
            self.assertEqual(found.returncode, 1)
            self.assertIn(says, found.stderr)
        found = self.run_script([LIBEXEC / "worker"], "orted", {**self.GROUP, "TAMIS_STARTUP_TIMEOUT": "1"})
        self.assertEqual(found.returncode, 1)
        self.assertIn("pod-0.pod-0.llm (192.0.2.10) does not open port 7101, after 1 s", found.stderr)
        found = self.run_script([LIBEXEC / "worker"], "orted", self.GROUP, as_first=False)
        self.assertIn("must be process 1", found.stderr)
        found = self.run_script([LIBEXEC / "worker"], "neither", self.GROUP)
        self.assertIn("no Open MPI here", found.stderr)

    def test_a_worker_that_still_waits_is_drained_at_once(self):
        for address in ["127.0.0.1", "no.such.host.invalid"]:  # no gate, no leader
            environment = {**os.environ, **self.GROUP, "LWS_LEADER_ADDRESS": address, "TAMIS_BOOT_PORT": "9"}
            with subprocess.Popen(["unshare", "--pid", "--fork", "--mount-proc", "--kill-child", LIBEXEC / "worker"],
                                  env=environment) as namespace:
                children = pathlib.Path(f"/proc/{namespace.pid}/task/{namespace.pid}/children")
                wait_for(lambda: children.read_text().split(), 5, "process 1")
                (worker,) = children.read_text().split()
                wait_for(lambda: pathlib.Path(f"/proc/{worker}/comm").read_text() == "worker\n", 5, "the script")
                time.sleep(1)
                begin = time.monotonic()
                subprocess.run(["nsenter", "-t", worker, "-p", "-m", LIBEXEC / "drain", "worker"], check=False,
                               timeout=20)
                namespace.wait(timeout=20)
                self.assertLess(time.monotonic() - begin, 5)


class Gate(unittest.TestCase):
    """What mpirun starts once per host."""

    def test_open_from_the_first_host_until_its_parent_ends(self):
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        with self.assertRaises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), timeout=5)
        gate = f"{LIBEXEC}/gate {port}"
        with subprocess.Popen(["bash", "-c", f"{gate} pod-0-1 orted & read -r; {gate} pod-0-2 orted && echo open; read -r"],
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as mpirun:
            wait_for(lambda: self.is_open(port), 10, "the gate of the first host")
            mpirun.stdin.write("\n")
            mpirun.stdin.flush()
            self.assertEqual(mpirun.stdout.readline(), "open\n", "the second host's finds it open")
            self.assertTrue(self.is_open(port))
        wait_for(lambda: not self.is_open(port), 10, "the gate's end with mpirun's")

    def is_open(self, port):
        try:
            socket.create_connection(("127.0.0.1", port), timeout=5).close()
        except ConnectionRefusedError:
            return False
        return True


class Download(unittest.TestCase):
    def start(self, folder, *patterns):
        return subprocess.Popen(["sh", charts.CHART / "files" / "download.sh", f"{folder}/models/x", "owner/x", "main",
                                 *patterns], env={"PATH": f"{folder}:{os.environ['PATH']}"}, stdout=subprocess.DEVNULL)

    def calls(self, folder):
        path = pathlib.Path(folder) / "calls"
        return path.read_text().splitlines() if path.exists() else []

    def test_once_for_several_pods(self):
        with tempfile.TemporaryDirectory() as folder:
            program(folder, "hf", f'echo "$@" >>{folder}/calls; sleep 0.5; echo w >{folder}/models/x/weights\n')
            pods = [self.start(folder, "*.json", "*.safetensors") for _ in range(3)]
            self.assertEqual([pod.wait(timeout=20) for pod in pods], [0, 0, 0])
            self.assertEqual(self.calls(folder), [f"download owner/x --revision main --local-dir {folder}/models/x "
                                                  "--include *.json --include *.safetensors"])
            self.assertEqual(self.start(folder, "*.json").wait(timeout=20), 0)
            self.assertEqual(len(self.calls(folder)), 2, "other patterns: another download")

    def test_a_failed_download_is_not_complete(self):
        with tempfile.TemporaryDirectory() as folder:
            program(folder, "hf", f"echo >>{folder}/calls; exit 1\n")
            self.assertNotEqual(self.start(folder).wait(timeout=20), 0)
            program(folder, "hf", f"echo >>{folder}/calls\n")
            self.assertEqual(self.start(folder).wait(timeout=20), 0)
            self.assertEqual(len(self.calls(folder)), 2)


class Readme(unittest.TestCase):
    def test_values_table_is_current(self):
        found = subprocess.run([sys.executable, charts.CHART.parent / "values_table.py", "--check"],
                               capture_output=True, text=True, check=False)
        self.assertEqual(found.returncode, 0, found.stderr)


if __name__ == "__main__":
    unittest.main()
