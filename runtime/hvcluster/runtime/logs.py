"""Structured logs: one JSON object per line, to a file or to standard error.

Law: the only place that configures structlog. A log line is for people; what tests, metrics and the cluster
log read are Facts. Every line carries `process`, `cluster` and `node` (where bound), wall time (`time`, UTC)
and the monotonic clock (`mono_s`), which all processes of one machine share and no clock adjustment touches.
"""

import collections
import datetime
import sys
import time
from pathlib import Path
from typing import Literal, TextIO

import structlog
from structlog.contextvars import bind_contextvars
from structlog.typing import EventDict, FilteringBoundLogger, WrappedLogger

Level = Literal["debug", "info", "warning", "error"]
LEVELS: tuple[Level, ...] = ("debug", "info", "warning", "error")
_LEVEL_NUMBERS: dict[Level, int] = {"debug": 10, "info": 20, "warning": 30, "error": 40}


def configure(
    process: str,
    *,
    cluster: str | None = None,
    node: str | None = None,
    file: Path | None = None,
    level: Level = "info",
) -> FilteringBoundLogger:
    """Set up logging for this process and return its logger. `file` is appended to (None: standard error).

    Lines are written whole and at once, so that a SIGKILL loses none that was logged. Raises `OSError` where
    the file cannot be opened.
    """
    stream: TextIO = sys.stderr if file is None else file.open("a", encoding="utf-8", buffering=1)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.format_exc_info,
            _stamp,
            structlog.processors.JSONRenderer(ensure_ascii=False, default=str),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVEL_NUMBERS[level]),
        logger_factory=structlog.WriteLoggerFactory(stream),
        cache_logger_on_first_use=False,
    )
    structlog.contextvars.clear_contextvars()
    bound = {"process": process, "cluster": cluster, "node": node}
    bind_contextvars(**{key: value for key, value in bound.items() if value is not None})
    return get()


def get() -> FilteringBoundLogger:
    """The logger of this process; before `configure`, structlog's own console default."""
    logger: FilteringBoundLogger = structlog.get_logger()
    return logger


def _stamp(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Clocks first, so that lines align when read raw."""
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
    return {"time": now, "mono_s": round(time.monotonic(), 6), **event}


class OncePerSender:
    """Bad messages: each sender and kind is logged the first time, then only counted.

    Counts again in the log at every power of ten, so that a flood shows without filling a disk. Remembers at
    most `max_senders` senders (a foreign sender can invent names); beyond, they count as the sender
    "(others)".
    """

    OTHERS = "(others)"

    def __init__(self, logger: FilteringBoundLogger, max_senders: int = 256) -> None:
        self._logger = logger
        self._max_senders = max_senders
        self._counts: collections.Counter[tuple[str, str]] = collections.Counter()

    def report(self, kind: str, sender: str, detail: str = "") -> bool:
        """Count one bad message; True if it was logged too. `kind` is a fixed word, `detail` is shortened."""
        key = (kind, sender)
        if key not in self._counts and len(self._counts) >= self._max_senders:
            key = (kind, self.OTHERS)
        self._counts[key] += 1
        count = self._counts[key]
        if not _power_of_ten(count):
            return False
        self._logger.warning("message ignored", kind=kind, sender=key[1][:200], detail=detail[:200], count=count)
        return True

    def counts(self) -> dict[tuple[str, str], int]:
        """How many messages were ignored, by (kind, sender)."""
        return dict(self._counts)


def _power_of_ten(count: int) -> bool:
    while count % 10 == 0:
        count //= 10
    return count == 1
