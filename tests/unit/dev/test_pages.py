"""The site of the documentation is complete, and loads nothing from another host."""

import re
from pathlib import Path

import pytest

from dev import pages

FROM_ELSEWHERE = re.compile(
    r"<(?:script|img|iframe)[^>]* src=\"?(?:https?:)?//|<link[^>]* href=\"?(?:https?:)?//|@import"
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built strictly."""
    folder = tmp_path_factory.mktemp("site")
    assert pages.build(folder) == 0
    return folder


def test_the_site_loads_nothing_from_another_host(site: Path) -> None:
    """Neither scripts nor fonts nor pictures: the site works without the internet, and no other host sees its readers.

    The theme would load mermaid's script from another host for elements of the class `mermaid`.
    """
    texts = {path: path.read_text() for path in site.rglob("*.html")}

    assert len(texts) > 30
    assert [str(path) for path, text in texts.items() if FROM_ELSEWHERE.search(text)] == []
    assert [str(path) for path, text in texts.items() if 'class="mermaid"' in text] == []


def test_a_link_to_a_file_outside_of_the_site_is_shown_as_its_path(site: Path) -> None:
    """No page of the site links to a file that only the repository has; the path is shown instead."""
    text = (site / "how-to" / "monitoring.html").read_text()

    assert "<code>manifests/components/monitoring/rules.yaml</code>" in text
    assert 'rules.yaml"' not in text
