"""Carries out `kubectl flagschedule`: parses, reads, computes, prints; errors become one sentence."""

import argparse
import io
import json
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Final

from flagschedule.plugin import acting, arguments, completion, history, page, preview, reading, text, timeline, why
from flagschedule.plugin.errors import KubectlError, PluginError
from flagschedule.plugin.forecast import Setting, forecast, simulate
from flagschedule.plugin.kubectl import FIELD_MANAGER, Kubectl
from flagschedule.plugin.objects import FREEZE, NOT_SEEN, PLAN, RESOURCES, SCHEDULE, Flag, Obj
from flagschedule.plugin.reading import Found, Scope

Run = Callable[["Session"], int]
_MOST_AT_ONCE: Final = 8  # calls of kubectl
_LOOK_AHEAD: Final = timedelta(days=7)
_COLOURS: Final = {why.Mark.PASSED: "green", why.Mark.WAITS: "yellow", why.Mark.STOPS: "red", why.Mark.OPEN: "dim"}


def main(words: Sequence[str] | None = None) -> int:
    """Carry out one command. Returns: the exit code."""
    words = sys.argv[1:] if words is None else words
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal that is not UTF-8 cannot show every key
    parser = arguments.parser()
    if words[:1] == ["__complete"]:
        _print(completion.complete(parser, words[1:]))
        return 0
    given = parser.parse_args(words)
    try:
        return _RUNS[given.command](Session(given, datetime.now(UTC)))
    except PluginError as error:
        for line in str(error).splitlines():
            _warn(line)
        return 1
    except BrokenPipeError:  # `| head` has read enough; what is left is written when Python ends
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return 130


class Session:
    """One command: what was given, kubectl, and the time at which it began."""

    def __init__(self, given: argparse.Namespace, now: datetime) -> None:
        """Prepare kubectl with the user's options."""
        self.given = given
        self.now = now.replace(microsecond=0)
        self.kubectl = Kubectl(arguments.flags_of_kubectl(given), standard_error=sys.stderr.buffer)
        self._noted: set[str] = set()
        self.scope = Scope(tuple(vars(given).get("namespaces", ())), bool(vars(given).get("all_namespaces")))

    def read(self, *kinds: str, everywhere: bool = False, managed: bool = False) -> Found:
        """Return all objects of some kinds, in the namespaces that were named or in all; see `reading.read`."""
        scope = Scope(is_all=True) if everywhere else self.scope
        return reading.read(self.kubectl, scope, kinds or (SCHEDULE, PLAN, FREEZE), managed=managed)

    def find(self, *kinds: str) -> Obj:
        """Return the object that is named."""
        obj, notes = reading.find(self.kubectl, self.scope, self.given.name, kinds, managed=True)
        self.note(notes)
        return obj

    def note(self, notes: Iterable[str]) -> None:
        """Show notes on standard error, each of them once."""
        for note in notes:
            if note not in self._noted:
                self._noted.add(note)
                _warn(f"note: {note}")


def _print(lines: Iterable[str]) -> None:
    for line in lines:
        sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _warn(line: str) -> None:
    sys.stderr.write(f"{text.clean(line)}\n")


def _timeline(session: Session) -> int:
    given = session.given
    found = session.read()
    objects = [obj for obj in found.objects if given.flag is None or obj.kind == FREEZE or _has(obj, given.flag)]
    plan = forecast(objects, session.now, session.now + given.next)
    if given.flag is not None:
        plan = plan.of_flag(given.flag)
    session.note([*plan.faults, *found.notes])
    match given.output:
        case "json":
            _print([timeline.as_json(plan, found.notes)])
        case "ics":
            sys.stdout.buffer.write(timeline.as_calendar(plan).encode())
        case "html":
            sys.stdout.buffer.write(page.as_page(plan, "Feature flag timeline", found.notes).encode())
        case _:
            head, *rows = timeline.as_table(plan)
            _print([text.Style(sys.stdout)(head, "bold"), *rows])
    return 0


def _has(obj: Obj, key: str) -> bool:
    return any(flag.key == key for flag in obj.flags)


def _preview(session: Session) -> int:
    given, kubectl = session.given, session.kubectl
    places = [f"--namespace={name}" for name in session.scope.namespaces[:1]]
    words = ("create", "--dry-run=client", "--validate=false", "--recursive", f"--filename={given.filename}")
    raw, faults = kubectl.objects_and_faults(*words, *places)
    file = [Obj(each) for each in raw if each.get("kind") in RESOURCES]
    if faults:
        raise KubectlError("\n".join(faults))
    if not file:
        raise PluginError(f"{given.filename} has no FlagSchedule, FlagPlan or FlagFreeze")
    try:
        found = session.read(everywhere=True)
    except PluginError:
        found = reading.read(kubectl, Scope(tuple(dict.fromkeys(obj.namespace for obj in file if obj.namespace))))
        found = Found(found.objects, (*found.notes, "compared with the namespaces of the file only"))
    session.note(found.notes)
    judged = _judge(kubectl, file, {_place(obj): obj for obj in found.objects})
    reviews = preview.review(judged, found.objects, session.now, given.time_zone)
    _print(preview.as_lines(reviews))
    conflicts = sum(len(each.conflicts) for each in reviews)
    _print(["", f"{len(reviews)} objects, {conflicts} conflicts"])
    return 1 if conflicts else 0


