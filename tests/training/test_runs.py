"""A run from the button to its versions."""

from typing import Any

import pytest


def test_it_works(run: Any) -> None:
    run.job.refresh_from_db()
    assert run.job.state == "done", run.job.error_engineer
    version = run.versions.get(chosen=True)
    assert version.metrics["roc_auc"]["value"] > 0.9
    assert version.metrics["roc_auc"]["low"] < version.metrics["roc_auc"]["value"] < version.metrics["roc_auc"]["high"] + 1e-9
    assert "predictions" not in version.report
