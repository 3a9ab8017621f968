"""Every error the project raises on purpose; the docstring of each is its default message.

The type carries the decision: what is no object's fault (`DependencyUnavailableError`) is waited for, what a
person must mend (`ConfigurationError`) ends the program, what concerns one object ends with that object.
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
    """The API server knows us, and does not allow what we asked for."""


class StatementRefusedError(FlagScheduleError):
    """The database refused a statement of ours; nothing was changed."""

    def __init__(self, sqlstate: str, condition: str) -> None:
        super().__init__(f"the database refused the change ({condition})")
        self.sqlstate = sqlstate


class RowRefusedError(StatementRefusedError):
    """A constraint or a trigger said no to the change: SQLSTATE of class 22, 23 or P0."""


class UnexpectedRefusalError(StatementRefusedError):
    """The database failed on a statement for another reason; no attempt is consumed.

    `systemic` tells that the reason is more likely the database's than a row's: a missing table or right, a
    lock, a timeout, a conflict.
    """

    def __init__(self, sqlstate: str, condition: str, *, systemic: bool) -> None:
        super().__init__(sqlstate, condition)
        self.systemic = systemic


class ObjectGoneError(FlagScheduleError):
    """The object does not exist any more, or another one has taken its name."""


class ObjectChangedError(FlagScheduleError):
    """The object changed since it was read; read it again and decide again."""


class InvalidSpecError(FlagScheduleError):
    """The spec passed the CRD's schema but is not a change that can be made."""
