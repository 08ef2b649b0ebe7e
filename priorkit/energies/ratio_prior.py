r"""A prior that learns its ratio to a base, :math:`p(u) \propto b(u)\, r(u)`, with b a normalised prior or N(0, I).

The base's stages come first; then it is fixed, and the stages of the ratio follow.  After the base's stages the prior is the
base, and after none N(0, I), so that what is measured after each stage includes the base alone.
"""

from abc import abstractmethod
from typing import final

from torch import Tensor, nn

from priorkit.core import LatentSpace, Objective, Prior, StageContext, set_learning
from priorkit.core.base_density import base_stages, without_chains
from priorkit.energies.base_settings import RatioSettings, build_base_prior

__all__ = ["RatioPrior"]


class RatioPrior(Prior):
    """Override the methods with `ratio` in their names; their stages are counted from the first of the base."""

    settings: RatioSettings

    def __init__(self, settings: RatioSettings, space: LatentSpace) -> None:
        super().__init__(settings, space)
        self._in_base = False

    def hold_base_prior(self) -> None:
        """Build the base and add its stages. Called after the ratio's networks are built, so that their initial weights do
        not depend on it."""
        self.base_prior = build_base_prior(self.settings, self.space)
        self.stages = self.base_stages + self.stages

    @abstractmethod
    def ratio_term(self, u: Tensor, *, stages: int | None = None) -> Tensor:
        """Return log p(u) - log b(u) up to a constant, (B, D) -> (B,); 0 if `stages` is at most `base_stages`."""

    def layer_ratio_terms(self, u: Tensor, *, stages: int | None = None) -> Tensor | None:
        """Return the terms of `ratio_term`, one per layer, (B, D) -> (B, L), as `layer_log_ratio` does; None if it is not
        such a sum."""
        return None

    @abstractmethod
    def ratio_objectives(self) -> list[Objective]:
        """Return the objectives of the current stage of the ratio."""

    def begin_ratio(self, stage: int, context: StageContext) -> None:
        """Set up a stage of the ratio, as `begin_stage` does."""

    def end_ratio(self, stage: int, context: StageContext) -> dict[str, float]:
        """Close a stage of the ratio, as `end_stage` does."""
        return {}

    def ratio_heldout_loss(self, context: StageContext) -> float | None:
        """Return the held-out loss of the current stage of the ratio, as `heldout_loss` does."""
        return None

    def ratio_parameters(self) -> list[nn.Parameter]:
        """Return all parameters but the base's."""
        fixed = set() if self.base_prior is None else {id(parameter) for parameter in self.base_prior.parameters()}
        return [parameter for parameter in self.parameters() if id(parameter) not in fixed]

    def is_base(self, stages: int | None) -> bool:
        """Return whether the prior is still its base, or N(0, I), after `stages` stages."""
        return stages is not None and stages <= self.base_stages

    @final
    def log_ratio(self, u: Tensor, *, stages: int | None = None) -> Tensor:
        """Return the log ratio to N(0, I), that of the base plus `ratio_term`, (B, D) -> (B,)."""
        base, value = self.base_density(without_chains(stages)), self.ratio_term(u, stages=stages)
        return value if base is None else value + base.log_ratio(u)

    @final
    def layer_log_ratio(self, u: Tensor, *, stages: int | None = None) -> Tensor | None:
        """Return the terms of the base plus those of the ratio, (B, D) -> (B, L); None unless both are sums over layers."""
        base, terms = self.base_prior, self.layer_ratio_terms(u, stages=stages)
        if base is None or stages == 0 or terms is None:
            return terms
        of_base = base.layer_log_ratio(u, stages=base_stages(base, stages))
        return None if of_base is None else terms + of_base

    def begin_stage(self, stage: int, context: StageContext) -> None:
        """Set up a stage of the base, or, with the base fixed, one of the ratio."""
        base = self._base_of(stage)
        self._in_base = base is not None
        if base is not None:
            base.begin_stage(stage, context)
            return
        if self.base_prior is not None:
            set_learning(self.base_prior, False)
        self.begin_ratio(stage, context)

    def objectives(self) -> list[Objective]:
        """Return the objectives of the base, or those of the ratio."""
        base = self.base_prior if self._in_base else None
        return self.ratio_objectives() if base is None else base.objectives()

    def end_stage(self, stage: int, context: StageContext) -> dict[str, float]:
        """Close a stage of the base, or one of the ratio."""
        base = self._base_of(stage)
        return self.end_ratio(stage, context) if base is None else base.end_stage(stage, context)

    def heldout_loss(self, context: StageContext) -> float | None:
        """Return the held-out loss of the base, or that of the ratio."""
        base = self.base_prior if self._in_base else None
        return self.ratio_heldout_loss(context) if base is None else base.heldout_loss(context)

    def should_train(self, stage: int) -> bool:
        """Return False if the base says so of its stage."""
        base = self._base_of(stage)
        return base is None or base.should_train(stage)

    def takes_steps(self, stage: int) -> bool:
        """Return False for a stage of the base that is fitted at once."""
        base = self._base_of(stage)
        return base is None or base.takes_steps(stage)

    def _base_of(self, stage: int) -> Prior | None:
        """Return the base if this stage is one of its own."""
        return self.base_prior if stage <= self.base_stages else None
