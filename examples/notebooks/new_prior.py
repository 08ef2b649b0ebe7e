# %% [markdown]
# # A new prior in forty lines
#
# A prior is a distribution over u; it sees the shapes of the layers and no backbone. Here: one Gaussian with a full
# covariance, fitted to the posterior of the data by maximum likelihood. It is known by name as soon as it is registered, and
# compared like any other. `PRIORKIT_SHORT=1` takes next to no steps.

# %%
import os
from pathlib import Path

import torch

import priorkit
from priorkit.core import Draw, Loss, Objective, OptimiserSettings, Prior, Settings

SHORT = bool(os.environ.get("PRIORKIT_SHORT"))
RUNS = Path(os.environ.get("PRIORKIT_RUNS", "runs/notebooks"))

# %% [markdown]
# With u = m + L e, e ~ N(0, I) and L lower triangular, the density ratio is log r(u) = log N(u; m, L Lᵀ) - log N(u; 0, I).
# Since L is triangular, the first columns of u fix the first of e: lower layers under kept upper ones are exact draws too.


# %%
class CovarianceSettings(Settings):
    """One Gaussian with a full covariance."""

    optimiser: OptimiserSettings = OptimiserSettings(lr=2e-2, schedule="cosine")
    """How it is fitted."""


class CovariancePrior(Prior):
    """N(m, L L^T) over u."""

    Config = CovarianceSettings
    settings: CovarianceSettings

    def __init__(self, settings, space):
        super().__init__(settings, space)
        dim = space.layout.dim
        self.mean = torch.nn.Parameter(torch.zeros(dim))
        self.log_diagonal = torch.nn.Parameter(torch.zeros(dim))
        self.below = torch.nn.Parameter(torch.zeros(dim, dim))

    def factor(self):
        """L, (D, D)."""
        return self.below.tril(-1) + torch.diag(self.log_diagonal.exp())

    def log_ratio(self, u, *, stages=None):
        """log r(u), (B, D) -> (B,)."""
        if stages == 0:
            return u.new_zeros(len(u))
        noise = torch.linalg.solve_triangular(self.factor(), (u - self.mean).T, upper=False).T
        return 0.5 * (u.square() - noise.square()).sum(1) - self.log_diagonal.sum()

    @torch.no_grad()
    def draw(self, n, sampling):
        """n exact draws, those of fixed upper layers by the noise that leads to them."""
        noise, condition = self.standard_normal(n, sampling.generator), sampling.condition
        if sampling.labels:
            self.label_log_prob(noise, sampling.labels)  # refuses them
        if sampling.stages == 0:
            return Draw(sampling.fix(noise))
        if condition is not None and condition.top is not None:
            d = condition.top.shape[1]
            top = (condition.top.to(noise) - self.mean[:d]).T
            noise[:, :d] = torch.linalg.solve_triangular(self.factor()[:d, :d], top, upper=False).T
        return Draw(sampling.fix(self.mean + noise @ self.factor().T))

    def objectives(self):
        """The cross entropy of a batch of posterior samples."""
        parameters = list(self.parameters())
        return [Objective("likelihood", parameters, self.settings.optimiser, lambda b, _: Loss(-self.log_ratio(b.u).mean()))]


# %%
priorkit.register("prior.covariance", CovariancePrior)

# %% [markdown]
# The checks that every prior must pass: shapes, gradients, seeds, saving, fixed layers, and whether draws and `log_ratio`
# belong together.

# %%
from priorkit.testing import NotApplicable, checks

passed = 0
for check in checks("prior"):
    try:
        check(CovariancePrior)
        passed += 1
    except NotApplicable as reason:
        print(f"{check.name}: not applicable, {reason}")
print(f"{passed} checks passed")

# %% [markdown]
# A row in a comparison, on one backbone for all.

# %%
options = {"engine.threads": 1}
if SHORT:
    options |= {"backbone.hidden": 16, "backbone.latents": [2, 3], "trainer.posterior_samples": 1}
    options |= {"trainer.backbone_steps": 20}

comparison = priorkit.compare(
    priors=["gaussian", "covariance"],
    backbone="twolayer",
    data="digits",
    budget="steps:20" if SHORT else "steps:2000",
    out=RUNS / "comparison",
    options=options,
    samples=100 if SHORT else 2_000,
)
comparison

# %% [markdown]
# Its run is a run like any other.

# %%
model = priorkit.load(next((RUNS / "comparison" / "runs").glob("covariance-*")))
model.overview(36)
