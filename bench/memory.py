"""This process's peak memory, read from the kernel."""

from pathlib import Path


def peak_megabytes() -> float:
    """VmHWM of /proc/self/status in MB: unlike ru_maxrss it is not handed down from the parent process."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):
            return float(line.split()[1]) / 1024.0
    return float("nan")
