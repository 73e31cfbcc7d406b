"""What goes wrong between the caller of `sandrun.call` and its confined worker, apart from the function's own errors."""

from __future__ import annotations

from sandrun.errors import SandrunError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sandrun.library.status import Denial


class CallError(SandrunError):
    """A function could not be run in a confined process, or what came of it cannot be had."""


class SendError(CallError, TypeError):
    """The function, an argument or the result is of a kind that is not sent between the caller and its worker."""


class WireError(CallError):
    """What the worker wrote is no result: broken off, malformed, too big, or more than one. None of it was used."""


class WorkerDiedError(CallError):
    """The worker ended without a result, or left something behind.

    `returncode` is that of `subprocess`: the exit status, or -N for signal N; None if it is not known. `denials` is what it
    was refused, known with `explain=True` only.
    """

    def __init__(
        self, message: str, *, hint: str | None = None, returncode: int | None = None, denials: tuple[Denial, ...] = ()
    ) -> None:
        super().__init__(message, hint=hint)
        self.returncode = returncode
        self.denials = denials


class CallTimeoutError(CallError, TimeoutError):
    """The result did not come in time. The worker and all that it started have been killed."""


class RemoteError(CallError):
    """The function raised an exception that is not rebuilt here: only plain built-in ones are.

    `type_name` is the name of its type as `MODULE.NAME`, `remote_message` its text and `traceback` where it was raised,
    all of them as the worker tells it: text to show, not to decide by.
    """

    def __init__(self, message: str, *, type_name: str = "", remote_message: str = "", traceback: str = "") -> None:
        super().__init__(message)
        self.type_name = type_name
        self.remote_message = remote_message
        self.traceback = traceback
