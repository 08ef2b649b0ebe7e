"""The body of a check, and the exception for a check that does not apply to a plugin."""

from collections.abc import Callable, Mapping
from typing import Any
from unittest import SkipTest

__all__ = ["Body", "NotApplicable", "Options"]

Options = Mapping[str, Any]
"""Values of the plugin's options; the others have their defaults."""
Body = Callable[[Any, Options], None]
"""Takes the plugin (a class; for metrics and possibly data a function) and options; raises AssertionError in one
sentence."""


class NotApplicable(SkipTest):
    """The property is not defined for this plugin; the message gives the reason. pytest reports it as skipped."""
