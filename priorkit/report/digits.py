"""The number of significant digits of a value, given its spread."""

from math import floor, isfinite, log10

__all__ = ["places", "to_spread"]

MAX_PLACES = 6
TWO_DIGITS_BELOW = 2
"""A spread whose first digit is below this has two digits, since rounding 1.6 to 2 would change it by a quarter."""


def places(spread: float | None) -> int | None:
    """Return the number of decimal places to which a value with that spread is rounded; None without a usable spread."""
    if not spread or not isfinite(spread) or spread < 0:
        return None
    exponent = floor(log10(spread))
    first = spread / 10.0**exponent
    found = max(0, -exponent + (first < TWO_DIGITS_BELOW))
    return found if found <= MAX_PLACES else None


def to_spread(value: float, spread: float | None) -> str:
    """Return a value rounded to its spread: 28.94 with 3.2 is 29, 8.54 with 1.6 is 8.5; three digits without a spread."""
    kept = places(spread)
    if kept is not None:
        return f"{value:,.{kept}f}"
    return f"{value:,.0f}" if 1_000 <= abs(value) < 1e6 else f"{value:.3g}"
