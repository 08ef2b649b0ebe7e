"""The losses of the energies, the generators and the network of the mutual information."""

import torch
from torch import Tensor

from priorkit.core import Latents, Loss, Step
from priorkit.energies import precise
from priorkit_vdrme.entropy import jsd_information, nearest_neighbour_entropy
from priorkit_vdrme.modes import fixed_parameters
from priorkit_vdrme.pairs import Pairs
from priorkit_vdrme.scales import ScaleModel

__all__ = ["energy_loss", "generator_loss", "information_loss"]


def energy_loss(prior: ScaleModel, batch: Latents, step: Step) -> Loss:
    """Return E(real) - E(fake) and the gradient penalty (paper, eq. 19), with the classifier's cross-entropy at real
    points."""
    settings = prior.settings
    real = prior.pairs(batch, step.generator)
    fake, metrics = _fakes(prior, real, step)
    x = real.x.requires_grad_()
    ratios, faked = prior.log_ratios(x, real.level), prior.energies(fake, real.level).mean()
    energy = (0.5 * real.x.detach().square().sum(1) - ratios).mean()
    value = energy - faked
    metrics |= {"real": energy.detach(), "fake": faked.detach()}
    if settings.gradient_penalty:
        (slope,) = torch.autograd.grad(ratios.sum(), x, create_graph=True)
        metrics["slope"] = (squares := slope.square().sum(1).mean()).detach()
        value = value + settings.gradient_penalty * squares
    if real.labels is not None:
        cross_entropy = -prior.label_log_probs(real.x.detach(), real.level, real.labels).mean()
        metrics["label_loss"] = cross_entropy.detach()
        value = value + settings.classes_weight * cross_entropy
    return Loss(value, metrics)


@torch.no_grad()
def _fakes(prior: ScaleModel, real: Pairs, step: Step) -> tuple[Tensor, dict[str, Tensor]]:
    """Return samples from x_{i+1} of real pairs, (B, D), refined if requested, and metrics of the refinement."""
    with fixed_parameters(prior.generator):
        fake = prior.step(real.above, _noise(real.above, step), real.level, real.labels)
    if not prior.settings.refine:
        return fake, {}
    fake, acceptance = prior.refined(
        fake, real.above, real.level, real.labels, steps=prior.settings.refine, generator=step.generator
    )
    return fake, {"acceptance": acceptance}


def generator_loss(prior: ScaleModel, batch: Latents, step: Step) -> Loss:
    """Return the conditional energy of fakes minus their entropy (paper, eq. 18), on as many samples as the batch has
    rows."""
    settings = prior.settings
    count = settings.draws if prior.nearest else 1
    real = prior.pairs(batch, step.generator).repeated(max(1, len(batch) // count), count)
    noise = _noise(real.above, step)
    fake = prior.step(real.above, noise, real.level, real.labels)
    with fixed_parameters(prior.energy, prior.information, prior.classifier):
        energy = prior.energies(fake, real.level)
        if real.labels is not None:
            energy = energy - prior.label_log_probs(fake, real.level, real.labels)
        recovery = prior.schedule.recovery(fake, real.above, real.level)
        if prior.nearest:
            entropy = nearest_neighbour_entropy(fake.view(-1, count, fake.shape[1])).mean()
        else:
            entropy = _shared_information(prior, fake, noise, real, step)
    energy, recovery = energy.mean(), recovery.mean()
    value = settings.energy_weight * energy + settings.recovery_weight * recovery - settings.entropy_weight * entropy
    return Loss(value, {"recovery": recovery.detach(), "entropy": entropy.detach()})


def information_loss(prior: ScaleModel, batch: Latents, step: Step) -> Loss:
    """Return minus the bound on the mutual information of fakes and their noise (paper, eq. 14)."""
    real = prior.pairs(batch, step.generator)
    noise = _noise(real.above, step)
    with torch.no_grad():
        fake = prior.step(real.above, noise, real.level, real.labels)
    return Loss(-_shared_information(prior, fake, noise, real, step))


def _shared_information(prior: ScaleModel, fake: Tensor, noise: Tensor, real: Pairs, step: Step) -> Tensor:
    """Return the Jensen-Shannon bound; noise of other rows is independent of a fake given x_{i+1}.

    The network reads x_i as the noise that would lead from it to x_{i+1}, which is of order 1 at every scale.
    """
    if prior.information is None:
        raise RuntimeError("VdrmePrior: there is no entropy network")
    kernel, network = prior.schedule, prior.information
    up = (real.above - kernel.carry[real.level, None] * fake) / kernel.spread[real.level, None]
    others = noise[torch.randperm(len(noise), generator=step.generator, device=noise.device)]
    joint, independent = (
        precise(network(up, real.level, beside=torch.cat([real.above, z], dim=1))) for z in (noise, others)
    )
    return jsd_information(joint, independent)


def _noise(like: Tensor, step: Step) -> Tensor:
    return torch.randn(like.shape, generator=step.generator, dtype=like.dtype, device=like.device)
