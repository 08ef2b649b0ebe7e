# %% [markdown]
# # Out-of-distribution scores
#
# A prior learns where the posterior of digits lies. Does it give a low `log r(u)` to what is none? `PRIORKIT_SHORT=1` shows
# the steps with a model that has learnt next to nothing.

# %%
import os
from pathlib import Path

import torch
from matplotlib import pyplot

import priorkit
from priorkit.workflows.measuring.ood import detect

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
# The run of the first notebook: read where it is there, trained where it is not.

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
# `score` is log r at a posterior sample; higher is more in-distribution. Here: held-out digits against the same pictures
# with their pixels in another order, which have the same grey levels and no strokes.

# %%
digits = model.data.heldout.batch(torch.arange(100 if SHORT else 300))
order = torch.randperm(64, generator=torch.Generator().manual_seed(0))
shuffled = digits.flatten(1)[:, order].view_as(digits)

inside, outside = model.score(digits, seed=0), model.score(shuffled, seed=0)
auroc = (inside[:, None] > outside[None]).float().mean()
print(f"a held-out digit scores higher than a shuffled one in {100 * auroc:.1f} % of all pairs")

# %%
figure, axis = pyplot.subplots(figsize=(6, 3), layout="constrained")
for title, scores in {"held-out digits": inside, "shuffled pixels": outside}.items():
    axis.hist(scores.numpy(), bins=40, alpha=0.6, label=title)
axis.set(xlabel="log r(u)", ylabel="images")
axis.legend()
pyplot.show()

# %% [markdown]
# Many scores at once, each over several choices of layers, with intervals: what `priorkit ood` prints. Outsiders made of the
# run's own data need no other set.

# %%
outsiders = ["ood:interpolated", "ood:contrast"]
for item in detect(model.session, outsiders, images=50 if SHORT else 300, integrate=4 if SHORT else 32):
    print(item.data)
    for one in item.detected:
        if one.layers == "all":
            auroc = one.estimates["auroc"]
            print(f"  {one.name:<20} AUROC {auroc.value:.3f}  95 % interval {auroc.low:.3f} to {auroc.high:.3f}")
