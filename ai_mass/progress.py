"""A progress bar for a terminal, lines for a log, a bar for a notebook; silent when asked."""

import sys
import time
from typing import Any, TextIO


def seconds_text(seconds: float | None) -> str:
    """'2 min 5 s', or nothing when it is not known."""
    if seconds is None:
        return ""
    minutes, rest = divmod(max(0, round(seconds)), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


class Progress:
    """Shows a job's progress as it comes. `show` may be called as often as one likes."""

    WIDTH = 28

    def __init__(self, title: str, *, stream: TextIO | None = None, quiet: bool = False) -> None:
        self.title, self.quiet = title, quiet
        self.stream = stream or sys.stderr
        self.live = self.stream.isatty()
        self.display: Any = None if quiet else notebook_display()
        self.last = ""
        self.began = time.monotonic()

    def show(self, fraction: float, step: str, eta_seconds: float | None = None) -> None:
        """Draw: fraction 0–1, the step in words, seconds left if known."""
        if self.quiet:
            return
        done = min(1.0, max(0.0, fraction))
        left = f" · {seconds_text(eta_seconds)} left" if eta_seconds is not None and done < 1 else ""
        filled = round(done * self.WIDTH)
        text = f"{self.title}  [{'█' * filled}{'·' * (self.WIDTH - filled)}] {done:4.0%}  {step}{left}"
        if self.display is not None:
            self.display.update({"text/plain": text}, raw=True)
        elif self.live:
            self.stream.write("\r\x1b[2K" + text[:200])
            self.stream.flush()
        elif step != self.last:
            self.stream.write(f"{self.title}: {done:.0%} {step}\n")
            self.stream.flush()
        self.last = step

    def close(self, text: str) -> None:
        """The last line, with the time that it took."""
        if self.quiet:
            return
        took = seconds_text(time.monotonic() - self.began)
        line = f"{self.title}: {text} ({took})"
        if self.display is not None:
            self.display.update({"text/plain": line}, raw=True)
        else:
            self.stream.write(("\r\x1b[2K" if self.live else "") + line + "\n")
            self.stream.flush()


def notebook_display() -> Any:
    """A display handle when this runs in a Jupyter notebook, else None."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    if shell is None or shell.__class__.__name__ != "ZMQInteractiveShell":
        return None
    from IPython.display import display  # type: ignore[import-not-found, unused-ignore]

    return display({"text/plain": ""}, raw=True, display_id=True)
