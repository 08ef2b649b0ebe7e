"""Stores read batch by batch: the same images as were written, by folder and over HTTP, and one paragraph where not."""

import json
import os
import shutil
import threading
import time
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
import torch
from packing import foldered, members, random_images
from typer.testing import CliRunner

from priorkit.cli import app
from priorkit.config import resolve
from priorkit.data import Streamed, load, load_foreign, stores
from priorkit.data.made_up import made_up
from priorkit.errors import UsageError
from priorkit.workflows.training.train import fit

try:
    import tensorstore
except ImportError:
    tensorstore = None
with_library = pytest.mark.skipif(tensorstore is None, reason="the extra 'streaming' is not installed")

SHARD = 16
"""Images in a file of a store."""


def write(place, images, labels=None, *, rows=1, name="image"):
    """A store as the page on data says how to write one; gives its name."""
    arrays = {name: images} if labels is None else {name: images, "label": np.asarray(labels)}
    for key, values in arrays.items():
        empty = values.shape[1:]
        array = tensorstore.open(
            {
                "driver": "zarr3",
                "kvstore": {"driver": "file", "path": str(place / key)},
                "store_data_equal_to_fill_value": True,
            },
            create=True,
            dtype=values.dtype.name,
            shape=values.shape,
            chunk_layout=tensorstore.ChunkLayout(read_chunk_shape=[rows, *empty], write_chunk_shape=[SHARD, *empty]),
        ).result()
        for start in range(0, len(values), SHARD):
            array[start : min(start + SHARD, len(values))] = values[start : start + SHARD]
    return f"stream:{place}"


def everything(split):
    return split.integers(torch.arange(len(split))).numpy()


class Bucket(BaseHTTPRequestHandler):
    """A server of files with ranges of bytes, as buckets are, that counts what it gives."""

    def __init__(self, folder, given, *arguments):
        self.folder, self.given = folder, given
        super().__init__(*arguments)

    def do_GET(self):
        path = self.folder / self.path.lstrip("/")
        if not path.is_file():
            return self.send_error(404)
        data, code = path.read_bytes(), 200
        if asked := self.headers.get("Range"):
            first, _, last = asked.removeprefix("bytes=").partition("-")
            total, code = len(data), 206
            begin, end = (int(first), min(int(last or total - 1), total - 1)) if first else (total - int(last), total - 1)
            data = data[begin : end + 1]
        self.send_response(code)
        if code == 206:
            self.send_header("Content-Range", f"bytes {begin}-{end}/{total}")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.given.append(len(data))  # before the reader can have it and look
        self.wfile.write(data)
        return None

    def log_message(self, *words):
        pass


class Server(ThreadingHTTPServer):
    request_queue_size = 128  # more than TensorStore asks for at once; one that is turned away waits for a second


@pytest.fixture
def bucket(tmp_path):
    """A server of tmp_path: its address, and the sizes of what it gave."""
    given = []
    server = Server(("127.0.0.1", 0), partial(Bucket, tmp_path, given))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", given
    server.shutdown()
    thread.join()
    server.server_close()


@with_library
def test_images_and_labels_come_back_in_any_order(tmp_path):
    images, labels = random_images(40), [i % 7 for i in range(40)]
    images[5] = 0  # what a store may leave out, being what an absent chunk means
    name = write(tmp_path / "store", images, labels)
    spec, split = load_foreign(name)
    assert (spec.name, spec.shape, spec.levels, spec.classes, len(split)) == (name, (3, 6, 5), 256, 7, 40)
    assert np.array_equal(everything(split), images)
    assert split.labels.tolist() == labels
    rows = torch.tensor([39, 5, 5, 0, 17])
    assert torch.equal(split.batch(rows), torch.from_numpy(images[rows]).float() / 255)
    part = split.subset(rows).subset(torch.tensor([4, 0]))
    assert isinstance(part, Streamed)
    assert np.array_equal(everything(part), images[[17, 39]])
    assert part.labels.tolist() == [labels[17], labels[39]]
    assert split.subset(rows[:0]).batch(rows[:0]).shape == (0, 3, 6, 5)


