# SPDX-License-Identifier: Apache-2.0
"""Strict validation of one rendered object: an unknown or misspelt field is an error.

Kubernetes' own kinds: the schemas of kubernetes-validate. Custom kinds: crd_schemas.yaml, which describes
exactly the fields that the chart uses; the pod templates of a LeaderWorkerSet or MPIJob are checked as Pods.
"""
import pathlib

import jsonschema
import kubernetes_validate
import yaml

SCHEMAS = yaml.safe_load((pathlib.Path(__file__).parent / "crd_schemas.yaml").read_text())


def expand(short):
    """crd_schemas.yaml's shorthand to JSON schema: a map is a closed object whose keys end in ! if they are
    required, a list of one is an array, a list of several an enum, a string a type (any: anything)."""
    if isinstance(short, dict):
        return {"type": "object", "additionalProperties": False,
                "required": [key[:-1] for key in short if key.endswith("!")],
                "properties": {key.rstrip("!"): expand(value) for key, value in short.items()}}
    if isinstance(short, list) and len(short) == 1:
        return {"type": "array", "items": expand(short[0])}
    if isinstance(short, list):
        return {"enum": short}
    if short == "strings":
        return {"type": "object", "additionalProperties": {"type": "string"}}
    return {} if short in ("any", "pod") else {"type": short}


def pod_templates(short, value):
    """The values that stand where the shorthand says `pod`."""
    if short == "pod":
        yield value
    elif isinstance(short, dict) and isinstance(value, dict):
        for key, inner in short.items():
            yield from pod_templates(inner, value.get(key.rstrip("!")))


def validate(document, version):
    """Raises with the field's name if the object is not valid for this version of Kubernetes."""
    kind = f"{document['apiVersion']}/{document['kind']}"
    short = SCHEMAS.get(kind)
    if short is None:
        kubernetes_validate.validate(document, version, strict=True)
        return
    metadata = {"name!": "string", "labels": "strings", "annotations": "strings"}
    short = {"apiVersion!": "string", "kind!": "string", "metadata!": metadata, **short}
    jsonschema.validate(document, expand(short))
    for template in pod_templates(short, document):
        if template is not None:
            pod = {"apiVersion": "v1", "kind": "Pod", "spec": template["spec"],
                   "metadata": template.get("metadata", {})}
            kubernetes_validate.validate(pod, version, strict=True)
