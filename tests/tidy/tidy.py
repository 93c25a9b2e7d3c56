#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The house rules as a test: layers, names that stay in their layer, sizes, registration.

Usage: tidy.py ROOT            checks the tree, prints every violation, exit 1 if there is one
       tidy.py ROOT --selftest checks that each rule finds a planted violation
"""
import pathlib
import re
import subprocess
import sys

CODE = {".h", ".cc", ".cu", ".cuh"}
LAYERS = ["kernels", "parallel", "runtime/model", "runtime/load", "runtime/tokenizer",
          "runtime/engine", "runtime/server", "launcher"]
# What each layer may include, besides itself.
MAY_INCLUDE = {
    "kernels": [],
    "parallel": ["kernels"],
    "runtime/model": ["kernels", "parallel"],
    "runtime/load": ["kernels", "parallel", "runtime/model", "runtime/status_macros.h"],
    "runtime/tokenizer": ["runtime/load", "runtime/status_macros.h"],
    "runtime/engine": ["kernels", "parallel", "runtime/model"],
    "runtime/server": ["runtime/engine", "runtime/model/config.h", "runtime/tokenizer", "proto",
                       "runtime/status_macros.h"],
    "launcher": LAYERS + ["proto", "runtime/status_macros.h"],
}
# A pattern and the only places where it may stand.
BOUND_NAMES = [
    (r"\bMPI_[A-Z]", ["parallel/", "tests/parallel/", "tests/support/"]),
    (r"\bnccl[A-Z]|nccl\.h", ["parallel/", "tests/parallel/"]),
    (r"\bgrpc::|grpcpp/", ["runtime/server/", "launcher/", "tests/runtime/server/", "tests/e2e/"]),
    (r"\babsl::|\"absl/", ["runtime/load/", "runtime/tokenizer/", "runtime/server/", "launcher/",
                           "runtime/status_macros.h", "tests/"]),
    (r"\bcudaMalloc|\bcudaStreamCreate|\bcudaHostAlloc",
     ["kernels/device_cuda.cc", "kernels/bench/", "parallel/", "tests/"]),
    (r"\bcudaDeviceSynchronize", ["kernels/bench/", "parallel/bench/", "tests/"]),
    (r"\bgetenv\b", ["launcher/", "parallel/mpi_env.cc", "tests/"]),
]
FILE_LINES_MAX = 500
FUNCTION_LINES_MAX = 70
LINE_COLUMNS_MAX = 100
README_LINES_MAX = 60
README_LINES_OF = {"README.md": 400, "runtime/README.md": 150}
READING_PATH_LINES_MAX = 1900


def layer_of(path):
    return next((layer for layer in LAYERS if path.startswith(layer + "/")), None)


def check_includes(path, lines):
    layer = layer_of(path)
    if layer is None:
        return
    allowed = [layer] + MAY_INCLUDE[layer]
    for number, line in enumerate(lines, 1):
        found = re.match(r'\s*#include "((?:kernels|parallel|runtime|launcher|proto)/[^"]*)"', line)
        if found and not any(found[1] == a or found[1].startswith(a + "/") for a in allowed):
            yield number, f"{layer} may not include {found[1]}"


def check_bound_names(path, lines):
    for pattern, places in BOUND_NAMES:
        if any(path.startswith(place) for place in places):
            continue
        for number, line in enumerate(lines, 1):
            if re.search(pattern, line.split("//")[0]):
                yield number, f"/{pattern}/ belongs in {', '.join(places)}"


def check_text(path, lines):
    if not re.match(r"(//|#) SPDX-License-Identifier: Apache-2.0$", lines[0] if lines else ""):
        yield 1, "the first line is not the SPDX line"
    for number, line in enumerate(lines, 1):
        if len(line) > LINE_COLUMNS_MAX:
            yield number, f"{len(line)} columns, at most {LINE_COLUMNS_MAX}"
        if line != line.rstrip() or "\t" in line:
            yield number, "tab or trailing space"
        if re.search(r"\b(TODO|FIXME|XXX)\b", line) and not re.search(r"#\d+", line):
            yield number, "a to-do without an issue number"
        if re.search(r"assert\s*\([^)]*[^=!<>]=[^=]", line) and "static_assert" not in line:
            yield number, "a side effect inside assert"


def check_sizes(path, lines):
    if len(lines) > FILE_LINES_MAX:
        yield 1, f"{len(lines)} lines, at most {FILE_LINES_MAX}"
    begin = None
    for number, line in enumerate(lines, 1):
        if begin is None:
            opens = re.match(r"[A-Za-z_].*\{$", line) or (re.match(r"\s{4}\S.*\) .*\{$", line))
            if opens and not re.match(r"(namespace|class|struct|enum|extern|union)\b", line):
                begin = number
        elif line == "}":
            if number - begin + 1 > FUNCTION_LINES_MAX:
                yield begin, f"a function of {number - begin + 1} lines, at most {FUNCTION_LINES_MAX}"
            begin = None
        elif re.match(r"\};|\}  // namespace", line):
            begin = None


FILE_RULES = [check_includes, check_bound_names, check_text, check_sizes]


def check_registered(root, files):
    lists = "\n".join((root / f).read_text() for f in files if f.endswith("CMakeLists.txt"))
    for path in files:
        name = path.rsplit("/", 1)[-1]
        if re.search(r"_test\.(cc|cu)$", name) and name not in lists:
            yield f"{path}:1: not registered in any CMakeLists.txt"


def check_ops_tested(root, files):
    ops = re.findall(r"^void (\w+)\(", (root / "kernels/ops.h").read_text(), re.M)
    tests = [f for f in files if f.startswith("tests/kernels/") and f.endswith("_test.cc")]
    tables = {"the CPU tests": [f for f in tests if "_gpu_" not in f],
              "the agreement table": [f for f in tests if re.search(r"_agrees?_gpu_test", f)]}
    for where, paths in tables.items():
        text = "\n".join((root / path).read_text() for path in paths)
        for op in ops:
            if paths and not re.search(rf"\b{op}\b", text):
                yield f"kernels/ops.h:1: {op} does not appear in {where}"


def check_readmes(root, files):
    folders = LAYERS + ["proto", "configs", "tests", "scripts", "deploy", "runtime", "."]
    for folder in folders:
        path = "README.md" if folder == "." else f"{folder}/README.md"
        if not any(f.startswith(f"{folder}/") for f in files) and folder != ".":
            continue
        if path not in files:
            yield f"{path}:1: missing"
            continue
        count = len((root / path).read_text().splitlines())
        limit = README_LINES_OF.get(path, README_LINES_MAX)
        if count > limit:
            yield f"{path}:1: {count} lines, at most {limit}"


def check_reading_path(root, files):
    """The README's reading order, for a newcomer's one sitting, stays short and true."""
    text = (root / "README.md").read_text() if "README.md" in files else ""
    section = re.search(r"## Reading order\n(.*?)(\n## |\Z)", text, re.S)
    if not section:
        yield "README.md:1: no section 'Reading order'"
        return
    total = 0
    for path in re.findall(r"`([\w/]+\.(?:h|cc|cu|proto))`", section[1]):
        if path not in files:
            yield f"README.md:1: reading order names {path}, which does not exist"
        else:
            total += len((root / path).read_text().splitlines())
    if total > READING_PATH_LINES_MAX:
        yield f"README.md:1: reading order has {total} lines, at most {READING_PATH_LINES_MAX}"


TREE_RULES = [check_registered, check_ops_tested, check_readmes, check_reading_path]


def check_tree(root):
    listed = subprocess.run(["git", "-C", str(root), "ls-files", "-co", "--exclude-standard"],
                            capture_output=True, text=True, check=False)
    files = [f for f in listed.stdout.splitlines() if (root / f).is_file()]
    if not files:  # not a checkout (an unpacked archive)
        files = [str(p.relative_to(root)) for p in root.rglob("*")
                 if p.is_file() and "build" not in p.relative_to(root).parts]
    for path in files:
        if pathlib.Path(path).suffix in CODE:
            lines = (root / path).read_text().splitlines()
            for rule in FILE_RULES:
                for number, message in rule(path, lines):
                    yield f"{path}:{number}: {message}"
    for rule in TREE_RULES:
        yield from rule(root, files)


def selftest():
    spdx = "// SPDX-License-Identifier: Apache-2.0"
    planted = [
        (check_includes, "kernels/a.cc", ['#include "parallel/world.h"']),
        (check_includes, "runtime/engine/a.cc", ['#include "runtime/load/gguf.h"']),
        (check_bound_names, "runtime/model/a.cc", ["MPI_Barrier(x);"]),
        (check_bound_names, "runtime/engine/a.cc", ["absl::Status s;"]),
        (check_bound_names, "kernels/a.cc", ['std::getenv("X");']),
        (check_text, "kernels/a.cc", ["int x;"]),
        (check_text, "kernels/a.cc", [spdx, "x" * 101]),
        (check_text, "kernels/a.cc", [spdx, "// TODO: later"]),
        (check_sizes, "kernels/a.cc", ["x"] * 501),
        (check_sizes, "kernels/a.cc", ["void F() {"] + ["  x;"] * 70 + ["}"]),
    ]
    missed = [(rule.__name__, path) for rule, path, lines in planted if not list(rule(path, lines))]
    clean = [spdx, '#include "kernels/ops.h"', "void F() {", "  Call();", "}"]
    false = [rule.__name__ for rule in FILE_RULES if list(rule("kernels/a.cc", clean))]
    for name in missed + false:
        print(f"selftest: {name}")
    return not missed and not false


def main():
    root = pathlib.Path(sys.argv[1]).resolve()
    if "--selftest" in sys.argv:
        return 0 if selftest() else 1
    problems = list(check_tree(root))
    print("\n".join(problems) or "tidy: nothing found")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
