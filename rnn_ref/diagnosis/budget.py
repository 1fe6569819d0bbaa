"""How long explaining may take: seconds of this process, as a busy machine changes few of them."""

from __future__ import annotations

import time

PATIENCE = 5
"""How many times the seconds may pass on the clock, for a subject that waits."""


class Budget:
    """Some seconds of this process, from now on."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.started = time.process_time(), time.monotonic()

    @property
    def used(self) -> float:
        """How many seconds are used."""
        process, clock = self.started
        return max(time.process_time() - process, (time.monotonic() - clock) / PATIENCE)

    @property
    def left(self) -> bool:
        """Whether some are left."""
        return self.used < self.seconds