@with_library
def test_a_store_is_divided_by_its_content(tmp_path):
    images = random_images(40)
    name = write(tmp_path / "store", images)
    data = load(name)
    assert (len(data.train), len(data.heldout), data.spec.classes, data.train.labels) == (36, 4, 0, None)
    both = np.concatenate([everything(data.train), everything(data.heldout)])
    assert sorted(map(bytes, both)) == sorted(map(bytes, images))
    again = load(write(tmp_path / "elsewhere", images))
    assert data.content == again.content
    assert np.array_equal(everything(data.heldout), everything(again.heldout))
    assert len(load(name, holdout=0.5).heldout) == 20
    others = [
        write(tmp_path / "other-images", images[::-1]),
        write(tmp_path / "other-labels", images, [0] * 40),
        write(tmp_path / "other-layout", images, rows=2),
    ]
    assert len({data.content, *(load(other).content for other in others)}) == 4


@with_library
def test_a_second_store_as_the_held_out_split(tmp_path):
    train, test = random_images(5), random_images(3, seed=1)
    first = write(tmp_path / "train", train, [0, 1, 0, 1, 0])
    data = load(first, heldout=write(tmp_path / "test", test, [4, 4, 0]))
    assert np.array_equal(everything(data.train), train)
    assert np.array_equal(everything(data.heldout), test)
    assert data.spec.classes == 5
    mixed = load(foldered(members(train, [0, 1, 0, 1, 0]), tmp_path / "files"), heldout=first)
    assert np.array_equal(everything(mixed.train), everything(mixed.heldout))
    with pytest.raises(UsageError, match="no labels"):
        load(first, heldout=write(tmp_path / "bare", test))


@with_library
def test_a_remote_batch_costs_its_images_and_the_cache_is_bounded(tmp_path, bucket, monkeypatch):
    address, given = bucket
    images = random_images(64, (3, 40, 40))
    local = load(write(tmp_path / "store", images), holdout=0)
    shards = [file.stat().st_size for file in (tmp_path / "store" / "image" / "c").rglob("*") if file.is_file()]

    def cost(split, rows):
        given.clear()
        assert np.array_equal(split.integers(torch.tensor(rows)).numpy(), images[rows])
        return sum(given)

    remote = load(f"stream:{address}/store", holdout=0)
    assert remote.content == local.content
    assert cost(remote.train, [3, 22]) == 2 * images[0].nbytes  # the files' indices came with the hashed images
    assert cost(remote.train, [22, 3]) == 0
    every = list(range(64))
    cost(remote.train, every)
    assert cost(remote.train, every) == 0
    monkeypatch.setenv("PRIORKIT_STREAM_CACHE", str(sum(shards) / 4 / 2**30))
    small = load(f"stream:{address}/store", holdout=0)
    cost(small.train, every)
    assert cost(small.train, every) > sum(shards) / 2


