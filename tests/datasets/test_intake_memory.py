"""An import of many rows stays within its memory, measured in a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from django.conf import settings

from tests import migrated

ROWS, LIMIT_MB = 300_000, 500
CODE = """
import re, sys
from pathlib import Path
import django
django.setup()
from django.core.management import call_command
call_command("migrate", verbosity=0)
from accounts.actor import Actor
from accounts.models import Membership, Organisation, User
from datasets import intake
from jobs.runner import run_job
person = User.objects.create_user("dana@example.org")
role = Membership.objects.create(user=person, organisation=Organisation.objects.create(name="A"), role="administrator")
actor = Actor.member(role)
upload = intake.receive(actor=actor, file=sys.argv[1], name="many.csv")
run_job(intake.confirm(actor=actor, upload=upload, new_dataset_name="Many").pk, owner="test")
upload.refresh_from_db()
assert upload.state == "imported", upload.state
# Not ru_maxrss: Linux hands the parent's down through fork and exec, and the test process is large.
peak_kb = int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
print(upload.rows_added, peak_kb // 1024)
"""


@pytest.mark.slow  # 300,000 rows are read and written
def test_many_rows_stay_under_the_memory_limit(tmp_path: Path) -> None:
    path = tmp_path / "many.csv"
    with path.open("w", encoding="utf-8") as stream:
        stream.write("mrn,age,crp,note,outcome\n")
        stream.writelines(
            f"{i},{i % 90},{i * 0.37:.2f},note {i} {'x' * 200},{'ill' if i % 3 else 'well'}\n"
            for i in range(ROWS)
        )
    environment = {
        **{k: v for k, v in os.environ.items() if not k.startswith(("AIMASS_", "DATABASE_URL"))},
        "AIMASS_DEMO": "1",
        "AIMASS_DATA_DIR": str(tmp_path / "data"),
        "DJANGO_SETTINGS_MODULE": "aimass_site.settings",
    }
    migrated.copy_to(tmp_path / "data" / "aimass.sqlite3")
    done = subprocess.run(
        [sys.executable, "-c", CODE, str(path)],
        env=environment,
        cwd=settings.BASE_DIR,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    added, peak = map(int, done.stdout.split()[-2:])
    assert added == ROWS
    assert peak < LIMIT_MB
