"""Calls kstatus, the library by which Flux judges whether an object is ready. For tests with the marker `kstatus`."""

import json
import subprocess
from typing import Any

from dev.localkind import programs

Verdict = dict[str, str]


def judge(*bodies: dict[str, Any], kind: str = "FlagSchedule") -> list[Verdict]:
    """Return what kstatus says of each object: `status` and `message`."""
    program = programs.ensure([programs.KSTATUS])["kstatus"] / "kstatus"
    head = {"apiVersion": "flagschedule.io/v1alpha1", "kind": kind}
    bodies_json = json.dumps([{**head, **body} for body in bodies])
    done = subprocess.run([program], input=bodies_json, capture_output=True, text=True, check=True)
    found: list[Verdict] = json.loads(done.stdout)
    return found
