"""The check of the project's words finds each word of its list, and nothing else."""

import pytest

from dev import words


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("# Nobody told it.", ["Nobody", "told"]),
        ("def _is_told() -> bool:", ["told"]),
        ("retain for ever, forever", ["for ever", "forever"]),
        ("func (m *mirror) tellAll(thing int)", ["tell", "thing"]),
        ("gate = Gate()", ["Gate"]),
        ("Something, nothing and a task stand in a besieged house.", []),
    ],
)
def test_a_word_is_found_in_texts_and_as_a_part_of_names(line: str, found: list[str]) -> None:
    """A listed word is found in any case and as a part of a name, but not inside another word."""
    assert sorted(hit.word for hit in words.find("dev/example.py", line)) == sorted(found)


def test_a_hit_says_where_it_is_and_what_to_write() -> None:
    """A hit names file, line and word, and what to write instead; line 0 is the name of the file."""
    hits = [str(hit) for hit in words.find("docs/things.md", "Fine.\nPlanned anew.")]

    assert hits == [
        "docs/things.md:0: 'things': write obj, or what it is",
        "docs/things.md:2: 'anew': write again",
    ]


def test_what_is_allowed_is_found_in_its_files_only() -> None:
    """An exception holds for its own files and lines."""
    assert not list(words.find("tests/example.py", "server.serve_forever()"))
    assert list(words.find("docs/example.md", "serve forever"))
