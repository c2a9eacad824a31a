"""What an engineer is told of an exception: its type and where it was raised, never what a record held.

The messages of pandas, NumPy or a database quote the values that they stumbled over, and so would a frame's locals. Only
messages of types that say `own_text = True` are kept: this product's own errors, whose texts are written by us.
"""

import re
import traceback
from collections.abc import Iterator

LIMIT = 20_000
_FRAME = re.compile(r'^\s*File "(?P<file>[^"]+)", line (?P<line>\d+)(?:,? in (?P<function>[\w.<>]+))?')
_RAISED = re.compile(r"^(?P<type>[A-Za-z_][\w.]*(?:Error|Exception|Exit|Interrupt|Iteration|Warning))(?::|$)")
_KEPT = re.compile(r"^(Traceback \(most recent call last\):|Fatal Python error: [\w ]+|Killed|Segmentation fault)")


def describe(error: BaseException) -> str:
    """The exception and what it came from, the cause first: a line for each frame (file:line function), then the type."""
    return "\n".join(line for one in _chain(error) for line in _lines(one))[-LIMIT:]


def _chain(error: BaseException) -> list[BaseException]:
    found: list[BaseException] = []
    one: BaseException | None = error
    while one is not None and all(one is not seen for seen in found):
        found.append(one)
        one = one.__cause__ or (None if one.__suppress_context__ else one.__context__)
    return found[::-1]


def _lines(error: BaseException) -> Iterator[str]:
    for frame, line in traceback.walk_tb(error.__traceback__):
        yield f"  {frame.f_code.co_filename}:{line} {frame.f_code.co_qualname}"
    name = f"{type(error).__module__}.{type(error).__qualname__}".removeprefix("builtins.")
    yield f"{name}: {error}" if getattr(type(error), "own_text", False) else name


def without_values(output: str) -> str:
    """What a dead process has printed, cut to the frames and the types of its errors."""
    kept = []
    for line in output.splitlines():
        if frame := _FRAME.match(line):
            kept.append(f"  {frame['file']}:{frame['line']} {frame['function'] or ''}".rstrip())
        elif raised := _RAISED.match(line):
            kept.append(raised["type"])
        elif plain := _KEPT.match(line):
            kept.append(plain[0])
    return "\n".join(kept)[-LIMIT:]
