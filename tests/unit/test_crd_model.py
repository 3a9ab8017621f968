"""The CRD and the operator's own parser state the same rules."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import TypeAdapter, ValidationError

from flagschedule.domain.freeze import Spec as FreezeSpec
from flagschedule.domain.freeze import Status as FreezeStatus
from flagschedule.domain.plan import PlanSpec, PlanStatus
from flagschedule.domain.schedule import GROUP, KIND, PLURAL, VERSION, Spec
from flagschedule.domain.times import parse_time
from tests.cluster import freeze_corpus, plan_corpus, spec_corpus
from tests.cluster.spec_corpus import spec

Schema = dict[str, Any]

CRDS = {
    plural: yaml.safe_load((Path(__file__).parents[2] / "crds" / f"{plural}.yaml").read_text())
    for plural in ("flagschedules", "flagplans", "flagfreezes")
}
SCHEMAS: dict[str, Schema] = {
    plural: crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"] for plural, crd in CRDS.items()
}
CRD = CRDS["flagschedules"]
SCHEMA = SCHEMAS["flagschedules"]
KEYWORDS = ("type", "minimum", "maximum", "minLength", "maxLength", "pattern", "enum", "items")


def normalised(schema: Schema, definitions: Mapping[str, Schema]) -> Schema:
    """Return the schema in the common form: references inlined, `X or null` as X, no titles, no defaults."""
    if "$ref" in schema:
        schema = definitions[schema["$ref"].rsplit("/", 1)[-1]]
    if "anyOf" in schema:
        [schema] = [choice for choice in schema["anyOf"] if choice != {"type": "null"}]
        return normalised(schema, definitions)
    common = {key: schema[key] for key in KEYWORDS if key in schema}
    if "const" in schema:
        common["enum"] = [schema["const"]]
    if "properties" in schema:
        common["properties"] = {key: normalised(value, definitions) for key, value in schema["properties"].items()}
        common["required"] = sorted(schema.get("required", []))
    return common


def test_crd_and_model_have_the_same_fields_and_bounds() -> None:
    """Properties, types, required fields, lengths, bounds and patterns are equal.

    Only the time is written differently: the CRD bounds its text, the model parses it.
    """
    json_schema = Spec.model_json_schema()
    model = normalised(json_schema, json_schema.get("$defs", {}))
    crd = normalised(SCHEMA["properties"]["spec"], {})
    assert model["properties"].pop("scheduledAt")["type"] == crd["properties"].pop("scheduledAt")["type"]

    assert crd == model


def test_the_names_are_those_of_the_code() -> None:
    """Group, version, kind and plural are what the operator watches."""
    assert CRD["spec"]["group"] == GROUP
    assert CRD["spec"]["versions"][0]["name"] == VERSION
    assert CRD["spec"]["names"]["kind"] == KIND
    assert CRD["spec"]["names"]["plural"] == PLURAL


@pytest.mark.parametrize("name", spec_corpus.GOOD)
def test_the_model_lets_in_what_the_crd_lets_in(name: str) -> None:
    """What the API server stores, the operator can read (the same corpus is tried on a real API server)."""
    Spec.model_validate(spec_corpus.GOOD[name])


@pytest.mark.parametrize("name", spec_corpus.BAD)
def test_the_model_refuses_what_the_crd_refuses(name: str) -> None:
    """The operator relies on no rule of the API server: an old CRD or a disabled rule does no harm."""
    bad, _ = spec_corpus.BAD[name]

    with pytest.raises(ValidationError):
        Spec.model_validate(bad)


@pytest.mark.parametrize("text", spec_corpus.GOOD_TIMES)
def test_the_model_lets_in_good_times(text: str) -> None:
    """Every time that the CRD lets in is an instant for the operator."""
    parse_time(text)


@pytest.mark.parametrize("text", spec_corpus.BAD_TIMES)
def test_the_model_refuses_bad_times(text: str) -> None:
    """Every time that the CRD refuses is refused by the operator."""
    with pytest.raises(ValidationError):
        Spec.model_validate(spec(scheduledAt=text))


def nodes(schema: Schema, path: str = "") -> Iterator[tuple[str, Schema]]:
    """Yield every schema node with its path."""
    yield path, schema
    for name, child in schema.get("properties", {}).items():
        yield from nodes(child, f"{path}.{name}")
    if "items" in schema:
        yield from nodes(schema["items"], f"{path}[]")


OTHERS: list[tuple[Callable[[Any], Any], Mapping[str, Any], Mapping[str, tuple[Any, str]]]] = [
    (PlanSpec.model_validate, plan_corpus.GOOD, plan_corpus.BAD),
    (FreezeSpec.model_validate, freeze_corpus.GOOD, freeze_corpus.BAD),
]


@pytest.mark.parametrize(("parse", "good", "bad"), OTHERS, ids=["plan", "freeze"])
def test_the_other_models_judge_as_the_crds_do(
    parse: Callable[[Any], Any], good: Mapping[str, Any], bad: Mapping[str, tuple[Any, str]]
) -> None:
    """What the API server stores, the operator can read; what it refuses, the operator refuses, but for repetitions."""
    for name in good:
        parse(good[name])
    accepted = []
    for name, (spec_, _) in bad.items():
        try:
            parse(spec_)
            accepted.append(name)
        except ValidationError:
            pass

    assert [name for name in accepted if not name.endswith("twice")] == []


@pytest.mark.parametrize(("plural", "status"), [("flagplans", PlanStatus), ("flagfreezes", FreezeStatus)])
def test_the_statuses_of_plans_and_freezes_have_room_for_what_is_written(plural: str, status: type[Any]) -> None:
    """The API server drops unknown fields, and a status that lacks them would be written again and again."""
    written = TypeAdapter(status).json_schema(by_alias=True)
    definitions = written.get("$defs", {})

    assert fields(SCHEMAS[plural]["properties"]["status"], {}) == fields(written, definitions) - {".foreign"}


def fields(schema: Schema, definitions: Mapping[str, Schema], path: str = "") -> set[str]:
    """Return the path of every field of a schema; references and lists add nothing to a path."""
    if "$ref" in schema:
        return fields(definitions[schema["$ref"].rsplit("/", 1)[-1]], definitions, path)
    found = {path}
    for choice in schema.get("anyOf", []):
        found |= fields(choice, definitions, path)
    if "items" in schema:
        found |= fields(schema["items"], definitions, path)
    for name, inner in schema.get("properties", {}).items():
        found |= fields(inner, definitions, f"{path}.{name}")
    return found


@pytest.mark.parametrize("schema", SCHEMAS.values(), ids=SCHEMAS)
def test_every_string_and_list_is_bounded(schema: Schema) -> None:
    """No object can grow without limit, and the cost of every rule can be estimated."""
    endless = {
        path
        for path, node in nodes(schema)
        if (node["type"] == "string" and not {"maxLength", "enum"} & node.keys())
        or (node["type"] == "array" and "maxItems" not in node)
    }

    assert endless == set()


@pytest.mark.parametrize("schema", SCHEMAS.values(), ids=SCHEMAS)
def test_the_schema_is_closed(schema: Schema) -> None:
    """Unknown fields are never kept."""
    open_nodes = {path for path, node in nodes(schema) if "x-kubernetes-preserve-unknown-fields" in node}

    assert open_nodes == set()
    assert not any("additionalProperties" in node for _, node in nodes(schema))


@pytest.mark.parametrize("schema", SCHEMAS.values(), ids=SCHEMAS)
def test_every_field_is_explained_in_sentences(schema: Schema) -> None:
    """`kubectl explain` is documentation: each field has a sentence, each optional one names its default."""
    poor = {
        path
        for path, node in nodes(schema)
        if path != ".metadata" and not ((text := node.get("description", "")).endswith(".") and text[:1].isupper())
    }
    wishes = schema["properties"]["spec"]
    optional = set(wishes["properties"]) - set(wishes["required"])

    assert poor == set()
    assert {name for name in optional if "Defaults to" not in wishes["properties"][name]["description"]} == set()
    assert all("Required" in wishes["properties"][name]["description"] for name in wishes["required"])


@pytest.mark.parametrize("schema", SCHEMAS.values(), ids=SCHEMAS)
def test_every_rule_has_a_message(schema: Schema) -> None:
    """No rule answers with its expression."""
    rules = [rule for _, node in nodes(schema) for rule in node.get("x-kubernetes-validations", [])]

    assert rules
    assert [rule for rule in rules if not rule.get("message")] == []


def test_all_kinds_are_shown_together() -> None:
    """`kubectl get flags` lists every kind of ours."""
    assert {tuple(crd["spec"]["names"]["categories"]) for crd in CRDS.values()} == {("flags",)}
