"""`SandboxExecutor`: `concurrent.futures` with confined workers."""

from __future__ import annotations

import os
import threading
import time
import weakref
from concurrent.futures import BrokenExecutor, Executor, Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

from sandrun.library import interpreter, sent, wire
from sandrun.library.call import PROFILE, value
from sandrun.library.channel import Worker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from sandrun.library.words import Source

T = TypeVar("T")


class SandboxExecutor(Executor):
    """Runs each job as `sandrun.call` does, up to `max_workers` at once (by default, the number of processors).

    Each job has a process of its own. With `reuse=True` processes run one job after the other: quicker, but what a job does to
    its process meets the jobs after it, so that they must trust each other. A job whose worker dies, hangs beyond `timeout` or
    tells no result fails for itself; the next one gets a new worker.

    `initializer(*initargs)` runs first in each worker, confined as the jobs are. If it fails, the executor is broken: jobs that
    wait and those that come raise BrokenSandboxError.

    `timeout` is for one job, in seconds, the start of its worker included. The other options are those of `sandrun.call`.
    A job that runs cannot be cancelled; `kill_workers` ends all of them.
    """

    def __init__(
        self,
        max_workers: int | None = None,
        profile: Source | Iterable[Source] = PROFILE,
        *,
        reuse: bool = False,
        initializer: Callable[..., object] | None = None,
        initargs: Sequence[Any] = (),
        timeout: float | None = None,
        max_size: int = wire.MAX_SIZE,
        pickle: bool = False,
        **overrides: Any,
    ) -> None:
        """Nothing is started before the first job. Raises SendError for an initializer that cannot be sent."""
        self._options = (profile, overrides)
        self._reuse = reuse
        self._timeout = timeout
        self._max_size = max_size
        self._pickle = pickle
        self._initial = self._job(initializer, initargs, {}, discarded=True) if initializer else None
        self._initializer = initializer
        self._lock = threading.Lock()
        self._idle: list[Worker] = []
        self._busy: set[Worker] = set()
        self._broken: str | None = None
        self._is_over = False
        self._is_killed = False
        # For an executor that nobody shuts down, also at the end of the interpreter, when its threads have ended.
        weakref.finalize(self, _end, self._idle)
        self._threads = ThreadPoolExecutor(max_workers or os.cpu_count() or 1, "sandrun")

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Have `fn(*args, **kwargs)` called in a worker.

        Raises SendError for what cannot be sent, BrokenSandboxError, and RuntimeError after `shutdown`.
        """
        with self._lock:
            self._check()
        job = self._job(fn, args, kwargs)
        paths = interpreter.grants(job, fn)
        return self._threads.submit(self._run, job, paths)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """As `Executor.shutdown` says. Reused workers end once no job is left."""
        with self._lock:
            self._is_over = True
        self._threads.shutdown(wait=wait, cancel_futures=cancel_futures)
        self._dismiss()

    def kill_workers(self) -> None:
        """End all workers now: jobs that run raise WorkerDiedError, those that wait are cancelled."""
        with self._lock:
            self._is_over = True
        self._threads.shutdown(wait=False, cancel_futures=True)
        with self._lock:
            self._is_killed = True
            for worker in self._busy:
                worker.kill()
        self.shutdown()

    # --- in the threads ---

    def _run(self, job: sent.Job, paths: tuple[str, ...]) -> Any:
        """One job, in a thread."""
        deadline = None if self._timeout is None else time.monotonic() + self._timeout
        with self._lock:
            self._check(waiting=True)
        worker = self._hire(paths, deadline)
        try:
            kind, body = worker.ask(job, deadline)
            if not self._reuse:
                worker.finish()
        except BaseException:
            self._fire(worker)
            raise
        self._fire(worker, keep=self._reuse and kind != wire.REFUSED)
        return value(kind, body)

    def _hire(self, paths: tuple[str, ...], deadline: float | None) -> Worker:
        """An idle worker, or a new one that the initializer has run in."""
        with self._lock:
            found = self._idle.pop() if self._idle else None
            if found:
                self._busy.add(found)
        if found and found.is_ready() and set(paths) <= set(found.paths):
            return found
        if found:
            self._fire(found)  # gone since, or made before this job's module was on the path
        profile, overrides = self._options
        worker = Worker(profile, overrides, paths, self._max_size)
        with self._lock:
            self._busy.add(worker)
            if self._is_killed:
                worker.kill()
        if self._initial:
            try:
                value(*worker.ask(self._initial, deadline))
            except BaseException as error:
                self._fire(worker)
                with self._lock:
                    self._broken = f"the initializer failed: {type(error).__name__}: {error}"
                raise BrokenSandboxError(self._broken) from error
        return worker

    def _fire(self, worker: Worker, *, keep: bool = False) -> None:
        """The worker's job is done: keep it for the next one, or see that nothing of it is left."""
        with self._lock:
            self._busy.discard(worker)
            keep = keep and not self._is_over
            if keep:
                self._idle.append(worker)
        if not keep:
            worker.end()

    def _dismiss(self) -> None:
        with self._lock:
            idle = self._idle[:]
            self._idle.clear()
        _end(idle)

    def _check(self, *, waiting: bool = False) -> None:
        if self._broken:
            raise BrokenSandboxError(self._broken)
        if self._is_over and not waiting:
            raise RuntimeError("cannot schedule new futures after shutdown")

    def _job(
        self, function: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any], *, discarded: bool = False
    ) -> sent.Job:
        return sent.make(
            function, args, kwargs, max_size=self._max_size, pickled=self._pickle and not discarded, discarded=discarded
        )


def _end(workers: list[Worker]) -> None:
    for worker in workers:
        worker.end()


class BrokenSandboxError(BrokenExecutor):
    """The initializer of a SandboxExecutor failed, so that it runs no jobs any more."""
