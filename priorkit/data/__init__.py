"""Data sets: digits, 2-D toys with exact densities, images in archives, folders and stores, torchvision's sets, arrays."""

from priorkit.data.dataset import Dataset, Truth, array
from priorkit.data.examples import Images, Points, Split
from priorkit.data.names import load, load_foreign
from priorkit.data.streamed import Streamed
from priorkit.data.toys import Toy, toy

__all__ = ["Dataset", "Images", "Points", "Split", "Streamed", "Toy", "Truth", "array", "load", "load_foreign", "toy"]
