"""What a check says where it cannot be asked of a plugin."""

from unittest import SkipTest

__all__ = ["NotApplicable"]


class NotApplicable(SkipTest):
    """The property is not defined for this plugin; the message says why.  pytest counts it as skipped."""
