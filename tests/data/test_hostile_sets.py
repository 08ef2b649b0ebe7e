"""Sets that lie about their sizes, hide images or hold more than is read: refused or told, and never taken in silence."""

import io
import json
import os
import struct
import tracemalloc
import zipfile
import zlib
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from packing import encoded, foldered, members, random_images, zipped
from PIL import Image

from priorkit.data import array, load, load_foreign
from priorkit.errors import UsageError

LARGE = 2**26
MAX_MEMORY = 2**25
"""Bytes that refusing a file of LARGE may take: one image of a few pixels needs far less."""


def deflated(files: dict[str, bytes], path: Path, kind: int = zipfile.ZIP_DEFLATED) -> str:
    with zipfile.ZipFile(path, "w", kind) as archive:
        for name, data in files.items():
            archive.writestr(zipfile.ZipInfo(name), data, compress_type=kind)
    return f"zip:{path}"


def claiming(path: Path, name: str, size: int) -> str:
    """The archive with another size of a member in its directory."""
    data = bytearray(path.read_bytes())
    at = data.rindex(name.encode()) - 46
    assert data[at : at + 4] == b"PK\x01\x02"
    data[at + 24 : at + 28] = struct.pack("<I", size)
    path.write_bytes(data)
    return f"zip:{path}"


def refused(name: str) -> str:
    """The message with which a set is refused, and no more memory taken than MAX_MEMORY."""
    tracemalloc.start()
    try:
        with pytest.raises(UsageError) as error:
            load(name)
        assert tracemalloc.get_traced_memory()[1] < MAX_MEMORY
    finally:
        tracemalloc.stop()
    return str(error.value)


@pytest.mark.parametrize("index", [0, 2])
@pytest.mark.parametrize("claimed", [None, 1000])
def test_an_image_that_unpacks_to_more_than_its_size_needs_is_not_unpacked(tmp_path, index, claimed):
    files = members(random_images(3))
    name = list(files)[index]
    files[name] += bytes(LARGE)
    title = deflated(files, tmp_path / "a.zip")
    if claimed is not None:
        claiming(tmp_path / "a.zip", name, claimed)
    assert name in refused(title)


def test_a_file_of_labels_has_a_limit_that_follows_from_the_number_of_images(tmp_path):
    files = members(random_images(3), [0, 1, 2])
    files["dataset.json"] += b" " * LARGE
    for title in (deflated(files, tmp_path / "a.zip"), foldered(files, tmp_path / "a")):
        assert "'dataset.json' has more than" in refused(title)
    claiming(tmp_path / "a.zip", "dataset.json", 1000)
    assert "'dataset.json' cannot be read" in refused(f"zip:{tmp_path / 'a.zip'}")


def test_labels_may_be_written_with_any_escapes_and_spaces(tmp_path):
    files = {f"größe{i}.png": encoded(image) for i, image in enumerate(random_images(3000, (1, 1, 1)))}
    listed = json.dumps({"labels": [[name, i % 7] for i, name in enumerate(files)]}, indent=24)
    assert load_foreign(foldered({**files, "dataset.json": listed.encode()}, tmp_path / "a"))[0].classes == 7


@pytest.mark.parametrize("kind", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_compression_that_cannot_be_read_in_part_is_refused(tmp_path, kind):
    files = members(random_images(3))
    name = list(files)[1]
    files[name] = bytes(LARGE)
    assert "stored or deflated" in refused(deflated(files, tmp_path / "a.zip", kind))


def test_images_with_much_beside_their_pixels_are_read(tmp_path):
    images = random_images(3)
    files = {f"{i}.png": encoded(image) + bytes(10**6) for i, image in enumerate(images)}
    assert len(load_foreign(zipped(files, tmp_path / "a"))[1]) == 3


def test_a_set_for_which_there_is_no_room_fills_neither_disk_nor_memory(tmp_path, monkeypatch):
    title = zipped(members(random_images(4, (3, 64, 64))), tmp_path / "a")
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=4 * 3 * 64 * 64 - 1))
    with pytest.warns(UserWarning, match="they stay in memory"):
        assert len(load_foreign(title)[1]) == 4
    monkeypatch.setattr("os.sysconf", lambda name: 1)
    with pytest.warns(UserWarning), pytest.raises(UsageError, match="4 images of 64x64 are 49,152 bytes when decoded"):
        load(title)


def test_links_to_folders_are_followed(tmp_path):
    files = members(random_images(12), list(range(12)))
    foldered(files, tmp_path / "all")
    (tmp_path / "set").mkdir()
    for name in ("00000", "00001", "00002"):
        (tmp_path / "set" / name).symlink_to(tmp_path / "all" / name)
    (tmp_path / "set" / "dataset.json").symlink_to(tmp_path / "all" / "dataset.json")
    ours, theirs = (load(f"folder:{tmp_path / name}") for name in ("set", "all"))
    assert ours.content == theirs.content and len(ours.train) + len(ours.heldout) == 12


