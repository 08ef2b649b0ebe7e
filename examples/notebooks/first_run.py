# %% [markdown]
# # A first run
#
# A two-layer generator of handwritten digits, 8×8 pixels, and a prior learnt on it by noise-contrastive estimation. In full
# this takes some minutes on two cores; `PRIORKIT_SHORT=1` shows the same with a model that has learnt next to nothing.

# %%
import os
from pathlib import Path

import torch

import priorkit

SHORT = bool(os.environ.get("PRIORKIT_SHORT"))
RUNS = Path(os.environ.get("PRIORKIT_RUNS", "runs/notebooks"))

OPTIONS = {"engine.threads": 1}
if SHORT:
    OPTIONS |= {
        "backbone": {"hidden": 32, "latents": [4, 6]},
        "prior": {"energy.width": 16, "pool_size": 300, "stages": 2},
        "sampler.steps": 5,
        "trainer": {"backbone_steps": 40, "prior_steps": 40, "posterior_samples": 1},
    }

# %% [markdown]
# Training. The same cell again reads the finished run; one that was stopped goes on.

# %%
model = priorkit.train(
    backbone="twolayer",
    prior="multistage",
    data="digits",
    out=RUNS / "digits",
    options=OPTIONS,
    samples=100 if SHORT else 2_000,
)
model

# %% [markdown]
# What it measured. `fd_digits` is a Fréchet distance on the features of a small digit classifier: of samples of the Gaussian
# prior, of the learned prior, and of the posterior, whose samples are the best reachable.

# %%
for name in ("fd_digits_gaussian", "fd_digits", "fd_digits_posterior"):
    print(f"{name:<20} {model.figures[name]['value']:6.2f}")

# %% [markdown]
# Samples. The same seed gives the same pictures, whatever their number.

# %%
model.show(64, seed=0)

# %% [markdown]
# Beside the data, and beside the Gaussian prior of the same generator.

# %%
model.overview(36, seed=1)

# %% [markdown]
# All latent layers lie in one tensor u; the learned prior is `r(u) N(u; 0, I)`.

# %%
images = model.data.heldout.batch(torch.arange(8))
u = model.infer(images).u
print("u:", tuple(u.shape), " log r(u):", model.log_ratio(u).round(decimals=1).tolist())
