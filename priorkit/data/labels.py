"""`dataset.json` of the EDM and StyleGAN convention: `{"labels": [["00000/img00000000.png", 3], ...]}`."""

import json
from collections import Counter
from collections.abc import Sequence
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from priorkit.data.dataset import MAX_CLASSES
from priorkit.data.image_files import LABEL_FILE
from priorkit.errors import UsageError

__all__ = ["read_labels"]


def read_labels(data: bytes | None, names: Sequence[str], title: str) -> NDArray[np.int64] | None:
    """Return the labels (N,) of the images `names` in their order; None if the file has none or there is no file.

    `labels` is a list of [name, label] or an object {name: label}; each image has exactly one, an integer from 0. Raises
    UsageError naming the file and the entry.
    """
    listed = None if data is None else _parse(data, title)
    if listed is None:
        return None
    labels = _by_name(listed, title)
    _check_names(labels, names, title)
    return np.array([labels[name] for name in names], dtype=np.int64)


def _parse(data: bytes, title: str) -> Any:
    def only(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        """Return a JSON object; raises for repeated keys, which would otherwise silently replace earlier ones."""
        found = dict(pairs)
        if len(found) < len(pairs):
            twice = next(name for name, times in Counter(name for name, _ in pairs).items() if times > 1)
            raise UsageError(f"{title}: {LABEL_FILE} contains {twice!r} twice in one object; label each image once.")
        return found

    try:
        content = json.loads(data, object_pairs_hook=only)
    # ValueError: syntax, encoding, integers of absurd length; RecursionError: absurd nesting.
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{title}: {LABEL_FILE} is not valid JSON ({error}).") from error
    if not isinstance(content, dict):
        raise UsageError(
            f'{title}: {LABEL_FILE} must have the form {{"labels": [["a.png", 0], ...]}}, got {_short(content)}.'
        )
    return content.get("labels")


def _by_name(listed: Any, title: str) -> dict[str, int]:
    if not isinstance(listed, list | dict):
        raise UsageError(f'{title}: "labels" in {LABEL_FILE} must be a list of [name, label], got {_short(listed)}.')
    labels: dict[str, int] = {}
    for index, entry in enumerate(listed.items() if isinstance(listed, dict) else listed):
        name, label = entry if isinstance(entry, list | tuple) and len(entry) == 2 else (None, None)
        if not isinstance(name, str) or type(label) is not int or not 0 <= label < MAX_CLASSES:
            raise UsageError(
                f"{title}: entry {index} of the labels in {LABEL_FILE} must be [name, integer from 0 and below "
                f"{MAX_CLASSES:,}], got {_short(entry)}."
            )
        if name in labels:
            raise UsageError(f"{title}: {LABEL_FILE} labels {name!r} twice, the second time in entry {index}.")
        labels[name] = label
    return labels


def _check_names(labels: dict[str, int], names: Sequence[str], title: str) -> None:
    unknown = labels.keys() - set(names)
    missing = [name for name in names if name not in labels]
    if not unknown and not missing:
        return
    wrong = [
        f"{len(found)} {what} (such as {', '.join(map(repr, islice(sorted(found), 2)))})"
        for found, what in ((unknown, "labels without an image"), (missing, "images without a label"))
        if found
    ]
    raise UsageError(
        f"{title}: {LABEL_FILE} does not match: {len(labels)} labels for {len(names)} images; {' and '.join(wrong)}."
    )


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
