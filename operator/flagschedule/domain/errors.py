"""Every error the project raises on purpose; the docstring of each is its default message.

The type carries the decision. An unavailable service (`DependencyUnavailableError`) is no object's fault: programs wait
for it. What a person must correct (`ConfigurationError`) ends the program. All other errors concern one object only.
"""

from collections.abc import Sequence
from typing import Final

ADVICE: Final = "run `flagschedule migrate`, and check the database and the rights of its role"
"""What to do when the database refuses a statement for all rows."""


class FlagScheduleError(Exception):
    """FlagSchedule could not go on."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or (type(self).__doc__ or "").splitlines()[0])


class ConfigurationError(FlagScheduleError):
    """The settings are wrong; all faults are listed at once."""

    def __init__(self, faults: Sequence[str]) -> None:
        super().__init__("\n".join(faults))
        self.faults = tuple(faults)


class DependencyUnavailableError(FlagScheduleError):
    """A service that FlagSchedule needs does not answer, or refuses for reasons that concern no single schedule."""


class CredentialsRefusedError(DependencyUnavailableError):
    """The database refuses the login; other credentials are needed, time alone does not help."""


class AccessForbiddenError(DependencyUnavailableError):
    """The API server knows us, and does not allow the request."""


class KindMissingError(DependencyUnavailableError):
    """The API server does not serve the kind; apply its CRD."""


class StatementRefusedError(FlagScheduleError):
    """The database refused a statement of ours; nothing was changed.

    Attributes:
        sqlstate: the error's code.
        condition: the name of the code, as Postgres' manual lists it; `other` where it has none.
        host_text: what a trigger of the host wrote for people, bounded and escaped; None where the text is the
            server's own, which may hold values. Show it only where a setting allows it.
        momentary: whether a lock, a conflict or a timeout caused it, which may be over at once.
        timed_out: whether the statement was cancelled, most likely because it took longer than it may.
    """

    template: str = "the database refused the change ({})"
    momentary: bool = False
    timed_out: bool = False

    def __init__(self, sqlstate: str, condition: str, host_text: str | None = None) -> None:
        super().__init__(self.template.format(condition))
        self.sqlstate = sqlstate
        self.condition = condition if condition.isidentifier() else "other"
        self.host_text = host_text


class RowRefusedError(StatementRefusedError):
    """A constraint or a trigger refused the change: SQLSTATE of class 22, 23 or P0."""


class ChangeNotMadeError(RowRefusedError):
    """The database accepted the change of a flag and did not make it as requested; it was rolled back."""

    template = "the database did not make the change: a trigger, rule or policy {}"

    def __init__(self, sqlstate: str, effect: str) -> None:
        super().__init__(sqlstate, effect)
        self.condition = "change_not_made"


class UnexpectedRefusalError(StatementRefusedError):
    """The database failed on a statement for another reason; no attempt is consumed."""

    def __init__(
        self, sqlstate: str, condition: str, host_text: str | None = None, *, momentary: bool, timed_out: bool = False
    ) -> None:
        if timed_out:
            self.template = "the change was cancelled, most likely because it took too long ({})"
        super().__init__(sqlstate, condition, host_text)
        self.momentary = momentary
        self.timed_out = timed_out


class ConflictError(FlagScheduleError):
    """Another transaction holds a lock that this object needs; the same operation succeeds later.

    Attributes:
        flag_locked: whether the lock is on the flag, or on a table that a new row needs; an existing row needs neither.
    """

    def __init__(self, *, flag_locked: bool = False) -> None:
        super().__init__()
        self.flag_locked = flag_locked


class ConnectionLostError(UnexpectedRefusalError):
    """The connection ended while a change was made: by the change itself, or by chance. It may have been committed."""

    template = "the connection to the database ended while the change was made"

    def __init__(self) -> None:
        super().__init__("", "", momentary=False)


class ObjectGoneError(FlagScheduleError):
    """The object does not exist any more, or another one has taken its name."""


class ObjectChangedError(FlagScheduleError):
    """The object changed since it was read; read it again and decide again."""
