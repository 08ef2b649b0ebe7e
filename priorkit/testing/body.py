"""What a check runs, and what it raises where it cannot be asked of a plugin."""

from collections.abc import Callable, Mapping
from typing import Any
from unittest import SkipTest

__all__ = ["Body", "NotApplicable", "Options"]

Options = Mapping[str, Any]
"""Values of the plugin's options; those not named have their defaults."""
Body = Callable[[Any, Options], None]
"""Takes the plugin (a class; for metrics a function, for data either) and options; raises AssertionError in one sentence."""


class NotApplicable(SkipTest):
    """The property is not defined for this plugin; the message says why.  pytest counts it as skipped."""
