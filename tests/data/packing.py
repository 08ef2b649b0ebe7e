"""Small archives and folders of images, for tests that read them."""

import io
import json
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

__all__ = ["encoded", "foldered", "members", "random_images", "zipped"]


def encoded(pixels: np.ndarray, kind: str = "png") -> bytes:
    """(C, H, W) uint8 as the bytes of an image file."""
    stream = io.BytesIO()
    Image.fromarray(pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0)).save(stream, kind)
    return stream.getvalue()


def random_images(count: int, shape: tuple[int, int, int] = (3, 6, 5), seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, *shape), dtype=np.uint8)


def members(images: np.ndarray, labels: object = None) -> dict[str, bytes]:
    """Files in EDM's convention; labels: a list of integers, or anything else as the value of 'labels'."""
    files = {f"{i // 4:05d}/img{i:08d}.png": encoded(image) for i, image in enumerate(images)}
    if isinstance(labels, list) and len(labels) == len(images) and all(isinstance(item, int) for item in labels):
        labels = [[name, label] for name, label in zip(files, labels, strict=True)]
    return files if labels is None else {**files, "dataset.json": json.dumps({"labels": labels}).encode()}


def zipped(files: dict[str, bytes], path: Path) -> str:
    path = path.with_suffix(".zip")
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            # A ZipInfo of its own carries a fixed date: the same files give the same bytes.
            archive.writestr(zipfile.ZipInfo(name), data)
    return f"zip:{path}"


def foldered(files: dict[str, bytes], path: Path) -> str:
    for name, data in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)
    return f"folder:{path}"
