"""Runs the Lua of `manifests/argocd/argocd-cm.yaml` as Argo CD does: Lua 5.1 with few libraries.

Argo CD opens the base and table libraries for a health check, and a safe part of `os` for an action.
"""

from pathlib import Path
from typing import Any, Final

import yaml
from lupa.lua51 import LuaRuntime, lua_type

_KIND: Final = "flagschedule.io_FlagSchedule"
_SAFE_OS: Final = ("time", "date")
_FOUND: Final = yaml.safe_load(Path("manifests/argocd/argocd-cm.yaml").read_text())["data"]
_HEALTH: Final = _FOUND[f"resource.customizations.health.{_KIND}"]
_ACTIONS: Final = yaml.safe_load(_FOUND[f"resource.customizations.actions.{_KIND}"])


def health(body: dict[str, Any]) -> dict[str, str]:
    """What Argo CD says of an object: `status` and `message`."""
    found: dict[str, str] = _run(_HEALTH, body)
    return found


def enabled_actions(body: dict[str, Any]) -> set[str]:
    """The actions that Argo CD offers for an object."""
    found = _run(_ACTIONS["discovery.lua"], body)
    assert set(found) == {definition["name"] for definition in _ACTIONS["definitions"]}
    return {name for name, action in found.items() if not action["disabled"]}


def act(name: str, body: dict[str, Any]) -> dict[str, Any]:
    """The object after an action."""
    (script,) = (action["action.lua"] for action in _ACTIONS["definitions"] if action["name"] == name)
    changed: dict[str, Any] = _run(script, body)
    return changed


def _run(script: str, body: dict[str, Any]) -> Any:
    lua = LuaRuntime(register_eval=False, register_builtins=False)
    _restrict(lua)
    lua.globals().obj = lua.table_from(body, recursive=True)
    return _plain(lua.execute(script))


def _restrict(lua: Any) -> None:
    known = lua.globals()
    date = {name: known.os[name] for name in _SAFE_OS}
    for name in ("io", "os", "string", "math", "debug", "package", "require", "dofile", "loadfile"):
        known[name] = None
    known.os = lua.table_from(date)


def _plain(value: Any) -> Any:
    """Tables as lists and dicts; an empty one is a dict."""
    if lua_type(value) != "table":
        return value
    keys = list(value)
    if keys and keys == list(range(1, len(keys) + 1)):
        return [_plain(value[key]) for key in keys]
    return {key: _plain(value[key]) for key in keys}