def test_a_folder_that_links_lead_to_twice_is_refused(tmp_path):
    name = foldered(members(random_images(6)), tmp_path / "a")
    link = tmp_path / "a" / "00001" / "again"
    for target in (tmp_path / "a" / "00000", tmp_path / "a"):
        link.symlink_to(target)
        with pytest.raises(UsageError, match="are the same folder through a link"):
            load(name)
        link.unlink()


def test_a_folder_whose_listing_fails_is_told_of(tmp_path, monkeypatch):
    name = foldered(members(random_images(6)), tmp_path / "a")
    scan = os.scandir

    def failing(path):
        if Path(path).name == "00001":
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", failing)
    with pytest.raises(UsageError, match=r"'00001' cannot be read \(Permission denied\)"):
        load(name)


def test_a_link_in_an_archive_is_told_of(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name, data in members(random_images(3)).items():
            archive.writestr(name, data)
        link = zipfile.ZipInfo("dog")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "../dog")
    with pytest.raises(UsageError, match="'dog' is a link"):
        load(f"zip:{tmp_path / 'a.zip'}")


@pytest.mark.parametrize(("others", "told"), [({"x.webp": 2, "y.TIFF": 1}, "1 .tiff, 2 .webp"), ({"cats.zip": 1}, "1 .zip")])
def test_images_that_are_left_out_are_told_of(pack, caplog, others, told):
    files = members(random_images(5))
    files |= {f"{i}{name}": b"RIFF" for name, count in others.items() for i in range(count)}
    load(pack(files))
    (message,) = caplog.messages
    assert "5 .png and .jpg files are read" in message and f"{told} left out" in message


def test_what_holds_no_image_is_not_told_of(pack, caplog):
    others = {"notes.txt": b"x", "a/list.csv": b"x", ".DS_Store": b"", "._a.webp": b""}
    load(pack({**members(random_images(5), [0] * 5), **others}))
    assert not caplog.messages


def raw_png(pixels: np.ndarray, depth: int, kind: int, extra: bytes = b"") -> bytes:
    """A PNG of rows of bytes (H, bytes) with given bits a channel and colour type, and chunks before the pixels."""
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 5, 6, depth, kind, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + extra + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def animated() -> bytes:
    first, second = (Image.fromarray(image.transpose(1, 2, 0)) for image in random_images(2))
    stream = io.BytesIO()
    first.save(stream, "png", save_all=True, append_images=[second])
    return stream.getvalue()


BYTES = np.random.default_rng(0).integers(0, 256, (6, 5 * 3 * 2), dtype=np.uint8)
MORE_THAN_IS_READ = {
    "RGB of 16 bits": (raw_png(BYTES, 16, 2), "16 bits per channel"),
    "grey of 16 bits": (raw_png(BYTES[:, :10], 16, 0), "convert it to 8-bit"),
    "a transparent colour": (raw_png(BYTES[:, :15], 8, 2, chunk(b"tRNS", bytes(6))), "is transparent"),
    "a transparent grey": (raw_png(BYTES[:, :5], 8, 0, chunk(b"tRNS", bytes(2))), "is transparent"),
    "alpha": (raw_png(BYTES[:, :20], 8, 6), "mode is RGBA"),
    "one bit": (raw_png(BYTES[:, :1], 1, 0), "mode is 1"),
    "animation": (animated(), "animated, with 2 frames"),
}


@pytest.mark.parametrize("case", MORE_THAN_IS_READ)
@pytest.mark.parametrize("index", [0, 1])
def test_an_image_of_which_a_part_would_be_dropped_is_refused(pack, case, index):
    data, told = MORE_THAN_IS_READ[case]
    files = members(random_images(3))
    name = list(files)[index]
    with pytest.raises(UsageError, match=f"image {index}, '{name}': .*{told}"):
        load(pack({**files, name: data}))


def test_labels_that_name_an_image_twice_in_the_mapping_form(pack):
    files = members(random_images(2))
    first, second = files
    for text in (f'{{"labels": {{"{first}": 0, "{second}": 1, "{first}": 1}}}}', '{"labels": null, "labels": []}'):
        with pytest.raises(UsageError, match=r"dataset.json contains '.*' twice in one object"):
            load(pack({**files, "dataset.json": text.encode()}))


@pytest.mark.parametrize("label", [2**31 - 1, 2**31, 2**20])
def test_a_label_that_is_no_number_of_a_class(pack, label):
    images = random_images(3)
    with pytest.raises(UsageError, match=f"below 1,048,576\\], got .*{label}"):
        load(pack(members(images, [0, 1, label])))
    with pytest.raises(UsageError, match=f"below 1,048,576, got {label}"):
        array(images, [0, 1, label])
    assert load(pack(members(images, [0, 1, 2**20 - 1]), "good")).spec.classes == 2**20
