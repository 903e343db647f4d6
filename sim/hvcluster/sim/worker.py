"""The beginning of a worker process: which simulator it runs on, and that it ends with its campaign.

Law: imports nothing of the simulator, so that a process that begins here can still choose the compiled one.
"""

from __future__ import annotations

import os
import threading
import time

from . import overlay


def tied(parent: int) -> None:
    """A worker runs compiled what can be; when its campaign was killed it ends as well, and soon."""
    overlay.use()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
