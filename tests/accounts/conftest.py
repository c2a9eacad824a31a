"""What the registration form offers in these tests: a few outcomes and metrics of our own."""

import pytest

METRICS = [
    {"name": "sensitivity", "label": "Sensitivity", "better": "higher", "low": 0.0, "high": 1.0, "description": "Share found."},
    {"name": "specificity", "label": "Specificity", "better": "higher", "low": 0.0, "high": 1.0, "description": "Share spared."},
    {"name": "mae", "label": "Mean error", "better": "lower", "low": 0.0, "high": None, "description": "How far off."},
]


def metrics():
    return METRICS


def outcomes(organisation):
    return [("heart disease", "Heart disease"), ("stroke", "Stroke")]


@pytest.fixture(autouse=True)
def sources(settings):
    settings.METRIC_SOURCE = "tests.accounts.conftest.metrics"
    settings.OUTCOME_SOURCE = "tests.accounts.conftest.outcomes"
