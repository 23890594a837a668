"""What every rival's process has besides its loop: settings from the environment, a word when ready, an end."""

import logging
import os
import signal
import sys
import threading
from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True, slots=True)
class Settings:
    """What RIVAL_DATABASE_URL, RIVAL_QUEUE and RIVAL_THREADS say; the AWS_* variables are boto3's own to read.

    Attributes:
        database_url: with its tables there already.
        queue: the name at SQS.
        threads: how many messages are handled at once.
    """

    database_url: str
    queue: str
    threads: int

    @classmethod
    def read(cls) -> Self:
        """Read the environment."""
        return cls(os.environ["RIVAL_DATABASE_URL"], os.environ["RIVAL_QUEUE"], int(os.environ["RIVAL_THREADS"]))


def begin() -> threading.Event:
    """Log warnings only, and return what is set once SIGTERM has come."""
    logging.basicConfig(level=logging.WARNING)
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    return ended


def say_ready() -> None:
    """Tell whoever has started us that messages are taken from now on."""
    sys.stdout.write("ready\n")
    sys.stdout.flush()
