"""Cuts a picture of panels side by side into its panels, which a narrow screen shows below one another."""

import io
from itertools import pairwise

import numpy as np
from PIL import Image

from priorkit.report.pictures import DPI, PANEL

__all__ = ["cut"]


def cut(content: bytes) -> list[bytes]:
    """Return the panels of a PNG file that `panels` drew, as PNG files; the file itself if it has a single panel.

    Panels are equally wide. A picture with anything where it would be cut is returned whole.
    """
    image = Image.open(io.BytesIO(content)).convert("RGB")
    count = round(image.width / (PANEL * DPI))
    edges = [round(part * image.width / max(1, count)) for part in range(count + 1)]
    pixels = np.asarray(image)
    if count < 2 or any((pixels[:, edge] != 255).any() for edge in edges[1:-1]):
        return [content]
    return [_png(image.crop((left, 0, right, image.height))) for left, right in pairwise(edges)]


def _png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()