def _place(obj: Obj) -> tuple[str, str, str]:
    return obj.kind, obj.namespace, obj.name


def _judge(kubectl: Kubectl, file: Sequence[Obj], live: Mapping[tuple[str, str, str], Obj]) -> list[preview.Judged]:
    """Return the API server's verdict of each object, without a change of anything."""
    try:
        accepted = {_place(obj): obj for obj in _dry_run(kubectl, file)}
        return [preview.accepted(accepted[_place(obj)], live.get(_place(obj))) for obj in file]
    except KubectlError:
        pass  # kubectl shows no object if one is refused, so each gets a request of its own

    def one(obj: Obj) -> preview.Judged:
        try:
            return preview.accepted(_dry_run(kubectl, [obj])[0], live.get(_place(obj)))
        except KubectlError as error:
            return preview.Judged(obj, live.get(_place(obj)), " ".join(str(error).split()))

    with ThreadPoolExecutor(_MOST_AT_ONCE) as pool:
        return list(pool.map(one, file))


def _dry_run(kubectl: Kubectl, file: Sequence[Obj]) -> list[Obj]:
    whole = {"apiVersion": "v1", "kind": "List", "items": [obj.raw for obj in file]}
    words = ("apply", "--dry-run=server", "--filename=-", FIELD_MANAGER)
    return [Obj(raw) for raw in kubectl.objects(*words, stdin=json.dumps(whole))]


def _why(session: Session) -> int:
    obj = session.find(SCHEDULE, PLAN, FREEZE)
    freezes = session.read(FREEZE)
    session.note(freezes.notes)
    verdict = why.explain(obj, None if freezes.notes else freezes.objects, session.now)
    style = text.Style(sys.stdout)
    _print([style(f"{obj.shown}: {obj.phase}", "bold")])
    _print(f"{style(f'[{check.mark}]', _COLOURS[check.mark])} {check.name}: {check.state}" for check in verdict.checks)
    _print(["", f"It waits for: {verdict.sentence}" if obj.kind != FREEZE else verdict.sentence])
    if verdict.helps:
        _print([f"What helps: {verdict.helps}"])
    return 0


def _simulate(session: Session) -> int:
    given = session.given
    if given.at < session.now:
        raise PluginError("--at lies in the past; `kubectl flagschedule history` shows what was")
    found = session.read()
    plan = forecast(found.objects, session.now, given.at)
    settings, missed = simulate(found.objects, plan, given.at)
    flags = sorted({flag for obj in found.objects for flag in obj.flags if given.flag in {None, flag.key}})
    session.note([*plan.faults, *found.notes, *missed])
    _print(text.table(("FLAG", "ENABLED", "ROLLOUT", "SET BY"), (_simulated(flag, settings) for flag in flags)))
    if any((flag, name) not in settings for flag in flags for name in ("enabled", "rolloutPercentage")):
        session.note(["? is a value that no object of the cluster is known to have set"])
    return 0


def _simulated(flag: Flag, settings: Mapping[tuple[Flag, str], Setting]) -> tuple[str, ...]:
    found = [settings.get((flag, name)) for name in ("enabled", "rolloutPercentage")]
    shown = ["?" if each is None else str(each.value).lower() for each in found]
    sources = dict.fromkeys(
        " or ".join([_setter(each), *(other.shown for other in each.also)]) for each in found if each is not None
    )
    return (str(flag), *shown, "; ".join(sources))


def _setter(setting: Setting) -> str:
    return setting.source.shown + (f", {text.clean(setting.step)}" if setting.step else "")


def _history(session: Session) -> int:
    given = session.given
    if given.flag is None:
        objects = [session.find(SCHEDULE, PLAN)]
    else:
        found = session.read(SCHEDULE, PLAN)
        session.note(found.notes)
        objects = [obj for obj in found.objects if _has(obj, given.flag)]
    for obj in objects:
        if not obj.is_seen:
            session.note([f"{obj.shown}: {NOT_SEEN}"])
    faults: list[str] = []
    head, *rows = history.as_table(history.entries(objects, given.flag, faults))
    session.note(faults)
    _print([text.Style(sys.stdout)(head, "bold"), *rows])
    return 0


def _revert(session: Session) -> int:
    obj = session.find(SCHEDULE, PLAN)
    try:
        found = session.read(everywhere=True)
    except PluginError:
        found = session.read()
    same = [other for other in found.objects if other.kind == FREEZE or set(obj.flags) & set(other.flags)]
    coming = forecast(same, session.now, session.now + _LOOK_AHEAD)
    now = datetime.now(UTC)  # what was read took its time, and the change must be due in the future
    reverted = history.revert(obj, same, coming, now, session.given.lead)
    session.note([*found.notes, *reverted.warnings])
    sys.stdout.write(reverted.yaml)
    return 0


