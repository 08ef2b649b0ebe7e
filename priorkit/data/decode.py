"""Decodes PNG and JPEG files to one array, in blocks, with a pool of threads: the decoders release Python's lock."""

import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from io import BytesIO
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from priorkit.core import Progress, no_progress
from priorkit.data.image_files import ImageFiles
from priorkit.errors import UsageError

__all__ = ["LARGEST_IMAGE", "decode_blocks", "decode_image", "image_shape", "map_blocks"]

LARGEST_IMAGE = 2**26
"""Largest number of pixels of an image, checked before decoding."""
BLOCK_BYTES = 2**26
LARGEST_BLOCK = 2048
CHUNK = 64
TURNED = range(2, 9)
"""EXIF orientations in which the stored pixels are rotated or mirrored."""
CHANNELS = {"L": 1, "RGB": 3}
FORMATS = ("PNG", "JPEG")
METADATA = 2**22
"""Largest number of bytes in an image file besides pixels: profiles, comments, a small preview."""
BYTES_A_VALUE = 4
"""Largest number of bytes of a file per pixel value; PNG needs little more than one per byte, JPEG fewer."""

Pixels = NDArray[np.uint8]


def image_shape(source: ImageFiles) -> tuple[int, int, int]:
    """Return (C, H, W) of the first image, which all others must have."""
    first = source.names[0]
    where = f"{source.title}: image 0, {first!r}"
    with _opened(source.beginning(first, METADATA), where) as image:
        shape = _checked_shape(image, None, where)
    decode_image(source.read(first, file_limit(shape)), shape, where)
    return shape


def file_limit(shape: tuple[int, int, int]) -> int:
    """Return the largest allowed size in bytes of the file of an image (C, H, W)."""
    return METADATA + BYTES_A_VALUE * prod(shape)


def decode_image(data: bytes, shape: tuple[int, int, int], where: str) -> Pixels:
    """Decode one file to (C, H, W). Raises a UsageError that starts with `where` if it is damaged or has another shape."""
    with _opened(data, where) as image:
        _checked_shape(image, shape, where)
        pixels = np.asarray(image, dtype=np.uint8)
        if (turned := _orientation(image)) in TURNED:
            raise UsageError(
                f"{where}: its EXIF data specify a rotated or mirrored display (orientation {turned}); save "
                "it upright, for example with `mogrify -auto-orient`."
            )
    return np.ascontiguousarray(pixels.reshape(*shape[1:], shape[0]).transpose(2, 0, 1))


def decode_blocks(source: ImageFiles, shape: tuple[int, int, int], progress: Progress = no_progress) -> Iterator[Pixels]:
    """Yield all images of a source in order, as blocks (n, C, H, W)."""
    names, limit = source.names, file_limit(shape)

    def one(index: int) -> Pixels:
        return decode_image(source.read(names[index], limit), shape, f"{source.title}: image {index}, {names[index]!r}")

    return map_blocks(one, len(names), shape, f"decoding {source.title}", progress)


def map_blocks(
    one: Callable[[int], Pixels], count: int, shape: tuple[int, int, int], title: str, progress: Progress = no_progress
) -> Iterator[Pixels]:
    """Yield one(0) ... one(count - 1), each (C, H, W), as blocks (n, C, H, W) of at most 2,048 images or 64 MiB."""
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


@contextmanager
def _opened(data: bytes, where: str) -> Iterator[Any]:
    """Open the image of a file without decoding its pixels. Errors inside the block become a UsageError."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(BytesIO(data), formats=FORMATS) as image:
            yield image
    except (UsageError, MemoryError):
        raise
    except Image.DecompressionBombError as error:
        raise UsageError(f"{where}: the image has too many pixels ({error}); make it smaller.") from error
    except UnidentifiedImageError as error:  # whose text names an object in memory
        why = "it is of another kind, whatever its name ends in" if data else "it is empty"
        raise UsageError(f"{where}: not a PNG or JPEG image that can be read ({why}); replace or remove it.") from error
    # On damaged bytes decoders raise many exceptions, from SyntaxError to struct.error.
    except Exception as error:
        raise UsageError(f"{where}: not a PNG or JPEG image that can be read ({error}); replace or remove it.") from error


def _checked_shape(image: Any, shape: tuple[int, int, int] | None, where: str) -> tuple[int, int, int]:
    """Return (C, H, W) from an image's header, before its pixels are decoded; nothing in the file may be discarded."""
    (width, height), mode = image.size, image.mode
    wanted = "convert it to 8-bit grey (L) or RGB without transparency"
    if mode not in CHANNELS:
        raise UsageError(f"{where}: the image's mode is {mode}; {wanted}.")
    if any("16" in str(tile[3]) for tile in image.tile):  # Pillow's name for modes that it would reduce to 8 bits
        raise UsageError(f"{where}: the image has 16 bits per channel; {wanted}.")
    if "transparency" in image.info:
        raise UsageError(f"{where}: a colour of the image is transparent; {wanted}.")
    if image.format == "PNG" and getattr(image, "n_frames", 1) > 1:
        raise UsageError(
            f"{where}: the image is animated, with {image.n_frames} frames; save each frame as a separate file."
        )
    if width * height > LARGEST_IMAGE:
        raise UsageError(f"{where}: the image has {width}x{height} pixels; the limit is {LARGEST_IMAGE:,} pixels.")
    found = (CHANNELS[mode], height, width)
    if shape is not None and found != shape:
        first = f"{shape[2]}x{shape[1]} {'RGB' if shape[0] == 3 else 'grey'}"
        raise UsageError(
            f"{where}: {width}x{height} {('RGB' if mode == 'RGB' else 'grey')}, but image 0 is {first}; "
            "all images must have the same size and mode."
        )
    return found


def _orientation(image: Any) -> int:
    """Return EXIF's orientation of a decoded image, 1 if it is missing or unreadable."""
    from PIL.ExifTags import Base

    try:
        found = image.getexif().get(Base.Orientation, 1)
    except Exception:  # the pixels are complete, and on damaged metadata the parser may raise anything
        return 1
    return found if isinstance(found, int) else 1
