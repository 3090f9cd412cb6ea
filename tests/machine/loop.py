"""An event loop that does nothing by itself: whoever holds it says which effect happens next, and when it is told."""

import asyncio
import contextvars
import heapq
import itertools
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class StepLoop(asyncio.AbstractEventLoop):
    """Its clock is that of the host: it stands unless it is moved, and nothing but timers looks at it."""

    def __init__(self, run_thread: Callable[[Callable[[], Any]], "asyncio.Future[Any]"]) -> None:
        """`run_thread` takes what `asyncio.to_thread` is given."""
        self._run_thread = run_thread
        self._ready: deque[asyncio.Handle] = deque()
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._numbers = itertools.count()
        self._time = 0.0
        self.errors: list[dict[str, Any]] = []

    def run(self) -> None:
        """Until everything waits for an effect or a timer."""
        asyncio._set_running_loop(self)
        try:
            while self._ready:
                handle = self._ready.popleft()
                if not handle.cancelled():
                    handle._run()
        finally:
            asyncio._set_running_loop(None)

    @property
    def timers(self) -> int:
        return len(self._timers)

    def fire(self) -> bool:
        """The next timer, whatever the clock says: hosts are late, and clocks are wrong."""
        while self._timers:
            when, _, handle = heapq.heappop(self._timers)
            if not handle.cancelled():
                self._time = max(self._time, when)
                self._ready.append(handle)
                self.run()
                return True
        return False

    def time(self) -> float:
        return self._time

    def call_soon(  # type: ignore[override]
        self, callback: Callable[..., Any], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        self._ready.append(handle)
        return handle

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Callable[..., Any], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self._time + delay, callback, *args, context=context)

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., Any], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        heapq.heappush(self._timers, (when, next(self._numbers), handle))
        return handle

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """It is passed over when its turn comes."""

    def create_future(self) -> "asyncio.Future[Any]":
        return asyncio.Future(loop=self)

    def create_task(self, coro: Coroutine[Any, Any, T], **_options: Any) -> "asyncio.Task[T]":  # type: ignore[override]
        return asyncio.Task(coro, loop=self)

    def run_in_executor(self, _executor: Any, func: Callable[..., T], *_args: Any) -> "asyncio.Future[T]":  # type: ignore[override]
        return self._run_thread(func)

    def get_debug(self) -> bool:
        return False

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        self.errors.append(context)