def _act(session: Session, act: acting.Act) -> int:
    done, *warnings = acting.perform(session.kubectl, act)
    _print([done])
    for warning in warnings:
        _warn(warning)
    return 0


def _retry(session: Session) -> int:
    return _act(session, acting.retry(session.find(SCHEDULE, PLAN), session.now))


def _cancel(session: Session) -> int:
    return _act(session, acting.cancel(session.find(SCHEDULE, PLAN)))


def _promote(session: Session) -> int:
    return _act(session, acting.promote(session.find(PLAN), session.given.step))


def _suspend(session: Session) -> int:
    if session.given.flag is None:
        return _act(session, acting.suspend(session.find(SCHEDULE, PLAN)))
    objects = acting.to_suspend(_of_flag(session), session.given.flag)
    return _act_on_all(session, [acting.suspend(obj, by_flag=True) for obj in objects])


def _resume(session: Session) -> int:
    if session.given.flag is None:
        return _act(session, acting.resume(session.find(SCHEDULE, PLAN)))
    objects = _of_flag(session)
    chosen = acting.to_resume(objects, session.given.flag)
    stays = [obj.shown for obj in objects if obj.spec.get("suspend") and obj not in chosen]
    session.note([f"stays suspended, as it was before `suspend --flag`: {name}" for name in stays])
    return _act_on_all(session, [acting.resume(obj) for obj in chosen])


def _of_flag(session: Session) -> list[Obj]:
    found = session.read(SCHEDULE, PLAN, managed=True)
    session.note(found.notes)
    return [obj for obj in found.objects if _has(obj, session.given.flag)]


def _act_on_all(session: Session, acts: Sequence[acting.Act]) -> int:
    """Perform all acts; one that is refused keeps no other from being performed."""

    def one(act: acting.Act) -> list[str] | PluginError:
        try:
            return acting.perform(session.kubectl, act)
        except PluginError as error:
            return error

    with ThreadPoolExecutor(_MOST_AT_ONCE) as pool:
        results = list(pool.map(one, acts))
    for act, result in zip(acts, results, strict=True):
        if isinstance(result, PluginError):
            _warn(f"{act.obj.shown}: {result}")
            continue
        done, *warnings = result
        _print([done])
        for warning in warnings:
            _warn(warning)
    if not acts:
        _print(["Nothing to do: no object of this flag is concerned."])
    return 1 if any(isinstance(result, PluginError) for result in results) else 0


def _freeze(session: Session) -> int:
    given = session.given
    if session.scope.is_all and session.scope.namespaces:
        raise PluginError("-A freezes all namespaces, and -n the named ones only: give one of the two")
    wanted = acting.Freezing(
        name=given.name,
        reason=given.reason,
        flags=tuple(given.flags),
        environments=tuple(given.environments),
        namespaces=session.scope.namespaces,
        length=given.length,
        allow_switch_off=given.allow_switch_off,
    )
    if not (wanted.flags or wanted.environments or wanted.namespaces or session.scope.is_all):
        raise PluginError(
            "say what to freeze: --flag, --environment or -n, or -A to freeze every change of the database"
        )
    _print(acting.freeze(session.kubectl, wanted, session.now))
    return 0


def _unfreeze(session: Session) -> int:
    obj = session.find(FREEZE)
    found = session.read(SCHEDULE, everywhere=True)
    session.note(found.notes)
    held = acting.held_by(obj, found.objects)
    _print([f"{obj.shown} holds {obj.status.get('held', 0)} changes, which are made at once when it is gone:"])
    _print(
        f"  {text.clean(each.status.get('scheduledAt'))} {each.shown} {Flag.of(each.spec)}: "
        f"{text.clean(each.status.get('change') or '')}"
        for each in held
    )
    if not session.given.yes and not _confirmed():
        _warn("nothing was deleted; add --yes to delete it")
        return 1
    session.kubectl.run("delete", f"{RESOURCES[FREEZE]}/{obj.name}", "--wait=false")
    _print([f"{obj.shown} deleted"])
    return 0


def _confirmed() -> bool:
    if not sys.stdin.isatty():
        return False
    sys.stderr.write("Delete it? [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in {"y", "yes"}


def _completion(_: Session) -> int:
    sys.stdout.write(completion.SCRIPT)
    return 0


_RUNS: Final[dict[str, Run]] = {
    "timeline": _timeline,
    "preview": _preview,
    "why": _why,
    "simulate": _simulate,
    "history": _history,
    "revert": _revert,
    "retry": _retry,
    "suspend": _suspend,
    "resume": _resume,
    "cancel": _cancel,
    "promote": _promote,
    "freeze": _freeze,
    "unfreeze": _unfreeze,
    "completion": _completion,
}
