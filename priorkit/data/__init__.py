"""Data sets: digits, 2-D toys with exact densities, archives and folders of images, torchvision's sets, arrays."""

from priorkit.data.dataset import Dataset, Truth, array
from priorkit.data.examples import Images, Points, Split
from priorkit.data.names import load, load_foreign
from priorkit.data.toys import Toy, toy

__all__ = ["Dataset", "Images", "Points", "Split", "Toy", "Truth", "array", "load", "load_foreign", "toy"]
