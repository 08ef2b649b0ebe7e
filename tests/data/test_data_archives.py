"""Archives and folders of images: what is read, and one clear paragraph for what cannot be."""

import io
import json
import os
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from packing import encoded, foldered, members, random_images, zipped
from PIL import Image

from priorkit.data import load, load_foreign
from priorkit.data.decode import decode_image
from priorkit.errors import UsageError

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"


def everything(split):
    return split.integers(torch.arange(len(split))).numpy()


@pytest.mark.parametrize("shape", [(1, 6, 5), (3, 5, 6), (3, 1, 1), (1, 64, 65)])
def test_images_and_labels_come_back(pack, shape):
    images = random_images(11, shape)
    name = pack(members(images, list(range(11))))
    spec, split = load_foreign(name)
    assert (spec.name, spec.shape, spec.levels, spec.classes) == (name, shape, 256, 11)
    assert np.array_equal(everything(split), images)
    assert split.labels.tolist() == list(range(11))


def test_a_set_without_split_is_divided_by_its_content(pack):
    images = random_images(40)
    data = load(pack(members(images, [i % 3 for i in range(40)])))
    assert (len(data.train), len(data.heldout), data.spec.classes) == (36, 4, 3)
    both = np.concatenate([everything(data.train), everything(data.heldout)])
    assert sorted(map(bytes, both)) == sorted(map(bytes, images))
    again = load(pack(members(images, [i % 3 for i in range(40)]), "elsewhere"))
    assert torch.equal(data.train.labels, again.train.labels)
    assert data.content == again.content
    assert len(load(pack(members(images)), holdout=0.5).heldout) == 20
    assert load(pack(members(images[::-1]), "other")).content != data.content


@pytest.mark.parametrize("labels", [None, "null", "dict"])
def test_label_files(pack, labels):
    files = members(random_images(3))
    listed = {name: i for i, name in enumerate(files)} if labels == "dict" else None
    if labels:
        files["dataset.json"] = json.dumps({"labels": listed}).encode()
    split = load_foreign(pack(files))[1]
    assert split.labels is None if listed is None else split.labels.tolist() == [0, 1, 2]


def test_labels_follow_names_not_their_order(pack):
    files = members(random_images(3))
    files["dataset.json"] = json.dumps({"labels": [[name, i] for i, name in enumerate(files)][::-1]}).encode()
    assert load_foreign(pack(files))[1].labels.tolist() == [0, 1, 2]


def test_jpeg_and_what_archivers_leave_behind(pack):
    image = random_images(1, (3, 8, 8))[0]
    files = {"a/x.JPEG": encoded(image, "jpeg"), "__MACOSX/a/._x.png": b"rubbish", ".DS_Store": b"", "notes.txt": b"hello"}
    spec, split = load_foreign(pack(files))
    assert np.array_equal(everything(split)[0], np.asarray(Image.open(io.BytesIO(files["a/x.JPEG"]))).transpose(2, 0, 1))
    assert spec.classes == 0


def test_a_second_archive_as_the_held_out_split(tmp_path):
    train, test = random_images(5), random_images(3, seed=1)
    first = zipped(members(train, [0, 1, 0, 1, 0]), tmp_path / "train")
    second = foldered(members(test, [4, 4, 0]), tmp_path / "test")
    data = load(first, heldout=second)
    assert np.array_equal(everything(data.train), train)
    assert np.array_equal(everything(data.heldout), test)
    assert (data.spec.classes, data.spec.name) == (5, first)
    bare = zipped(members(test), tmp_path / "bare")
    small = zipped(members(random_images(3, (3, 2, 2)), [0, 1, 2]), tmp_path / "small")
    for other, words in ((bare, "no labels"), (small, r"\(3, 2, 2\)"), ("digits", "must name .*zip:FILE")):
        with pytest.raises(UsageError, match=words):
            load(first, heldout=other)
    with pytest.raises(UsageError, match="not both"):
        load(first, heldout=second, holdout=0.1)


def claiming(png: bytes, side: int) -> bytes:
    """A small file whose header claims side x side pixels."""
    header = png[12:16] + struct.pack(">II", side, side) + png[24:29]
    return png[:12] + header + struct.pack(">I", zlib.crc32(header)) + png[33:]


