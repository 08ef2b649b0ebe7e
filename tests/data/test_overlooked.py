"""What is easily overlooked in a set of images: turned ones, files of another kind, copies on both sides of the split."""

import io

import numpy as np
import pytest
from packing import encoded, foldered, members, random_images
from PIL import Image

from priorkit.data import Images, load, load_foreign
from priorkit.data.copies import HashedImages, tell_of_copies
from priorkit.errors import UsageError
from priorkit.runtime.user_path import user_path


def photograph(kind: str, orientation: int | None, exif: bytes | None = None) -> bytes:
    image, stream = Image.fromarray(random_images(1)[0].transpose(1, 2, 0)), io.BytesIO()
    found = Image.Exif()
    if orientation is not None:
        found[0x0112] = orientation
    image.save(stream, kind, exif=exif or found)
    return stream.getvalue()


@pytest.mark.parametrize("kind", ["jpeg", "png"])
@pytest.mark.parametrize("index", [0, 1])
def test_an_image_that_is_shown_turned_is_refused(pack, kind, index):
    files = members(random_images(3))
    name = list(files)[index]
    for orientation in (2, 6, 8):
        with pytest.raises(UsageError, match=f"image {index}, '{name}': .*orientation {orientation}\\).*auto-orient"):
            load(pack({**files, name: photograph(kind, orientation)}))


@pytest.mark.parametrize("orientation", [None, 0, 1, 9])
def test_an_upright_image_is_read_with_its_exif_data(pack, orientation):
    files = members(random_images(3))
    assert len(load_foreign(pack({**files, "a.jpg": photograph("jpeg", orientation)}))[1]) == 4


def test_damaged_exif_data_cost_no_image(pack):
    files = members(random_images(3))
    assert len(load_foreign(pack({**files, "a.jpg": photograph("jpeg", None, b"Exif\0\0rubbish")}))[1]) == 4


@pytest.mark.parametrize(("data", "told"), [(b"", "it is empty"), ("gif", "of another kind"), ("webp", "of another kind")])
def test_a_file_that_is_no_image_of_its_name(pack, data, told):
    files = members(random_images(3))
    data = data if isinstance(data, bytes) else encoded(random_images(1)[0], data)
    with pytest.raises(UsageError, match=f"image 3, 'z.png': .*{told}") as error:
        load(pack({**files, "z.png": data}))
    assert "BytesIO" not in str(error.value)


def test_copies_are_counted_as_a_slow_loop_does():
    random = np.random.default_rng(0)
    one, other = (random.integers(0, 2, (count, 1, 3, 3), dtype=np.uint8) for count in (2100, 300))
    slow = sum(bool((other == image).all(axis=(1, 2, 3)).any()) for image in one)
    assert 0 < slow < 2100 and HashedImages(Images(other)).count(Images(one)) == slow


def test_held_out_images_that_are_trained_on_are_told_of(pack, caplog):
    images = random_images(10)
    tell_of_copies(load(pack(members(images), "plain")))
    assert not caplog.messages
    repeated = load(pack(members(np.repeat(images, 4, axis=0)), "repeated"))
    assert not caplog.messages, "only a training looks for them"
    tell_of_copies(repeated)
    (message,) = caplog.messages
    assert message.startswith(pack(members(images), "repeated")) and "4 of 4 held-out images are also among" in message


def test_a_second_source_that_holds_the_first_is_told_of(tmp_path, caplog):
    images = random_images(10)
    first = foldered(members(images), tmp_path / "train")
    tell_of_copies(load(first, heldout=foldered(members(random_images(5, seed=1)), tmp_path / "others")))
    assert not caplog.messages
    mixed = foldered(members(np.concatenate([images[:3], random_images(2, seed=1)])), tmp_path / "mixed")
    tell_of_copies(load(first, heldout=mixed))
    assert "3 of 5 held-out images are also among the training images" in caplog.text


@pytest.mark.parametrize("name", ["zip:a\0b", "folder:a\0b"])
def test_a_null_character_names_no_file(name):
    with pytest.raises(UsageError, match="null character"):
        load(name)
    with pytest.raises(UsageError, match="null character"):
        user_path(name)


@pytest.mark.parametrize("name", ["zip:https://example.org/a.zip", "folder:s3://faces", "https://example.org/a.zip"])
def test_an_address_is_no_file(name):
    with pytest.raises(UsageError, match="an address") as refused:
        load(name)
    told = str(refused.value)
    assert "Download" in told and "stream:URL" in told and "\n" not in told
