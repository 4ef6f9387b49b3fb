"""Retries of reads and writes on object stores.

A request has the timeouts `CONNECT_S` and `REQUEST_S`. A read or write that fails is tried again for `PATIENCE_S`,
unless a further try is useless, as where access is denied. Once this process has given up, each read or write gets a
single try until one succeeds, so that a launch that ends because of a store ends soon.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from pyarrow import fs

CONNECT_S, REQUEST_S = 5.0, 10.0
"""How many seconds a connection, and a request that gets no byte, may take."""
PATIENCE_S = 40.0
"""How many seconds a read or write is tried again."""
PAUSE_S = 0.5
"""How many seconds lie before the second try; each further pause is twice as long, up to 5 s."""
_FINAL = ("ACCESS_DENIED", "NO_SUCH_BUCKET", "INVALID_ACCESS_KEY_ID", "SIGNATURE_DOES_NOT_MATCH", "status 301")
"""Answers that do not change when the request is made again."""
_ABSENT = (FileNotFoundError, NotADirectoryError, IsADirectoryError)
_given_up = False
_T = TypeVar("_T")


def with_timeouts(system: fs.FileSystem) -> fs.FileSystem:
    """Returns an S3 file system whose requests end in time; others as they are."""
    if system.type_name != "s3":
        return system
    from pyarrow import fs

    _, (settings,) = system.__reduce__()
    retry = fs.AwsStandardS3RetryStrategy(max_attempts=1)  # `patiently` tries again
    timeouts = {"connect_timeout": CONNECT_S, "request_timeout": REQUEST_S, "retry_strategy": retry}
    return fs.S3FileSystem(**{key: value for key, value in (settings | timeouts).items() if value not in ("", None)})


def patiently(do: Callable[[], _T]) -> _T:
    """Calls `do` until it succeeds; raises its last OSError once patience is exhausted or further tries are useless."""
    global _given_up
    until, pause = time.monotonic() + (0.0 if _given_up else PATIENCE_S), PAUSE_S
    while True:
        try:
            result = do()
        except _ABSENT:
            raise
        except OSError as error:
            if time.monotonic() + pause > until or any(answer in str(error) for answer in _FINAL):
                _given_up = _given_up or not any(answer in str(error) for answer in _FINAL)
                raise
            time.sleep(pause)
            pause = min(2 * pause, 5.0)
        else:
            _given_up = False
            return result