def bad_files() -> dict[str, tuple[dict[str, bytes], list[str]]]:
    good = members(random_images(3))
    first, second = list(good)[:2]
    png = good[second]
    large, huge = claiming(png, 9000), claiming(png, 20000)
    palette = io.BytesIO()
    Image.new("P", (5, 6)).save(palette, "png")

    def labelled(labels: object) -> dict[str, bytes]:
        return {**good, "dataset.json": json.dumps({"labels": labels}).encode()}

    three = [[name, 0] for name in good]
    return {
        "no images": ({"a.txt": b"x"}, ["contains no images"]),
        "other images": ({"a.webp": b"x", "b.webp": b"x"}, ["contains no images", "2 .webp"]),
        "rubbish": ({**good, second: b"rubbish"}, [second, "image 1", "not a PNG or JPEG"]),
        "empty": ({**good, second: b""}, [second, "image 1"]),
        "cut": ({**good, second: png[:-30]}, [second, "image 1"]),
        "large": ({**good, first: large}, [first, "image 0", "9000x9000"]),
        "first cut": ({**good, first: png[:-30]}, [first, "image 0"]),
        "size": ({**good, second: encoded(random_images(1, (3, 5, 6))[0])}, [second, "image 1", "6x5", "5x6"]),
        "mode": ({**good, second: encoded(random_images(1, (1, 6, 5))[0])}, [second, "image 1", "grey", "RGB"]),
        "palette": ({**good, second: palette.getvalue()}, [second, "image 1", "mode is P", "convert"]),
        "bomb": ({**good, second: huge}, [second, "image 1"]),
        "first bomb": ({**good, first: huge}, [first, "image 0", "has too many pixels"]),
        "json": ({**good, "dataset.json": b'{"labels": ['}, ["dataset.json", "not valid JSON"]),
        "encoding": ({**good, "dataset.json": b"\xff\xfe\xff"}, ["dataset.json", "not valid JSON"]),
        "nesting": ({**good, "dataset.json": b"[" * 100_000}, ["dataset.json", "not valid JSON"]),
        "json list": ({**good, "dataset.json": b"[1, 2]"}, ["dataset.json", "must have the form"]),
        "nested file": ({f"set/{name}": data for name, data in labelled(three).items()}, ["set/dataset.json", "at the top"]),
        "labels text": (labelled("abc"), ["'abc'", "must be a list"]),
        "entry": (labelled([*three[:1], ["x", 1, 2]]), ["entry 1"]),
        "entry number": (labelled([7]), ["entry 0", "got 7"]),
        "float": (labelled([*three[:2], [list(good)[2], 1.5]]), ["entry 2", "1.5"]),
        "bool": (labelled([[first, True]]), ["entry 0", "True"]),
        "negative": (labelled([[first, -1]]), ["entry 0", "-1"]),
        "vector": (labelled([[first, [0, 1]]]), ["entry 0"]),
        "immense": (labelled([[first, 2**40]]), ["entry 0"]),
        "twice": (labelled([three[0], three[0], three[1]]), ["twice", "entry 1"]),
        "too few": (labelled(three[:2]), ["2 labels for 3 images", "1 images without a label", list(good)[2]]),
        "too many": (labelled([*three, ["zz.png", 0]]), ["4 labels for 3 images", "zz.png"]),
        "unknown": (labelled([*three[:2], ["zz.png", 0]]), ["labels without an image", "zz.png", "images without a label"]),
    }


@pytest.mark.parametrize("case", bad_files())
def test_bad_sets(pack, own_cache, case):
    files, words = bad_files()[case]
    name = pack(files)
    with pytest.raises(UsageError) as error:
        load(name)
    assert all(word in str(error.value) for word in [name, *words])
    assert "\n" not in str(error.value)
    assert not list(own_cache.glob("images/*"))


def test_no_such_place(tmp_path):
    for name, words in (
        ("zip:absent.zip", "no such file"),
        ("folder:absent", "no such folder"),
        (f"zip:{tmp_path}", "is a folder; use folder:"),
        (f"folder:{__file__}", "no such folder"),
    ):
        with pytest.raises(UsageError, match=words):
            load(name)


