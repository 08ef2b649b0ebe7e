"""From PNG and JPEG files to one array, in blocks, with a pool of threads: the decoders run outside Python's lock."""

import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from io import BytesIO
from math import prod

import numpy as np
from numpy.typing import NDArray

from priorkit.core import Progress, silent
from priorkit.data.sources import ImageSource
from priorkit.errors import UsageError

__all__ = ["LARGEST_IMAGE", "decode_blocks", "decode_image", "image_shape", "map_blocks"]

LARGEST_IMAGE = 2**26
"""Pixels that an image may claim before anything is decoded."""
BLOCK_BYTES = 2**26
LARGEST_BLOCK = 2048
CHUNK = 64
CHANNELS = {"L": 1, "RGB": 3}
FORMATS = ("PNG", "JPEG")

Pixels = NDArray[np.uint8]


def image_shape(source: ImageSource) -> tuple[int, int, int]:
    """(C, H, W) of the first image, which all others must have."""
    first = source.names[0]
    return _open(source.read(first), None, f"{source.title}: image 0, {first!r}")[1]


def decode_image(data: bytes, shape: tuple[int, int, int], where: str) -> Pixels:
    """One file to (C, H, W).  Raises UsageError, beginning with `where`, if it is damaged or of another shape."""
    return _open(data, shape, where)[0]


def decode_blocks(source: ImageSource, shape: tuple[int, int, int], progress: Progress = silent) -> Iterator[Pixels]:
    """All images of a source in their order, as blocks (n, C, H, W)."""
    names = source.names

    def one(index: int) -> Pixels:
        return decode_image(source.read(names[index]), shape, f"{source.title}: image {index}, {names[index]!r}")

    return map_blocks(one, len(names), shape, f"decoding {source.title}", progress)


def map_blocks(
    one: Callable[[int], Pixels], count: int, shape: tuple[int, int, int], title: str, progress: Progress = silent
) -> Iterator[Pixels]:
    """one(0) ... one(count - 1), each (C, H, W), as blocks (n, C, H, W) of at most 2,048 images or 64 MiB."""
    size = max(1, min(LARGEST_BLOCK, BLOCK_BYTES // prod(shape)))
    starts = range(0, count, size)
    # Below this size decoding is mostly Python, and threads that wait for its lock make it slower.
    workers = min(8, os.cpu_count() or 1) if shape[1] * shape[2] >= 64 * 64 else 1
    with ThreadPoolExecutor(workers) as pool:
        for start in progress(starts, len(starts), title):
            block = np.empty((min(size, count - start), *shape), dtype=np.uint8)
            fill = partial(_fill, block, one, start)
            deque(pool.map(fill, range(0, len(block), CHUNK)), maxlen=0)
            yield block


def _fill(block: Pixels, one: Callable[[int], Pixels], start: int, first: int) -> None:
    for row in range(first, min(first + CHUNK, len(block))):
        block[row] = one(start + row)


def _open(data: bytes, shape: tuple[int, int, int] | None, where: str) -> tuple[Pixels, tuple[int, int, int]]:
    from PIL import Image

    try:
        with Image.open(BytesIO(data), formats=FORMATS) as image:
            found = _checked_shape(image.mode, image.size, shape, where)
            pixels = np.asarray(image, dtype=np.uint8)
    except (UsageError, MemoryError):
        raise
    except Image.DecompressionBombError as error:
        raise UsageError(f"{where}: the image claims too many pixels ({error}).") from error
    # On damaged bytes decoders raise whatever they stumble over, from SyntaxError to struct.error.
    except Exception as error:
        raise UsageError(f"{where}: not a PNG or JPEG image that can be read ({error}); replace or remove it.") from error
    return np.ascontiguousarray(pixels.reshape(*found[1:], found[0]).transpose(2, 0, 1)), found


def _checked_shape(mode: str, size: tuple[int, int], shape: tuple[int, int, int] | None, where: str) -> tuple[int, int, int]:
    """(C, H, W) from an image's header, before its pixels are decoded."""
    width, height = size
    if mode not in CHANNELS:
        raise UsageError(f"{where}: the image's mode is {mode}; convert it to 8-bit grey (L) or RGB without transparency.")
    if width * height > LARGEST_IMAGE:
        raise UsageError(f"{where}: the image claims {width}x{height} pixels; the limit is {LARGEST_IMAGE:,} pixels.")
    found = (CHANNELS[mode], height, width)
    if shape is not None and found != shape:
        wanted = f"{shape[2]}x{shape[1]} {'RGB' if shape[0] == 3 else 'grey'}"
        raise UsageError(
            f"{where}: {width}x{height} {'RGB' if mode == 'RGB' else 'grey'}, but image 0 is {wanted}; "
            "all images must have one size and one mode."
        )
    return found
