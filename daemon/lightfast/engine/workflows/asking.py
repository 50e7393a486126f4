"""What a request to start a workflow asks for, as a hash: by it the same request is known when it comes again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

from lightfast_link.value import Value, to_json


def asked(name: str, parameters: Mapping[str, Value], project: str) -> str:
    """Return a hash of what was asked for, whatever it becomes."""
    return hashlib.sha256(json.dumps([name, to_json(dict(parameters)), project], sort_keys=True).encode()).hexdigest()
