"""The methods as their authors' released codes do them, short and plain: the yardstick for ratios of speed.

A Python loop over the layers with one small network each, energies that read z, the whole image decoder run and
differentiated at every Langevin step, its filters normalised at every call, images encoded and negatives drawn anew at
every training step, one optimiser per layer.  Nothing is folded, cached or cut.  `tests/benchmarks/test_reference.py` holds
the numbers against the product's under the same settings.
"""

from reference.diffusion import DiffusionReference
from reference.generator import PlainGenerator
from reference.joint import JointReference
from reference.jointebm import JointEbmReference
from reference.multistage import MultistageReference

__all__ = ["DiffusionReference", "JointEbmReference", "JointReference", "MultistageReference", "PlainGenerator"]
