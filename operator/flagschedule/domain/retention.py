"""How long what is finished is kept. Used by the cleaner; all times are the database's.

Failed schedules and unfinished ones are never deleted, apart from failed rows of plans. Watermarks have no age: however
old, a schedule that set a flag last must keep winning over a late retry of an older one. They go with their flag.
"""

from dataclasses import dataclass

_ATTEMPTS_LONGER = 90


@dataclass(frozen=True, kw_only=True)
class Retention:
    """For how many days each kind of row is kept. Two are settings; the others follow from promises in the docs.

    Attributes:
        applied_days: an applied row, since it was applied.
        cancelled_days: a cancelled row, since it was cancelled.
        plan_applied_days: an applied row of a plan, if that is less; its outcome is kept without it.
        plan_failed_days: a row of a plan that failed and is not tried again.
        record_days: the record of an object without a row, since the object's deletion. So long a change that was
            made is recognised if its object is created again, and is not made again. Also a version
            of an object, since it was seen; it goes with the record at the latest.
        notice_days: a notice for the webhook, since it was written; it is dropped after three days anyway.
        run_days: the summary of a run of the processor, since its start.
    """

    applied_days: int
    cancelled_days: int
    plan_applied_days: int = 14
    plan_failed_days: int = 90
    record_days: int = 400
    notice_days: int = 7
    run_days: int = 7

    @property
    def attempt_days(self) -> int:
        """An attempt whose row is gone, since it was made.

        The database does not know when the row was deleted. A row's age counts from the attempt that applied it, so
        this attempt is kept exactly 90 days longer than the row; other attempts are a little older or younger.
        """
        return max(self.applied_days, self.cancelled_days) + _ATTEMPTS_LONGER
