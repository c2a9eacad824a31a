"""python -m demo [--check] [--port N]: the demo, or its check."""

import argparse
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

import ai_mass as am
from demo import check, story
from demo.processes import HOME, Portal, free_port, is_free

LOOK = """
AI Mass is running:  {portal.url}
  log in as          {portal.accounts}
  password           {portal.password}
  API                {portal.url}/api/docs/
  from Python        AIMASS_URL={portal.url} AIMASS_KEY={portal.key}
  its data           {portal.folder}
Ctrl-C ends it; the data stay for the next start.
"""


def run(port: int) -> int:
    """Start on 127.0.0.1, show the story, and stay until Ctrl-C."""
    if not is_free(port):
        print(
            f"Something listens on 127.0.0.1:{port} already. Choose another port: script/demo --port 8001",
            file=sys.stderr,
        )
        return 1
    folder = HOME / ".demo"
    folder.mkdir(exist_ok=True)
    print("Starting the portal and a worker …")
    with Portal(folder, port) as portal:
        with am.connect(portal.url, portal.key) as client:
            story.tell(client, folder)
        print(LOOK.format(portal=portal), flush=True)
        while True:
            portal.check_alive()
            time.sleep(1)


def run_check() -> int:
    """All of it on a free port in a temporary folder; 0 when every step worked."""
    folder = Path(tempfile.mkdtemp(prefix="aimass-demo-"))
    began = time.monotonic()
    try:
        with Portal(folder, free_port()) as portal:
            try:
                with am.connect(portal.url, portal.key) as client:
                    story.tell(client, folder)
                check.walk(portal, folder)
            except Exception:
                print(
                    f"-- portal\n{portal.tail('portal')}\n-- worker\n{portal.tail('worker')}", file=sys.stderr
                )
                raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(f"The demo works ({time.monotonic() - began:.0f} s).")
    return 0


def main() -> int:
    """Parse the command line; Ctrl-C and SIGTERM end everything that was started."""
    parser = argparse.ArgumentParser(
        prog="script/demo", description="AI Mass with real data on this machine."
    )
    parser.add_argument(
        "--check", action="store_true", help="do all of it in a temporary folder, then exit 0 or 1"
    )
    parser.add_argument("--port", type=int, default=8000, help="where the portal listens (127.0.0.1)")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs would ignore it
    try:
        return run_check() if options.check else run(options.port)
    except KeyboardInterrupt:
        print("\nEnded.")
        return 0
    except Exception as error:
        print(f"The demo failed: {type(error).__name__}: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