@with_library
def test_training_on_a_store_is_training_on_the_files(tmp_path):
    train, test = random_images(24, (1, 8, 8)), random_images(8, (1, 8, 8), seed=1)
    options = [
        "--backbone", "twolayer", "--set", "backbone.hidden=16", "--set", "backbone.latents=[2, 3]", "--prior", "gaussian",
        "--set", "trainer.backbone_steps=4", "--set", "trainer.backbone_batch=8", "--set", "engine.log_every=1",
        "--set", "engine.threads=1",
    ]  # fmt: skip
    logs = []
    pairs = {
        "files": [foldered(members(train), tmp_path / "train-files"), foldered(members(test), tmp_path / "test-files")],
        "stores": [write(tmp_path / "train-store", train), write(tmp_path / "test-store", test)],
    }
    for kind, (first, second) in pairs.items():
        out = tmp_path / kind
        words = ["train", "--quiet", "--data", first, "--set", f"data.heldout={second}", "--out", str(out), *options]
        done = CliRunner().invoke(app, words)
        assert done.exit_code == 0, done.output
        lines = (out / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        logs.append([{key: value for key, value in json.loads(line).items() if "second" not in key} for line in lines])
    assert len(logs[0]) >= 4
    assert logs[0] == logs[1]


def text_of(name, **options):
    with pytest.raises(UsageError) as refused:
        load(name, **options)
    text = str(refused.value)
    assert "\n" not in text
    assert name in text
    return text


@with_library
def test_what_is_no_store(tmp_path):
    assert "no such folder" in text_of(f"stream:{tmp_path}/nowhere")
    assert "does not name a store" in text_of("stream:")
    assert "unsupported URL scheme" in text_of("stream:ftpx://a/b")
    assert "does not contain image/zarr.json" in text_of(f"stream:{tmp_path}")
    assert "does not contain image/zarr.json" in text_of(write(tmp_path / "named", random_images(3), name="pictures"))
    assert "got float32 (3, 3, 6, 5)" in text_of(write(tmp_path / "floats", random_images(3).astype(np.float32)))
    assert "got uint8 (3, 6, 5)" in text_of(write(tmp_path / "flat", random_images(3)[:, 0]))
    (tmp_path / "named" / "image").mkdir()
    (tmp_path / "named" / "image" / "zarr.json").write_text('{"node_type": "group", "zarr_format": 3}')
    assert "that is no array" in text_of(f"stream:{tmp_path}/named")


@with_library
def test_labels_that_do_not_fit(tmp_path):
    images = random_images(3)
    assert "expected 3 integer labels" in text_of(write(tmp_path / "few", images, [0, 1]))
    assert "expected 3 integer labels" in text_of(write(tmp_path / "real", images, [0.0, 1.0, 2.0]))
    assert "start at 0" in text_of(write(tmp_path / "negative", images, [0, -1, 2]))


@with_library
def test_an_absent_or_damaged_file_is_never_read_as_black_images(tmp_path):
    name = write(tmp_path / "store", random_images(40))
    split = load_foreign(name)[1]
    file = tmp_path / "store" / "image" / "c" / "1" / "0" / "0" / "0"
    whole = file.read_bytes()
    for wrong in (whole[:-9], b""):
        file.write_bytes(wrong)
        with pytest.raises(UsageError, match="images cannot be read"):
            load_foreign(name)[1].batch(torch.tensor([20]))
    shutil.rmtree(file.parents[2])
    with pytest.raises(UsageError, match="is missing"):
        load_foreign(name)
    assert split.batch(torch.tensor([0])).shape == (1, 3, 6, 5)


@with_library
@pytest.mark.parametrize("how", ["written over", "renamed", "moved here with its old time", "another size"])
@pytest.mark.parametrize("seen", [True, False])
def test_a_file_that_is_replaced_while_a_run_reads_is_noticed(tmp_path, how, seen):
    """Every image of it is as whole as those before, so that a run went on with others and without a word."""
    images = random_images(160)
    name = write(tmp_path / "store", images)
    write(tmp_path / "other", 255 - images)
    split = load_foreign(name)[1].subset(torch.arange(1, 160))
    rows = torch.tensor([24, 25])  # of the second file, of which the opening has read one image, or of one not yet read
    file, other = (tmp_path / place / "image" / "c" / "1" / "0" / "0" / "0" for place in ("store", "other"))
    if seen:
        assert np.array_equal(split.integers(rows).numpy(), images[rows + 1])
    time.sleep(0.02)
    if how == "another size":
        file.write_bytes(file.read_bytes() + b"more")
    elif how == "written over":
        file.write_bytes(other.read_bytes())
    else:
        if how != "renamed":
            os.utime(other, ns=(file.stat().st_atime_ns, file.stat().st_mtime_ns))
        other.replace(file)
    for indices in (rows, rows[:1]):
        with pytest.raises(UsageError, match=rf"^{name}: image/c/1/0/0/0 has changed since the store was opened.*--resume"):
            split.batch(indices)
    assert np.array_equal(split.integers(torch.tensor([0, 40])).numpy(), images[[1, 41]]), "the other files are as they were"


@with_library
def test_a_file_that_no_one_has_read_yet_counts_too(tmp_path):
    images = random_images(64 * SHARD)
    split = load_foreign(write(tmp_path / "store", images))[1]
    file = tmp_path / "store" / "image" / "c" / "1" / "0" / "0" / "0"
    other, old = file.with_name("other"), file.stat()
    other.write_bytes(file.read_bytes())
    os.utime(other, ns=(old.st_atime_ns, old.st_mtime_ns - 10**12))
    time.sleep(0.02)
    other.replace(file)
    with pytest.raises(UsageError, match="has changed since the store was opened"):
        split.batch(torch.tensor([SHARD]))


@with_library
@pytest.mark.parametrize("encoding", [{"name": "v2"}, {"name": "default", "configuration": {"separator": "."}}])
def test_files_are_found_by_the_array_s_own_way_of_naming_them(tmp_path, encoding):
    images = random_images(8, (3, 4, 4))
    metadata = {
        "shape": images.shape,
        "data_type": "uint8",
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [4, 2, 4, 4]}},
        "chunk_key_encoding": encoding,
    }
    kvstore = {"driver": "file", "path": str(tmp_path / "store" / "image")}
    options = {"driver": "zarr3", "kvstore": kvstore, "metadata": metadata, "store_data_equal_to_fill_value": True}
    tensorstore.open(options, create=True).result()[...] = images
    files = sorted(path for path in (tmp_path / "store" / "image").rglob("*") if path.is_file() and path.name != "zarr.json")
    assert len(files) == 4
    for file, row in zip(files, [0, 0, 4, 4], strict=True):
        split = load_foreign(f"stream:{tmp_path}/store")[1]
        time.sleep(0.02)
        file.write_bytes(file.read_bytes())
        with pytest.raises(UsageError, match=f"image/{file.relative_to(tmp_path / 'store' / 'image')} has changed"):
            split.batch(torch.tensor([row]))
        split.batch(torch.tensor([4 - row]))


