"""What the pages link to exists."""

import re
from pathlib import Path

import pytest
import yaml

from flagschedule.domain import freeze, plan, schedule

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), ROOT / "dev/localkind/README.md"])
COMMANDS = [*PAGES, *sorted((ROOT / "manifests" / "samples").glob("*.yaml"))]
LINK = re.compile(r"\[[^\]]*\]\((?!https?://)([^)#\s]*)(?:#([^)\s]*))?\)")


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", COMMANDS, ids=lambda page: page.name)
def test_what_kubectl_sets_stays(page: Path) -> None:
    """Each command that writes to an object names a field manager: Flux removes what plain kubectl has set."""
    text = re.sub(r"\\\n#? *", " ", page.read_text())
    written = re.findall(
        r"kubectl (?:patch|annotate|edit) (?!cronjob)(?:.*\W)?(?:fsched|fplan|flag(?:schedule|plan|freeze)s?)\b.*", text
    )

    assert [line for line in written if "--field-manager=" not in line and "finalizers" not in line] == []


LOGGED = [
    "explanation/threat-model",
    "how-to/install",
    "how-to/monitoring",
    "how-to/operations",
    "reference/configuration",
]


@pytest.mark.parametrize("name", LOGGED)
def test_lines_of_the_log_that_a_page_names_are_logged(name: str) -> None:
    """Every log line that the pages search or wait for is one that a program writes."""
    text = re.sub(r"```.*?```", "", (ROOT / "docs" / f"{name}.md").read_text(), flags=re.DOTALL)
    sources = "".join(path.read_text() for path in (ROOT / "operator").rglob("*.py"))
    named = set(re.findall(r"`([A-Z][a-z]+(?: [^`|]+)+)`", text))

    assert {line for line in named if line not in sources} == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    """Every relative link of a page names a file or folder that is there, and a heading that is in it."""
    for target, anchor in LINK.findall(page.read_text()):
        file = (page.parent / target).resolve() if target else page
        assert file.exists(), target
        assert not anchor or anchor in anchors(file), f"{target}#{anchor}"


@pytest.mark.parametrize("kind", ["FlagSchedule", "FlagPlan", "FlagFreeze"])
def test_the_page_of_a_kind_names_all_of_it(kind: str) -> None:
    """Each field of the spec has a section, and each phase and each reason of a condition is on the page of phases."""
    domain = {"FlagSchedule": schedule, "FlagPlan": plan, "FlagFreeze": freeze}[kind]
    page = (ROOT / "docs" / "reference" / f"{kind.lower()}.md").read_text()
    crd = yaml.safe_load((ROOT / "crds" / f"{kind.lower()}s.yaml").read_text())
    schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]
    sections = " ".join(re.findall(r"^### (.*)$", page, re.MULTILINE))
    phases = page if kind != "FlagSchedule" else page + (ROOT / "docs" / "reference" / "state-machine.md").read_text()

    assert {field for field in schema["spec"]["properties"] if not re.search(rf"\b{field}\b", sections)} == set()
    assert {field for field in schema["status"]["properties"] if f"`{field}`" not in page} == set()
    assert {phase for phase in domain.Phase if f"| {phase}" not in phases} == set()
    assert {reason for reason in domain.ConditionReason if f"`{reason}`" not in phases} == set()
