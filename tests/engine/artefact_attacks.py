"""Attacks on stored models, run in a process of their own: `python -m tests.engine.artefact_attacks FOLDER OUT_FILE`.

FOLDER holds one stored model per subfolder. What became of each attack goes to OUT_FILE as JSON lines: the code of the
ArtefactError, "loaded" when the model still loads and predicts, or what went wrong. An audit hook and files that must not
appear watch for anything being executed; the process's memory and time are limited, so that a hang or a blow-up ends it.
"""

import random
import resource
import sys
import tempfile
import warnings
from pathlib import Path

from tests.engine.attacks import arrays, estimators, folder, manifest, packages  # noqa: F401  (each registers its own)
from tests.engine.attacks.registry import ATTACKS  # noqa: F401
from tests.engine.attacks.trial import Trial, Watch

NAMED = {
    "boosting-classification": ("",),
    "linear-classification": ("estimator_", "endless"),
}  # model → beginnings of attacks
MEMORY = 6 * 2**30  # bytes of address space


def main() -> None:
    """See the module."""
    warnings.simplefilter("ignore")
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    models, out = sorted(Path(sys.argv[1]).iterdir()), Path(sys.argv[2])
    watch = Watch()
    with out.open("w") as report, tempfile.TemporaryDirectory() as work:
        for number, source in enumerate(models):
            Trial(source, Path(work), report, watch).all(random.Random(number), NAMED.get(source.name, ()))


if __name__ == "__main__":
    main()
