"""Ctrl-C and SIGTERM as a wish that a training grants at the end of its step."""

import signal
import threading
from types import FrameType, TracebackType
from typing import Any

__all__ = ["Wish", "ignore_interrupts"]

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Wish:
    """Within this, the first SIGINT or SIGTERM is noted in ``signal``, and a second one does what it always did.

    Handlers can be set in the main thread alone; elsewhere nothing is noted.

    Args:
        heard: Whether to listen at all.
    """

    def __init__(self, *, heard: bool = True) -> None:
        self.signal = 0
        self._heard = heard and threading.current_thread() is threading.main_thread()
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "Wish":
        if self._heard:
            self._before = {number: signal.signal(number, self._note) for number in _SIGNALS}
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._restore()

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.signal = number
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}


def ignore_interrupts(worker: int) -> None:
    """For processes that read data: Ctrl-C reaches them too, and it is the run that ends them."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
