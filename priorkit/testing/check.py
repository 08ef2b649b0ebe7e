"""Checks, and which of them a plugin of a kind must pass."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from priorkit.errors import UsageError, said
from priorkit.registry.isolation import interrupts
from priorkit.testing import backbones, extractors, metrics, priors, samplers, sources, trainers
from priorkit.testing import options as own_options
from priorkit.testing.body import Body, NotApplicable, Options

__all__ = ["Check", "Result", "checks", "run_checks"]


@dataclass(frozen=True)
class Check:
    """One property that every plugin of a kind must have."""

    name: str
    meaning: str
    """The property in one line."""
    body: Body

    def __call__(self, plugin: Any, options: Options | None = None) -> None:
        """Raise AssertionError if the plugin, built with `options`, does not have the property, and `NotApplicable` if the
        check does not apply to it."""
        self.body(plugin, options or {})

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class Result:
    """The result of a check."""

    check: Check
    outcome: Literal["passed", "failed", "skipped"]
    reason: str = ""
    """One line; empty if it passed."""
    cause: BaseException | None = None


def checks(kind: str) -> list[Check]:
    """Return the checks of a kind, for `pytest.mark.parametrize("check", checks("prior"), ids=str)`.

    Raises UsageError for a kind without checks.
    """
    bodies: dict[str, list[Body]] = {
        "backbone": [*own_options.CHECKS, *backbones.CHECKS],
        "prior": [*own_options.CHECKS, *priors.CHECKS],
        "sampler": [*own_options.CHECKS, *samplers.CHECKS],
        "trainer": [*own_options.CHECKS, *trainers.CHECKS],
        "data": sources.CHECKS,
        "metric": metrics.CHECKS,
        "extractor": extractors.CHECKS,
    }
    if kind not in bodies:
        raise UsageError(f"there are no checks for plugins of the kind {kind!r}, only for {', '.join(bodies)}.")
    return [Check(body.__name__, (body.__doc__ or "").strip().splitlines()[0], body) for body in bodies[kind]]


def run_checks(kind: str, plugin: Any, options: Options | None = None) -> Iterator[Result]:
    """Yield the results of all checks of a kind, one after the other; all exceptions of the plugin are caught."""
    for check in checks(kind):
        yield _result(check, plugin, options)


def _result(check: Check, plugin: Any, options: Options | None) -> Result:
    try:
        with interrupts() as came:
            check(plugin, options)
    except NotApplicable as reason:
        return Result(check, "skipped", " ".join(str(reason).split()))
    except BaseException as error:  # third-party code may raise anything
        if came:
            raise
        told = said(error, 500).removeprefix("AssertionError: ")
        return Result(check, "failed", "without a word" if told == "AssertionError" else told, error)
    return Result(check, "passed")
