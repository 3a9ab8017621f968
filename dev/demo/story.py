"""The demo itself: what happens, in the order in which the reader sees it.

Called by the command. Each step says what happens and why, shows the commands and what they print, and checks what
it has shown.
"""

import json
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from dev.demo import clusters, commands, samples
from dev.demo.choices import Choices
from dev.demo.commands import CommandFailedError, DemoError, Kubectl
from dev.demo.installation import NAMESPACE, Installation
from dev.demo.narrator import Narrator
from dev.demo.stores import CACHE_SECONDS, Stores, programs
from dev.localkind import kind_binary

_LONGEST_DELAY: Final = 75  # seconds from the time of a schedule to its change, where the first run has yet to start
_PATIENCE: Final = "--timeout=180s"


@dataclass(frozen=True)
class _ShownKubectl:
    """kubectl, shown with what it prints."""

    kubectl: Kubectl
    narrator: Narrator

    def __call__(self, *words: str, stdin: str | None = None) -> str:
        self.narrator.command("kubectl", *words)
        with self.narrator.waiting("kubectl is waiting" if "wait" in words else "kubectl is at work"):
            output = self.kubectl(*words, stdin=stdin)
        self.narrator.plain(output)
        return output


class Story:
    """The demo, step by step. What it makes is undone by `cleanup`, in reverse order.

    Args:
        choices: what the reader chose.
        narrator: prints it.
        folder: for its files.
        cleanup: closed by the caller, when no interrupt can come any more.
    """

    def __init__(self, choices: Choices, narrator: Narrator, folder: Path, cleanup: ExitStack) -> None:
        self._narrator = narrator
        self._choices = choices
        self._cleanup = cleanup
        self._folder = folder
        self._cluster = clusters.choose(choices, narrator, self._folder)
        self._removal = cleanup.enter_context(ExitStack())
        self._quiet = Kubectl(self._folder / "kubeconfig")
        self._kubectl = _ShownKubectl(self._quiet, narrator)
        self._kubectl_here = _ShownKubectl(Kubectl(self._quiet.kubeconfig, self._folder), narrator)

    def run(self) -> None:
        """Run all steps.

        Raises:
            DemoError: it cannot go on.
        """
        clusters.check_disk()
        self._cluster.check()
        self._build()
        self._start_cluster()
        installation = self._install()
        stores = Stores(installation, self._narrator)
        self._show_flags(stores)
        due = self._apply_samples()
        self._let_the_flag_appear(stores)
        self._delete_one(stores)
        self._show_refusals()
        self._wait_for_the_cronjob(due)
        self._show_effect(stores)
        self._show_a_ramp_and_a_freeze(stores)
        self._say_how_to_go_on(installation)

    def _build(self) -> None:
        self._narrator.headline(
            "Programs and image",
            "Built when they are missing or have changed, and kept for the next time. The very first build takes long: "
            "without Docker, Kubernetes itself is built from its sources.",
        )
        if not self._choices.context and kind_binary.is_own():
            with tempfile.TemporaryFile("w") as ignored:  # where the programs are; progress is on stderr
                _module(self._narrator, "dev.localkind", "build", stdout=ignored)
        if not self._choices.image:
            _module(self._narrator, "dev.image", "build")

    def _start_cluster(self) -> None:
        self._narrator.headline(self._cluster.title, self._cluster.why)
        self._removal.callback(self._cluster.remove)
        self._cluster.prepare()
        self._kubectl("get", "nodes")

    def _install(self) -> Installation:
        self._narrator.headline(
            "Postgres and Redis",
            "They belong to the application whose flags are changed. They run on this machine, outside of the "
            "cluster, in a temporary folder.",
        )
        with self._narrator.waiting("Starting Postgres and Redis"):
            parts = Installation(self._kubectl, self._cluster.host(), self._folder, self._cluster.manifests())
            installation = self._cleanup.enter_context(parts)
        # Before the database: the operator needs it to release its objects.
        self._cleanup.callback(self._removal.close)
        self._narrator.plain(f"Postgres: {_hidden(installation.database_url, installation.postgres.password)}")
        self._narrator.plain(f"Redis:    {_hidden(installation.redis_url, installation.redis.password)}")
        self._narrator.headline(
            "FlagSchedule is installed",
            "A Secret says where database and cache are. One Job makes the tables, one Deployment runs the "
            "operator, one CronJob starts the processor every minute.",
        )
        try:
            installation.install()
        except CommandFailedError:
            installation.look_around()
            raise
        self._kubectl("get", "pods,cronjobs", f"--namespace={NAMESPACE}")
        return installation

    def _show_flags(self, stores: Stores) -> None:
        self._narrator.headline(
            "The application's flags, before",
            "Two flags, and the cached copy that the application keeps in Redis for five minutes.",
        )
        for flag in (samples.LAUNCH_FLAG, samples.DELETED_FLAG):
            stores.add_flag(flag)
        stores.show_flags()
        stores.fill_cache()
        self._narrator.expect(stores.show_cache(), f"The cache holds the flags, for {CACHE_SECONDS} seconds.")

    def _apply_samples(self) -> datetime:
        self._narrator.headline(
            "Three changes are planned",
            "One is due in a few seconds, one is for a flag that does not exist yet, and one is due in an hour.",
        )
        self._quiet("create", "namespace", clusters.DEMO_NAMESPACE)
        clusters.mark(self._quiet, clusters.DEMO_NAMESPACE)
        now = datetime.now(UTC)
        texts = samples.three(now)
        for name, text in texts.items():
            (self._folder / f"{name}.yaml").write_text(text)
        self._cat(f"{samples.LAUNCH}.yaml")
        self._kubectl_here("apply", *(word for name in texts for word in ("-f", f"{name}.yaml")))
        wait = ("wait", "--for=condition=Ready=true", _PATIENCE)
        self._quiet(*wait, f"flagschedule/{samples.LAUNCH}", f"flagschedule/{samples.DELETED}")
        self._await_phase("Waiting")
        self._kubectl("get", "flagschedules")
        return samples.soon(now)

    def _cat(self, file: str) -> None:
        self._narrator.command("cat", file)
        self._narrator.plain((self._folder / file).read_text())

    def _await_phase(self, phase: str) -> None:
        wait = f"--for=jsonpath={{.status.phase}}={phase}"
        self._quiet("wait", wait, f"flagschedule/{samples.MISSING}", _PATIENCE)

    def _let_the_flag_appear(self, stores: Stores) -> None:
        name = f"flagschedule/{samples.MISSING}"
        self._narrator.headline(
            "The missing flag appears",
            "Ready=False says why the second one waits. As soon as the application has the flag, the operator "
            "goes on by itself.",
        )
        conditions = '{range .status.conditions[*]}{.type}={.status} {.reason}: {.message}{"\\n"}{end}'
        output = self._kubectl("get", name, f"--output=jsonpath={conditions}")
        self._narrator.expect("Ready=False FlagNotFound" in output, "It waits, and says for what.")
        stores.add_flag(samples.MISSING_FLAG)
        self._kubectl("wait", "--for=condition=Ready", name, _PATIENCE)
        self._kubectl("get", name, "--output=wide")

    def _delete_one(self, stores: Stores) -> None:
        self._narrator.headline(
            "One plan is dropped",
            "Deleting the object before its time cancels the change. The row stays, as a note of what happened.",
        )
        self._kubectl("delete", f"flagschedule/{samples.DELETED}")
        stores.show_schedules()
        self._narrator.expect(stores.states(samples.DELETED_FLAG) == ["cancelled"], "Its row is cancelled.")

    def _show_refusals(self) -> None:
        self._narrator.headline(
            "Mistakes are refused at once", "By the API server itself: nothing gets as far as the database."
        )
        past, later = "2020-01-01T09:00:00Z", "2035-01-01T09:00:00Z"
        self._refuse(past, "{enabled: true}", "must be in the future")
        self._refuse(later, "{rolloutPercentage: 101}", "101")

    def _refuse(self, scheduled_at: str, updates: str, sentence: str) -> None:
        (self._folder / "mistake.yaml").write_text(
            samples.yaml("mistake", samples.LAUNCH_FLAG, scheduled_at, updates),
        )
        self._narrator.command("tail", "-n2", "mistake.yaml")
        self._narrator.plain(f'  scheduledAt: "{scheduled_at}"\n  updates: {updates}')
        try:
            said = self._kubectl_here("apply", "-f", "mistake.yaml")
        except CommandFailedError as error:
            said = error.said
            self._narrator.plain(said)
        self._narrator.expect(sentence in said, "It was refused, with a sentence that says why.")

    def _wait_for_the_cronjob(self, due: datetime) -> None:
        self._narrator.headline(
            "The CronJob starts the processor",
            "Each minute a run starts, and stays until the next one is there. It makes what is due, in order "
            "and each change once, and then wakes when something comes due.",
        )
        names = [f"flagschedule/{name}" for name in (samples.LAUNCH, samples.MISSING)]
        words = ("wait", "--for=condition=Applied", *names, _PATIENCE)
        self._narrator.command("kubectl", *words)
        with self._narrator.waiting("Waiting", lambda: _until(samples.next_minute(due))):
            output = self._quiet(*words)
        self._narrator.plain(output)
        self._kubectl("get", "flagschedules")
        self._kubectl("get", "jobs,pods", f"--namespace={NAMESPACE}")
        self._show_log()

    def _show_log(self) -> None:
        """Show what the processor that made the changes said."""
        processors = ("--selector=app.kubernetes.io/component=processor", f"--namespace={NAMESPACE}")
        pods = json.loads(self._quiet("get", "pods", *processors, "--output=json"))["items"]
        for name in (pod["metadata"]["name"] for pod in pods):
            log = self._quiet("logs", name, f"--namespace={NAMESPACE}")
            if "Schedule applied" in log:
                self._narrator.command("kubectl", "logs", name, f"--namespace={NAMESPACE}")
                self._narrator.plain(log)

    def _show_effect(self, stores: Stores) -> None:
        self._narrator.headline(
            "The application's flags, after",
            "The flags are changed, and the cached copy is gone, so that the application reads them again.",
        )
        stores.show_flags()
        stores.show_schedules()
        is_cached = stores.show_cache()
        self._narrator.expect(stores.flag(samples.LAUNCH_FLAG) == (True, 25), "checkout-v2 is on for 25 %.")
        self._narrator.expect(stores.flag(samples.MISSING_FLAG) == (True, 0), "new-search is on.")
        self._narrator.expect(stores.flag(samples.DELETED_FLAG) == (False, 0), "winter-banner is as it was.")
        self._narrator.expect(not is_cached, "The cached copy is gone.")
        for name in (samples.LAUNCH, samples.MISSING):
            self._expect_in_time(name)

    def _show_a_ramp_and_a_freeze(self, stores: Stores) -> None:
        self._narrator.headline(
            "A ramp, and a stop button",
            "A FlagPlan makes several changes: each step counts from the moment at which the one before was made. A "
            "FlagFreeze holds everything, plans and schedules, until it is deleted.",
        )
        plan, freeze = f"flagplan/{samples.RAMP}", f"flagfreeze/{samples.FREEZE}"
        for name, text in (("ramp", samples.ramp(datetime.now(UTC))), ("freeze", samples.freeze())):
            (self._folder / f"{name}.yaml").write_text(text)
        self._cat("ramp.yaml")
        self._kubectl_here("apply", "-f", "ramp.yaml")
        self._kubectl("wait", plan, "--for=jsonpath={.status.last.step}=five", _PATIENCE)
        self._removal.callback(self._quiet, "delete", freeze, "--ignore-not-found")
        self._kubectl_here("apply", "-f", "freeze.yaml")
        self._kubectl("wait", freeze, "--for=jsonpath={.status.held}=1", _PATIENCE)
        self._kubectl("get", "flagplans,flagfreezes")
        self._narrator.expect(stores.flag(samples.MISSING_FLAG) == (True, 5), "The second step is due, and held.")
        self._kubectl("delete", freeze)
        self._kubectl("wait", plan, "--for=condition=Finished", _PATIENCE)
        self._kubectl("get", "flagplans")
        self._narrator.expect(stores.flag(samples.MISSING_FLAG) == (True, 100), "The ramp went on by itself.")

    def _expect_in_time(self, name: str) -> None:
        obj: dict[str, Any] = json.loads(self._quiet("get", f"flagschedule/{name}", "--output=json"))
        planned, done = (
            datetime.fromisoformat(text) for text in (obj["spec"]["scheduledAt"], obj["status"]["appliedAt"])
        )
        delay = (done - planned).total_seconds()
        self._narrator.expect(0 <= delay <= _LONGEST_DELAY, f"{name} was applied {delay:.0f} s after its time.")

    def _say_how_to_go_on(self, installation: Installation) -> None:
        self._narrator.headline("What you could do next" if self._choices.once else "Your turn, in another terminal")
        when = "$(date -u -d '+20 seconds' +%Y-%m-%dT%H:%M:%SZ)"
        launch = samples.yaml("checkout-v2-for-all", samples.LAUNCH_FLAG, when, "{rolloutPercentage: 100}")
        lines = [
            f"export KUBECONFIG={self._quiet.kubeconfig}",
            f"export PATH={commands.kubectl_program().parent}:{programs()}:$PATH",
            f"export DATABASE_URL={installation.database_url}",
            "",
            "kubectl get flagschedules --watch",
            "kubectl explain flagschedule.spec",
            f"kubectl logs --namespace={NAMESPACE} --selector=app.kubernetes.io/component=operator --follow",
            "psql $DATABASE_URL -c 'TABLE feature_flags'",
            "",
            f"kubectl apply -f - <<END\n{launch}END",
        ]
        self._narrator.plain("\n".join(lines))


def _until(instant: datetime) -> str:
    left = (instant - datetime.now(UTC)).total_seconds()
    start = instant.strftime("%H:%M:%S UTC")
    return f"; the next run starts at {start}, in {left:.0f} s" if left > 0 else f"; a run started at {start}"


def _hidden(url: str, password: str) -> str:
    return url.replace(password, "…")


def _module(narrator: Narrator, module: str, *words: str, stdout: Any = None) -> None:
    """Run one of the repository's programs, which show their own progress."""
    narrator.command("python", "-m", module, *words)
    try:
        commands.run([sys.executable, "-u", "-m", module, *words], stdout=stdout, stderr=None)
    except CommandFailedError:
        raise DemoError(f"`python -m {module} {' '.join(words)}` failed; its message is above.") from None
