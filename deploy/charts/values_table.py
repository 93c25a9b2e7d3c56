#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes the table of values in tamis/README.md from values.schema.json (meaning) and values.yaml (default).

Usage: values_table.py            writes
       values_table.py --check    exit 1 if the README is not current
"""
import json
import pathlib
import sys

import yaml

CHART = pathlib.Path(__file__).resolve().parent / "tamis"
BEGIN, END = "<!-- values: made by ../values_table.py -->\n", "<!-- end of values -->\n"


def allowed(schema):
    if "enum" in schema:
        return ", ".join(f"`{json.dumps(v) if not isinstance(v, str) else v}`" for v in schema["enum"])
    return schema.get("type", "any")


def rows(schema, defaults, prefix=""):
    for key, child in schema["properties"].items():
        name = prefix + key
        if key not in defaults:  # Helm's own
            continue
        children = child.get("properties")
        if children and isinstance(defaults[key], dict) and defaults[key]:
            yield f"| **`{name}`** | | | {child['description']} |"
            yield from rows(child, defaults[key], name + ".")
        else:
            default = json.dumps(defaults[key])
            yield f"| `{name}` | {allowed(child)} | `{default}` | {child['description']} |"


def main():
    schema = json.loads((CHART / "values.schema.json").read_text())
    defaults = yaml.safe_load((CHART / "values.yaml").read_text())
    table = "| value | allowed | default | meaning |\n|---|---|---|---|\n"
    table += "".join(row + "\n" for row in rows(schema, defaults))
    path = CHART / "README.md"
    old = path.read_text()
    before, rest = old.split(BEGIN)
    new = before + BEGIN + "\n" + table + "\n" + END + rest.split(END)[1]
    if "--check" not in sys.argv:
        path.write_text(new)
    elif new != old:
        sys.exit("deploy/charts/tamis/README.md is not current: run deploy/charts/values_table.py")


if __name__ == "__main__":
    main()