def test_damaged_archives(tmp_path):
    path = Path(zipped(members(random_images(20)), tmp_path / "a").removeprefix("zip:"))
    whole = path.read_bytes()
    for data, words in (
        (whole[: len(whole) // 2], "is truncated or damaged"),
        (whole[:-1], "is truncated or damaged"),
        (b"this is not an archive", "is not a zip archive"),
        (b"", "is not a zip archive"),
        (whole[:90] + bytes([whole[90] ^ 255]) + whole[91:], "image 0|00000/img00000000.png"),
    ):
        path.write_bytes(data)
        with pytest.raises(UsageError, match=words):
            load(f"zip:{path}")


def test_archives_whose_directory_lies(tmp_path):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.png", encoded(random_images(1)[0]))
    whole = path.read_bytes()
    directory = whole.rindex(b"PK\x01\x02")
    for offset, value, words in ((24, 2**31, "has 2,147,483,648 bytes"), (20, 10**6, "beyond the end of the file")):
        path.write_bytes(whole[: directory + offset] + struct.pack("<I", value) + whole[directory + offset + 4 :])
        with pytest.raises(UsageError, match=words):
            load(f"zip:{path}")
    path.write_bytes(whole[: directory + 8] + struct.pack("<H", 1) + whole[directory + 10 :])
    with pytest.raises(UsageError, match="encrypted"):
        load(f"zip:{path}")
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.png", b"1")
        archive.writestr("a.png", b"2")
    with pytest.raises(UsageError, match=r"'a.png' more than once"):
        load(f"zip:{path}")


def test_a_pipe_in_a_folder_does_not_hang(tmp_path):
    name = foldered(members(random_images(2)), tmp_path / "a")
    os.mkfifo(tmp_path / "a" / "pipe.png")
    with pytest.raises(UsageError, match=r"'pipe.png' is not a regular file"):
        load(name)


ARCHIVE_IMAGES = members(random_images(4, (3, 8, 8)), [0, 1, 2, 3])


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.floats(0, 1, exclude_max=True), value=st.integers(1, 255), cut=st.booleans())
def test_any_damage_to_an_archive_is_told_or_harmless(tmp_path, place, value, cut):
    path = Path(zipped(ARCHIVE_IMAGES, tmp_path / "a").removeprefix("zip:"))
    data = bytearray(path.read_bytes())
    at = int(place * len(data))
    if cut:
        del data[at:]
    else:
        data[at] ^= value
    path.write_bytes(data)
    try:
        _, split = load_foreign(f"zip:{path}", cache=tmp_path / "none")
    except UsageError as error:
        assert str(path) in str(error)
    else:
        assert everything(split).shape[1:] == (3, 8, 8)


@settings(max_examples=200, deadline=None)
@given(
    kind=st.sampled_from(["png", "jpeg"]),
    flips=st.lists(st.tuples(st.integers(0, 10**6), st.integers(1, 255)), max_size=4),
)
def test_any_damage_to_an_image_is_told_or_harmless(kind, flips):
    data = bytearray(encoded(random_images(1, (3, 16, 16))[0], kind))
    for at, value in flips:
        data[at % len(data)] ^= value
    try:
        assert decode_image(bytes(data), (3, 16, 16), "here").shape == (3, 16, 16)
    except UsageError as error:
        assert str(error).startswith("here")


def test_more_images_than_one_block(tmp_path, monkeypatch):
    monkeypatch.setattr("priorkit.data.decode.LARGEST_BLOCK", 7)
    monkeypatch.setattr("priorkit.data.decode.CHUNK", 2)
    images = random_images(24)
    seen = []

    def progress(items, total, title, *, start=0):
        seen.append((total, title))
        return items

    name = zipped(members(images), tmp_path / "a")
    assert np.array_equal(everything(load_foreign(name, progress=progress)[1]), images)
    assert seen == [(4, f"decoding {name}")]
    load_foreign(name, progress=progress)
    assert len(seen) == 1


@pytest.mark.skipif(not (SHARED / "omniglot-test.zip").exists(), reason="the shared archives are not here")
def test_a_real_archive():
    data = load(f"zip:{SHARED / 'omniglot-test.zip'}")
    assert (data.spec.shape, data.spec.classes, len(data.train), len(data.heldout)) == ((1, 28, 28), 8, 4356, 484)
