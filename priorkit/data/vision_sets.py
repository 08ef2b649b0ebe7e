"""The sets of torchvision that have a name here."""

from priorkit.data.vision import VisionSet

__all__ = ["Celeba", "Cifar10", "Cifar100", "FashionMnist", "LsunChurch", "Mnist", "Svhn"]


class Mnist(VisionSet):
    """Handwritten digits, (1, 28, 28), ten classes."""

    name, maker = "mnist", "MNIST"


class FashionMnist(VisionSet):
    """Pieces of clothing, (1, 28, 28), ten classes."""

    name, maker = "fashion-mnist", "FashionMNIST"


class Cifar10(VisionSet):
    """Small photographs, (3, 32, 32), ten classes."""

    name, maker = "cifar10", "CIFAR10"


class Cifar100(VisionSet):
    """Small photographs, (3, 32, 32), a hundred classes."""

    name, maker = "cifar100", "CIFAR100"


class Svhn(VisionSet):
    """House numbers, (3, 32, 32), ten classes."""

    name, maker = "svhn", "SVHN"
    train, heldout = {"split": "train"}, {"split": "test"}


class Celeba(VisionSet):
    """Faces, cropped and resized to (3, 64, 64), without labels."""

    name, maker = "celeba", "CelebA"
    train, heldout = {"split": "train"}, {"split": "test"}
    files, cut = ("celeba", "celeba"), "window (15, 40)-(163, 188)"

    @staticmethod
    def crop(width: int, height: int) -> tuple[int, int, int, int]:
        """Return the 148x148 window around the face of an aligned 178x218 photograph."""
        return 15, 40, 163, 188


class LsunChurch(VisionSet):
    """Churches from outside, cropped and resized to (3, 64, 64), without labels; read from LSUN's folders."""

    name, maker = "lsun-church", None
    train, heldout = {}, {}
    files, cut = ("church_outdoor_train_lmdb", "church_outdoor_val_lmdb"), "centre square"

    @staticmethod
    def crop(width: int, height: int) -> tuple[int, int, int, int]:
        """Return the largest square in the middle."""
        side = min(width, height)
        left, top = (width - side) // 2, (height - side) // 2
        return left, top, left + side, top + side
