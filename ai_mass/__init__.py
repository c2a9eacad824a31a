"""AI Mass for Python: train, evaluate and use your organisation's diagnostic models.

    import ai_mass as am

    am.connect("https://aimass.hospital.example", "am_…")   # or AIMASS_URL and AIMASS_KEY in the environment
    am.train("patients.csv", target="diagnosis")
    print(am.evaluate("new_data.csv"))
    am.inference([{"age": 63, "chol": 233}])

With neither address nor key the portal of this checkout runs inside this process (see `ai_mass.embedded`).
"""

from ai_mass.client import Client
from ai_mass.errors import (
    AIMassError,
    AuthenticationError,
    ConflictError,
    ImportFailed,
    NotAllowedError,
    NotFoundError,
    RateLimitedError,
    RequestInvalid,
    ServerError,
    StillSettling,
    TrainingFailed,
    TrainingRefused,
    UnreachableError,
)
from ai_mass.report import ModelVersion, Report
from ai_mass.session import connect, current, evaluate, inference, train

__version__ = "0.1.0"
__all__ = [
    "AIMassError",
    "AuthenticationError",
    "Client",
    "ConflictError",
    "ImportFailed",
    "ModelVersion",
    "NotAllowedError",
    "NotFoundError",
    "RateLimitedError",
    "Report",
    "RequestInvalid",
    "ServerError",
    "StillSettling",
    "TrainingFailed",
    "TrainingRefused",
    "UnreachableError",
    "connect",
    "current",
    "evaluate",
    "inference",
    "train",
]
