"""Checks for lessons and homework: each raises with what was expected, what came, and a hint.

Used as ``from course_utils import checks as check``. NaN passes none of them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence

import numpy as np
import torch


def true(condition: object, message: str) -> None:
    """Fail with ``message`` unless the condition holds."""
    if not bool(condition):
        raise AssertionError(message)


def equal(actual: object, expected: object, hint: str = "") -> None:
    """Exactly equal: numbers, texts, lists, arrays and tensors, of the same shape."""
    if _is_array(actual) or _is_array(expected):
        one, other = _array(actual), _array(expected)
        same = one.shape == other.shape and bool((one == other).all())
    else:
        same = bool(actual == expected)
    true(same, _message(f"Expected {_short(expected)}, got {_short(actual)}.", hint))


def close(actual: object, expected: object, tolerance: float = 1e-5, hint: str = "") -> None:
    """Equal up to ``tolerance``, absolute for small numbers and relative for numbers larger than one."""
    one, other = _array(actual), _array(expected)
    true(one.shape == other.shape, _message(f"Expected shape {other.shape}, got {one.shape}.", hint))
    distance = np.abs(one.astype(float) - other.astype(float)) / np.maximum(1.0, np.abs(other.astype(float)))
    said = f"Expected {_short(expected)} up to {tolerance:g}, got {_short(actual)}"
    true(np.all(distance <= tolerance), _message(f"{said}; the largest difference is {np.max(distance):.3g}.", hint))


def greater(actual: object, than: object, hint: str = "") -> None:
    """A number strictly greater than another."""
    true(_number(actual) > _number(than), _message(f"Expected more than {_short(than)}, got {_short(actual)}.", hint))


def less(actual: object, than: object, hint: str = "") -> None:
    """A number strictly less than another."""
    true(_number(actual) < _number(than), _message(f"Expected less than {_short(than)}, got {_short(actual)}.", hint))


def between(actual: object, low: float, high: float, hint: str = "") -> None:
    """A number from ``low`` to ``high``, both included."""
    inside = low <= _number(actual) <= high
    true(inside, _message(f"Expected a number from {low:g} to {high:g}, got {_short(actual)}.", hint))


def shape(actual: object, expected: Sequence[int | str | None], hint: str = "") -> None:
    """The shape of an array or tensor. None or a name stands for any size; the same name for the same size.

    ``check.shape(scores, ("batch", "words", "words"))`` asks for a batch of square matrices.
    """
    found = tuple(getattr(actual, "shape", ()))
    sizes: dict[str, int] = {}
    fits = len(found) == len(expected) and all(map(lambda size, want: _fits(size, want, sizes), found, expected))
    true(fits, _message(f"Expected shape {_shape_text(expected)}, got {_shape_text(found)}.", hint))


def finite(actual: object, hint: str = "") -> None:
    """No NaN and no infinity anywhere."""
    bad = int((~np.isfinite(_array(actual).astype(float))).sum())
    true(bad == 0, _message(f"Expected finite numbers, but {bad} of {_array(actual).size} are NaN or infinite.", hint))


def raises(error: type[BaseException], function: Callable[[], object], match: str = "", hint: str = "") -> None:
    """Calling ``function`` raises this error, and the regular expression ``match`` is found in its message."""
    try:
        function()
    except error as raised:
        said = f"Expected an error that says {match!r}; it says {str(raised)!r}."
        true(re.search(match, str(raised)), _message(said, hint))
        return
    raise AssertionError(_message(f"Expected {error.__name__}, but nothing was raised.", hint))


def _message(said: str, hint: str) -> str:
    return f"{said} Hint: {hint}" if hint else said


def _is_array(value: object) -> bool:
    return isinstance(value, torch.Tensor | np.ndarray)


def _array(value: object) -> np.ndarray:
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu()
        return (value.float() if value.dtype == torch.bfloat16 else value).numpy()
    return np.asarray(value)


def _number(value: object) -> float:
    array = _array(value)
    true(array.size == 1, f"Expected a single number, got {_short(value)}.")
    number = float(array.reshape(()))
    true(not math.isnan(number), "Expected a number, got NaN.")
    return number


def _fits(size: int, want: int | str | None, sizes: dict[str, int]) -> bool:
    if want is None:
        return True
    return size == (sizes.setdefault(want, size) if isinstance(want, str) else want)


def _shape_text(sizes: Sequence) -> str:
    return "(" + ", ".join("any" if size is None else str(size) for size in sizes) + ")"


def _short(value: object) -> str:
    if _is_array(value) and _array(value).size > 12:
        return f"{type(value).__name__} of shape {_shape_text(value.shape)}"
    text = str(value.tolist()) if _is_array(value) else repr(value)
    return text if len(text) <= 120 else text[:117] + "..."
