"""Progress on stderr: a bar with the time left on a terminal, plain lines elsewhere; Ctrl-C once asks to stop."""
import signal
import sys
import threading
import time


class Progress:
    """A context manager whose instances are called with (percent, phase) and return True once a stop was asked for."""

    def __init__(self, stream=None):
        self._stream = stream or sys.stderr
        self._interactive = hasattr(self._stream, "isatty") and self._stream.isatty()
        self._start = time.monotonic()
        self._stop = False
        self._last = None
        self._previous_handler = None

    def __enter__(self):
        if threading.current_thread() is threading.main_thread():
            self._previous_handler = signal.signal(signal.SIGINT, self._interrupt)
        return self

    def __exit__(self, *_):
        if self._previous_handler is not None:
            signal.signal(signal.SIGINT, self._previous_handler)
        if self._interactive and self._last is not None:
            self._stream.write("\n")
        return False

    def _interrupt(self, signum, frame):
        if self._stop:  # the second time: the usual KeyboardInterrupt
            signal.signal(signal.SIGINT, self._previous_handler)
            raise KeyboardInterrupt
        self._stop = True
        self._stream.write("\nStopping with the best so far; press Ctrl-C again to give up.\n")

    def __call__(self, percent, phase):
        if (percent, phase) != self._last:
            self._last = (percent, phase)
            if self._interactive:
                self._draw_bar(percent, phase)
            else:
                self._stream.write(f"[Progress] {percent}%, phase: {phase}.\n")
            self._stream.flush()
        return self._stop

    def _draw_bar(self, percent, phase):
        elapsed = time.monotonic() - self._start
        left = f"{elapsed * (100 - percent) / percent:.0f} s left" if percent > 5 else ""
        done = percent * 30 // 100
        self._stream.write(f"\r[{'#' * done}{'.' * (30 - done)}] {percent:3d}% {phase:<28.28} {left:<12}")
