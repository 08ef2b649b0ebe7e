"""Expectation-maximisation, and the choice of the number of components."""

import warnings
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["fitted"]

CHOICES = (1, 2, 5, 10, 20, 50)
"""Numbers of components that `auto` tries."""
LARGER = (100, 200)
"""Numbers that it tries next, one after the other, as long as the last one was the best so far: a density with edges in a
few dimensions needs them, and all other data are spared the time."""
PER_COMPONENT = 2
"""Smallest number of points per component."""
COMPARED = 5_000
"""Largest number of points on which numbers of components are compared: the time grows with points times components."""

_KINDS = {"full": "full", "diagonal": "diag", "tied": "tied"}

Kind = Literal["full", "diagonal", "tied"]


def fitted(
    points: Tensor,
    heldout: Tensor,
    *,
    components: int | Literal["auto"],
    kind: Kind,
    iterations: int,
    floor: float,
    seed: int,
) -> dict[str, Tensor]:
    """Return the buffers of the `Mixture` of points (N, D), float64.

    With `auto`, the number of components with the highest mean log density of held-out points (M, D) is selected; without
    held-out points the one with the lowest Bayesian information criterion. A number beyond N / 2 is left out; 1 is not.
    They are compared on some of the points, and the best is fitted to all of them from where it stands.
    """
    x, unseen = (part.detach().cpu().double().numpy() for part in (points, heldout))
    some = x if len(x) <= COMPARED else np.random.default_rng(seed).permutation(x)[:COMPARED]

    def possible(count: int) -> bool:
        return count == 1 or PER_COMPONENT * count <= len(some)

    def model(count: int) -> Any:
        return _model(some, count, kind, iterations, floor, seed)

    def loss(fit: Any) -> float:
        return float(-fit.score(unseen) if len(unseen) else fit.bic(some))

    if components != "auto":
        return _buffers(_model(x, components if PER_COMPONENT * components <= len(x) else 1, kind, iterations, floor, seed))
    best = min(map(model, filter(possible, CHOICES)), key=loss)
    tried = CHOICES[-1]
    for count in filter(possible, LARGER):
        if best.n_components != tried:
            break
        best, tried = min(best, model(count), key=loss), count
    if len(some) < len(x):
        best = _model(x, best.n_components, kind, iterations, floor, seed, start=best)
    return _buffers(best)


def _model(
    x: NDArray[np.float64], count: int, kind: Kind, iterations: int, floor: float, seed: int, *, start: Any = None
) -> Any:
    """Return a mixture fitted to x, from the parameters of `start` if it is given."""
    from sklearn.exceptions import ConvergenceWarning  # type: ignore[import-untyped]
    from sklearn.mixture import GaussianMixture  # type: ignore[import-untyped]

    parameters = () if start is None else ("weights", "means", "precisions")
    model = GaussianMixture(
        count,
        covariance_type=_KINDS[kind],
        reg_covar=floor,
        max_iter=iterations,
        init_params="k-means++",
        random_state=seed,
        **{f"{name}_init": getattr(start, f"{name}_") for name in parameters},
    )
    with warnings.catch_warnings():
        # The held-out likelihood is a valid criterion also for a model that has not converged.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(x)


def _buffers(model: Any) -> dict[str, Tensor]:
    means = torch.from_numpy(model.means_)
    covariances = torch.from_numpy(np.asarray(model.covariances_))
    if model.covariance_type == "diag":
        factors = covariances.sqrt()
    else:
        factors = torch.linalg.cholesky(covariances)
        factors = factors.expand(len(means), *factors.shape[-2:]).clone()
    return {"log_weights": torch.from_numpy(model.weights_).log(), "means": means, "factors": factors}