@with_library
def test_a_run_whose_store_is_replaced_stops_and_goes_on(tmp_path):
    """With the old file back it ends with the weights of a run that nothing happened to."""
    images = random_images(48, (1, 8, 8))
    options = [
        "backbone=twolayer", "backbone.hidden=4", "backbone.latents=[2, 2]", "prior=gaussian", "trainer.backbone_steps=6",
        "trainer.backbone_batch=16", "engine.log_every=1", "engine.threads=1", "engine.checkpoint_seconds=0",
    ]  # fmt: skip
    config = resolve(None, options, data=write(tmp_path / "store", images))
    file = tmp_path / "store" / "image" / "c" / "1" / "0" / "0" / "0"
    whole = file.read_bytes()

    def replace(phase, step, figures):
        if step == 3:
            time.sleep(0.02)
            file.write_bytes(whole[::-1])

    fit(config, tmp_path / "undisturbed")
    with pytest.raises(UsageError, match="has changed since the store was opened"):
        fit(config, tmp_path / "run", on_log=replace)
    file.write_bytes(whole)
    fit(config, tmp_path / "run", resume=True)
    undisturbed, run = (tmp_path / name / "weights" / "backbone.safetensors" for name in ("undisturbed", "run"))
    assert undisturbed.read_bytes() == run.read_bytes()


@with_library
def test_a_server_that_does_not_answer(bucket, monkeypatch):
    monkeypatch.setattr(stores, "RETRIES", {"max_retries": 1, "initial_delay": "1ms", "max_delay": "1ms"})
    assert "cannot be reached" in text_of("stream:http://127.0.0.1:1/store")
    assert "does not contain image/zarr.json" in text_of(f"stream:{bucket[0]}/store")


@with_library
@pytest.mark.parametrize("size", ["much", "-1", "nan", "inf", "1e11", "1e300"])
def test_a_cache_of_no_size(tmp_path, monkeypatch, size):
    name = write(tmp_path / "store", random_images(3))
    monkeypatch.setenv("PRIORKIT_STREAM_CACHE", size)
    with pytest.raises(UsageError, match="size of the cache in GiB"):
        load(name)


def test_without_the_library(monkeypatch, tmp_path):
    monkeypatch.setitem(__import__("sys").modules, "tensorstore", None)
    assert "pip install 'priorkit[streaming]'" in text_of(f"stream:{tmp_path}")


@with_library
def test_made_up_outsiders_of_a_store(tmp_path):
    images = random_images(6)
    streamed = load(write(tmp_path / "store", images), holdout=0.5).heldout
    made = made_up("ood:constant", streamed)
    assert len(made) == len(streamed) and made.shape == streamed.shape
