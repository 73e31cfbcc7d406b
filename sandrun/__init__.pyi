"""The public names for type checkers: the package imports each when it is first used."""

from sandrun.errors import (
    CommandError as CommandError,
)
from sandrun.errors import (
    ProfileError as ProfileError,
)
from sandrun.errors import (
    SandrunError as SandrunError,
)
from sandrun.errors import (
    StepError as StepError,
)
from sandrun.errors import (
    UnsupportedError as UnsupportedError,
)
from sandrun.errors import (
    UsageError as UsageError,
)
from sandrun.kernel import Kernel as Kernel
from sandrun.kernel import probe as probe
from sandrun.library.aio import create_subprocess_exec as create_subprocess_exec
from sandrun.library.builder import Profile as Profile
from sandrun.library.call import call as call
from sandrun.library.call import sandboxed as sandboxed
from sandrun.library.call_errors import (
    CallError as CallError,
)
from sandrun.library.call_errors import (
    CallTimeoutError as CallTimeoutError,
)
from sandrun.library.call_errors import (
    RemoteError as RemoteError,
)
from sandrun.library.call_errors import (
    SendError as SendError,
)
from sandrun.library.call_errors import (
    WireError as WireError,
)
from sandrun.library.call_errors import (
    WorkerDiedError as WorkerDiedError,
)
from sandrun.library.inplace import enter as enter
from sandrun.library.pool import BrokenSandboxError as BrokenSandboxError
from sandrun.library.pool import SandboxExecutor as SandboxExecutor
from sandrun.library.process import Popen as Popen
from sandrun.library.run import (
    CalledProcessError as CalledProcessError,
)
from sandrun.library.run import (
    CompletedProcess as CompletedProcess,
)
from sandrun.library.run import (
    run as run,
)
from sandrun.library.status import Denial as Denial
from sandrun.library.status import Enforcement as Enforcement
from sandrun.library.status import Resources as Resources
from sandrun.plan.format import Plan as Plan
from sandrun.plan.resolve import Resolution as Resolution
from sandrun.plan.resolve import resolve as resolve
from sandrun.profile import load as load
from sandrun.supervise import Outcome as Outcome

__version__: str
