"""What training and evaluation return: objects that print well and give every number by name."""

from collections.abc import Iterator, Mapping
from html import escape
from typing import Any


class Metrics(Mapping[str, dict[str, Any]]):
    """Metrics by name: `metrics["roc_auc"]["value"]`, with `low`, `high` (95% interval) and `n` beside it."""

    def __init__(self, metrics: dict[str, dict[str, Any]]) -> None:
        self._metrics = metrics

    def __getitem__(self, name: str) -> dict[str, Any]:
        return self._metrics[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._metrics)

    def __len__(self) -> int:
        return len(self._metrics)

    def rows(self) -> list[tuple[str, str, str, str]]:
        """(metric, value, 95% interval, n) as text; an undefined metric gives its reason instead of a number."""
        rows = []
        for name, metric in self._metrics.items():
            if metric.get("value") is None:
                rows.append((name, "undefined", str(metric.get("reason", "")), str(metric.get("n", ""))))
                continue
            low, high = metric.get("low"), metric.get("high")
            interval = f"{low:.3f} – {high:.3f}" if low is not None and high is not None else "unknown"
            rows.append((name, f"{metric['value']:.3f}", interval, str(metric.get("n", ""))))
        return rows

    def text(self) -> str:
        """The metrics as an aligned table."""
        rows = [("metric", "value", "95% interval", "n"), *self.rows()]
        widths = [max(len(row[i]) for row in rows) for i in range(4)]
        lines = [
            "  ".join(part.ljust(width) for part, width in zip(row, widths, strict=True)).rstrip()
            for row in rows
        ]
        return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])

    def html(self) -> str:
        """The metrics as an HTML table, for notebooks."""
        body = "".join(
            "<tr>" + "".join(f"<td>{escape(part)}</td>" for part in row) + "</tr>" for row in self.rows()
        )
        return f"<table><tr><th>metric</th><th>value</th><th>95% interval</th><th>n</th></tr>{body}</table>"


class Report:
    """How a model version did on labelled data that it has not seen.

    Attributes: `metrics`, `data` (the API's whole answer: curves, confusion matrix, per-class table, warnings),
    `seen_in_training`: how many of the records the version has learned from (None: it cannot be told).
    """

    def __init__(self, data: dict[str, Any]) -> None:
        self.data = data
        body = data.get("report", data)
        self.metrics = Metrics(body.get("metrics", {}))
        self.records = body.get("n_records")
        self.patients = body.get("n_patients")
        self.seen_in_training: int | None = body.get("seen_in_training")
        self.model_version = data.get("model_version")

    def __getitem__(self, name: str) -> float | None:
        """The value of a metric: `report["roc_auc"]`."""
        value: float | None = self.metrics[name]["value"]
        return value

    @property
    def title(self) -> str:
        """What was evaluated on how much."""
        version = self.model_version
        name = version.get("name", "") if isinstance(version, dict) else str(version or "model")
        return f"{name} on {self.records} records of {self.patients} patients"

    @property
    def warning(self) -> str:
        """What flatters these numbers; "" when nothing is known to."""
        if not self.seen_in_training:
            return ""
        return (
            f"Warning: the model has learned from {self.seen_in_training} of these {self.records} records, "
            "so it looks better here than it is. Score records that it has not seen."
        )

    @property
    def confusion(self) -> dict[str, Any] | None:
        """The confusion matrix: {"classes", "counts"} with true classes down, decided ones across."""
        body = self.data.get("report", self.data)
        found = (
            body.get("confusion") or body.get("confusion_matrix") or body.get("curves", {}).get("confusion")
        )
        return found if isinstance(found, dict) else None

    def __str__(self) -> str:
        text = f"{self.title}\n\n{self.metrics.text()}"
        if self.warning:
            text = f"{self.warning}\n\n{text}"
        matrix = self.confusion
        if matrix and len(matrix["classes"]) <= 12:
            names = [str(c) for c in matrix["classes"]]
            width = max(6, *(len(name) for name in names)) + 2
            text += "\n\ntrue \\ decided".ljust(16) + "".join(name.rjust(width) for name in names)
            for name, row in zip(names, matrix["counts"], strict=True):
                text += "\n" + name.ljust(14) + "".join(str(count).rjust(width) for count in row)
        return text

    __repr__ = __str__

    def _repr_html_(self) -> str:
        warning = f"<p><strong>{escape(self.warning)}</strong></p>" if self.warning else ""
        return f"{warning}<p>{escape(self.title)}</p>{self.metrics.html()}"


class ModelVersion:
    """A fitted version in the organisation's model repository.

    Attributes: `id`, `number`, `candidate`, `metrics` (locked test split), `data` (the API's whole answer).
    """

    def __init__(self, data: dict[str, Any]) -> None:
        self.data = data
        self.id: str = data["id"]
        self.number: int = data["number"]
        self.candidate: str = data.get("candidate", "")
        self.metrics = Metrics(data.get("metrics", {}))
        self.gate_passed: bool = bool(data.get("gate_passed", True))

    def __str__(self) -> str:
        name = self.data.get("name") or f"version {self.number}"
        gate = (
            ""
            if self.gate_passed
            else "\nDid not pass the gate: " + "; ".join(map(str, self.data.get("gate_reasons", [])))
        )
        return f"{name} ({self.candidate}), on the locked test split:\n\n{self.metrics.text()}{gate}"

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return f"<p>Version {self.number} ({escape(self.candidate)})</p>{self.metrics.html()}"
