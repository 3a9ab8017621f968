"""Every error the project raises on purpose; the docstring of each is its default message.

The type carries the decision: what is no object's fault (`DependencyUnavailableError`) is waited for, what a
person must correct (`ConfigurationError`) ends the program, and what concerns one object ends with that object.
"""

from collections.abc import Sequence


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
        host_text: what a trigger of the host wrote for people, bounded and escaped; None where the text is the
            server's own, which may hold values. Show it only where a setting allows it.
    """

    def __init__(self, sqlstate: str, condition: str, host_text: str | None = None) -> None:
        super().__init__(f"the database refused the change ({condition})")
        self.sqlstate = sqlstate
        self.host_text = host_text


class RowRefusedError(StatementRefusedError):
    """A constraint or a trigger refused the change: SQLSTATE of class 22, 23 or P0."""


class ChangeNotMadeError(RowRefusedError):
    """The database accepted the change of a flag and did not make it as requested; it was rolled back."""

    def __init__(self, sqlstate: str, effect: str) -> None:
        super().__init__(sqlstate, effect)
        self.args = (f"the database did not make the change: a trigger, rule or policy {effect}",)


class UnexpectedRefusalError(StatementRefusedError):
    """The database failed on a statement for another reason; no attempt is consumed.

    Attributes:
        passing: a lock, a conflict or a timeout, which may be over at once.
        timed_out: the statement was cancelled, most likely because it took longer than it may.
    """

    def __init__(
        self, sqlstate: str, condition: str, host_text: str | None = None, *, passing: bool, timed_out: bool = False
    ) -> None:
        super().__init__(sqlstate, condition, host_text)
        if timed_out:
            self.args = (f"the change was cancelled, most likely because it took too long ({condition})",)
        self.passing = passing
        self.timed_out = timed_out


class ConflictError(FlagScheduleError):
    """Another transaction is at work on what this object needs; the same operation succeeds later.

    Attributes:
        flag_locked: whether the flag, or a table, is locked that a new row needs; an existing row does not need it.
    """

    def __init__(self, *, flag_locked: bool = False) -> None:
        super().__init__()
        self.flag_locked = flag_locked


class ConnectionLostError(UnexpectedRefusalError):
    """The connection ended while a change was made: by the change itself, or by chance. It may have been committed."""

    def __init__(self) -> None:
        super().__init__("", "", passing=False)
        self.args = ("the connection to the database ended while the change was made",)


class ObjectGoneError(FlagScheduleError):
    """The object does not exist any more, or another one has taken its name."""


class ObjectChangedError(FlagScheduleError):
    """The object changed since it was read; read it again and decide again."""
