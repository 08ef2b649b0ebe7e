"""Expectation-maximisation, and the choice of the number of components."""

import warnings
from collections.abc import Iterable
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["CHOICES", "fitted"]

CHOICES = (1, 2, 5, 10, 20, 50)
"""Numbers of components that `auto` tries."""
PER_COMPONENT = 2
"""Smallest number of points per component."""

_KINDS = {"full": "full", "diagonal": "diag", "tied": "tied"}

Kind = Literal["full", "diagonal", "tied"]


def fitted(
    points: Tensor, heldout: Tensor, *, choices: Iterable[int], kind: Kind, iterations: int, floor: float, seed: int
) -> dict[str, Tensor]:
    """Return the buffers of the `Mixture` of points (N, D), float64.

    Of several numbers of components, the one with the highest mean log density of held-out points (M, D) is selected;
    without held-out points the one with the lowest Bayesian information criterion. A choice beyond N / 2 is left out if
    there is another.
    """
    x, unseen = (part.detach().cpu().double().numpy() for part in (points, heldout))
    possible = [count for count in choices if PER_COMPONENT * count <= len(x)] or [1]
    models = [_model(x, count, kind, iterations, floor, seed) for count in possible]
    if len(models) > 1:
        models.sort(key=lambda model: model.bic(x) if not len(unseen) else -model.score(unseen))
    return _buffers(models[0])


def _model(x: NDArray[np.float64], count: int, kind: Kind, iterations: int, floor: float, seed: int) -> Any:
    from sklearn.exceptions import ConvergenceWarning  # type: ignore[import-untyped]
    from sklearn.mixture import GaussianMixture  # type: ignore[import-untyped]

    model = GaussianMixture(
        count, covariance_type=_KINDS[kind], reg_covar=floor, max_iter=iterations, init_params="k-means++", random_state=seed
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
