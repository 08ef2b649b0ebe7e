"""What a check is, and which checks a plugin of a kind must pass."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from priorkit.errors import UsageError, said
from priorkit.registry.contained import interrupts
from priorkit.testing.refusal import NotApplicable

__all__ = ["Body", "Check", "Result", "checks", "run_checks"]

Options = Mapping[str, Any]
"""Values of the plugin's options; those not named have their defaults."""
Body = Callable[[Any, Options], None]
"""Takes the plugin (a class; for data and metrics a callable) and options; raises AssertionError in one sentence."""


@dataclass(frozen=True)
class Check:
    """One property that every plugin of a kind has."""

    name: str
    meaning: str
    """The property in one line."""
    body: Body

    def __call__(self, plugin: Any, options: Options | None = None) -> None:
        """Raises AssertionError where the plugin, built with `options`, has not the property, and `NotApplicable` where the
        question has no meaning for it."""
        self.body(plugin, options or {})

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class Result:
    """What came of a check."""

    check: Check
    outcome: Literal["passed", "failed", "skipped"]
    reason: str = ""
    """One line; empty where it passed."""
    cause: BaseException | None = None


def checks(kind: str) -> list[Check]:
    """The checks of a kind, for `pytest.mark.parametrize("check", checks("prior"), ids=str)`.

    Raises UsageError for a kind without checks.
    """
    from priorkit.testing import backbones, metrics, options, priors, samplers, sources, trainers

    bodies: dict[str, list[Body]] = {
        "backbone": [*options.CHECKS, *backbones.CHECKS],
        "prior": [*options.CHECKS, *priors.CHECKS],
        "sampler": [*options.CHECKS, *samplers.CHECKS],
        "trainer": [*options.CHECKS, *trainers.CHECKS],
        "data": sources.CHECKS,
        "metric": metrics.CHECKS,
    }
    if kind not in bodies:
        raise UsageError(f"there are no checks for plugins of the kind {kind!r}; there are for {', '.join(bodies)}.")
    return [Check(body.__name__, (body.__doc__ or "").strip().splitlines()[0], body) for body in bodies[kind]]


def run_checks(kind: str, plugin: Any, options: Options | None = None) -> Iterator[Result]:
    """The results of all checks of a kind, one after the other; nothing that the plugin raises escapes."""
    for check in checks(kind):
        yield _result(check, plugin, options)


def _result(check: Check, plugin: Any, options: Options | None) -> Result:
    try:
        with interrupts() as came:
            check(plugin, options)
    except NotApplicable as reason:
        return Result(check, "skipped", " ".join(str(reason).split()))
    except BaseException as error:  # a third party's code may raise anything
        if came:
            raise
        told = said(error, 500).removeprefix("AssertionError: ")
        return Result(check, "failed", "without a word" if told == "AssertionError" else told, error)
    return Result(check, "passed")
