"""Checks for lessons and homework: each raises with what it expected, what it got, and a hint.

Used as ``from course_utils import checks as check``. NaN fails every numerical check.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence

import numpy as np
import torch


def true(condition: object, message: str, hint: str = "") -> None:
    """Fail with ``message`` unless the condition holds."""
    if not bool(condition):
        raise AssertionError(f"{message} Hint: {hint}" if hint else message)


def equal(actual: object, expected: object, hint: str = "") -> None:
    """Exactly equal: numbers, texts, lists, or arrays and tensors of the same shape."""
    if _is_array(actual) or _is_array(expected):
        one, other = _array(actual), _array(expected)
        same = one.shape == other.shape and bool((one == other).all())
    else:
        same = bool(actual == expected)
    true(same, f"Expected {_short(expected)}, got {_short(actual)}.", hint)


def close(actual: object, expected: object, tolerance: float = 1e-5, hint: str = "") -> None:
    """Equal up to ``tolerance``, relative for expected numbers above one and absolute otherwise."""
    one, other = _numbers(actual, hint), _numbers(expected)
    true(one.shape == other.shape, f"Expected shape {other.shape}, got {one.shape}.", hint)
    distance = np.abs(one - other) / np.maximum(1.0, np.abs(other))
    said = f"Expected {_short(expected)} up to {tolerance:g}, got {_short(actual)}"
    true(np.all(distance <= tolerance), f"{said}; the largest difference is {distance.max(initial=0):.3g}.", hint)


def greater(actual: object, than: object, hint: str = "") -> None:
    """A number strictly greater than another."""
    true(_number(actual, hint) > _number(than), f"Expected more than {_short(than)}, got {_short(actual)}.", hint)


def less(actual: object, than: object, hint: str = "") -> None:
    """A number strictly less than another."""
    true(_number(actual, hint) < _number(than), f"Expected less than {_short(than)}, got {_short(actual)}.", hint)


def between(actual: object, low: float, high: float, hint: str = "") -> None:
    """A number from ``low`` to ``high``, both included."""
    inside = low <= _number(actual, hint) <= high
    true(inside, f"Expected a number from {low:g} to {high:g}, got {_short(actual)}.", hint)


def shape(actual: object, expected: Sequence[int | str | None], hint: str = "") -> None:
    """The shape of an array or tensor; None stands for any size, a name for the same size wherever it occurs.

    ``check.shape(scores, ("batch", "words", "words"))`` asks for a batch of square matrices.
    """
    found, sizes = tuple(getattr(actual, "shape", ())), {}
    fits = len(found) == len(expected) and all(
        want is None or size == (sizes.setdefault(want, size) if isinstance(want, str) else want)
        for size, want in zip(found, expected, strict=True)
    )
    true(fits, f"Expected shape {_shape_text(expected)}, got {_shape_text(found)}.", hint)


def finite(actual: object, hint: str = "") -> None:
    """No NaN and no infinity anywhere."""
    bad = int((~np.isfinite(_numbers(actual, hint))).sum())
    true(bad == 0, f"Expected finite numbers, but {bad} of {_array(actual).size} are NaN or infinite.", hint)


def raises(error: type[BaseException], function: Callable[[], object], match: str = "", hint: str = "") -> None:
    """``function()`` raises this error, and the regular expression ``match`` is found in its message."""
    try:
        function()
    except error as raised:
        said = f"Expected an error that says {match!r}; it says {str(raised)!r}."
        true(re.search(match, str(raised)), said, hint)
    else:
        true(False, f"Expected {error.__name__}, but nothing was raised.", hint)


def _is_array(value: object) -> bool:
    return isinstance(value, torch.Tensor | np.ndarray)


def _array(value: object) -> np.ndarray:
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu()
        return (value.float() if value.dtype == torch.bfloat16 else value).numpy()
    return np.asarray(value)


def _numbers(value: object, hint: str = "") -> np.ndarray:
    array = _array(value)
    try:
        return array.astype(complex if array.dtype.kind == "c" else float)
    except (TypeError, ValueError):
        return true(False, f"Expected numbers, got {_short(value)}.", hint)


def _number(value: object, hint: str = "") -> float:
    array = _numbers(value, hint)
    true(array.size == 1 and np.isreal(array).all(), f"Expected a single number, got {_short(value)}.", hint)
    number = float(array.reshape(()).real)
    true(not math.isnan(number), "Expected a number, got NaN.", hint)
    return number


def _shape_text(sizes: Sequence) -> str:
    return "(" + ", ".join("any" if size is None else str(size) for size in sizes) + ")"


def _short(value: object) -> str:
    if _is_array(value) and _array(value).size > 12:
        return f"{type(value).__name__} of shape {_shape_text(value.shape)}"
    text = str(value.tolist()) if _is_array(value) else repr(value)
    return text if len(text) <= 120 else text[:117] + "..."
