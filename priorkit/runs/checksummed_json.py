"""JSON that one command prints and another reads, from any file chosen by the user: it includes its checksum."""

import hashlib
import json
from pathlib import Path
from typing import Any

from priorkit.errors import UsageError
from priorkit.runtime.atomic_files import read_file

__all__ = ["opened_seal", "with_seal"]

SEAL = "checksum"


def with_seal(content: dict[str, Any]) -> dict[str, Any]:
    """Return the content and, last, `checksum`: the SHA-256 of everything else, independent of white space."""
    return {**content, SEAL: _digest(content)}


def opened_seal(path: Path) -> Any:
    """Return the content of a JSON file, with its checksum verified if it has one. Raises UsageError."""
    try:
        content = json.loads(read_file(path))
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path}: is not JSON; the file is damaged. Create it again.") from error
    if isinstance(content, dict) and SEAL in content:
        rest = {name: value for name, value in content.items() if name != SEAL}
        if content[SEAL] != _digest(rest):
            raise UsageError(f"{path}: differs from the printed output (its checksum is wrong). Print it again.")
    return content


def _digest(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
