"""Runs the Lua of `manifests/argocd/argocd-cm.yaml` as Argo CD does: Lua 5.1 with few libraries.

Argo CD opens the base, package and table libraries for every script of a ConfigMap, and nothing else: strings have no
methods, and a safe part of `os` is there only by `require("os")`.
"""

from pathlib import Path
from typing import Any, Final

import yaml
from lupa.lua51 import LuaRuntime, lua_type

_SAFE_OS: Final = ("time", "date")
_ABSENT: Final = ("io", "os", "string", "math", "debug", "coroutine", "bit", "jit")
# Lua's own, to be run before anything is taken away.
_RESTRICT: Final = """
local safe, absent = ...
local kept = {}
for _, name in ipairs(safe) do kept[name] = os[name] end
getmetatable("").__index = nil
for name in pairs(package.loaded) do package.loaded[name] = nil end
for name in pairs(package.preload) do package.preload[name] = nil end
package.preload.os = function() return kept end
package.path, package.cpath = "", ""
for _, name in ipairs(absent) do _G[name] = nil end
"""
_FOUND: Final = yaml.safe_load(Path("manifests/argocd/argocd-cm.yaml").read_text())["data"]
_PREFIX: Final = "resource.customizations"


def health(body: dict[str, Any], kind: str = "FlagSchedule") -> dict[str, str]:
    """Return what Argo CD says of an object: `status` and `message`."""
    found: dict[str, str] = run(_FOUND[f"{_PREFIX}.health.flagschedule.io_{kind}"], body)
    return found


def enabled_actions(body: dict[str, Any], kind: str = "FlagSchedule") -> set[str]:
    """Return the actions that Argo CD offers for an object."""
    actions = _actions(kind)
    found = run(actions["discovery.lua"], body)
    assert set(found) == {definition["name"] for definition in actions["definitions"]}
    return {name for name, action in found.items() if not action["disabled"]}


def act(name: str, body: dict[str, Any], kind: str = "FlagSchedule") -> dict[str, Any]:
    """Return the object as the action leaves it."""
    (script,) = (action["action.lua"] for action in _actions(kind)["definitions"] if action["name"] == name)
    changed: dict[str, Any] = run(script, body)
    return changed


def _actions(kind: str) -> Any:
    return yaml.safe_load(_FOUND[f"{_PREFIX}.actions.flagschedule.io_{kind}"])


def run(script: str, body: dict[str, Any]) -> Any:
    """Return the result of a script for an object.

    Raises:
        LuaError: the script uses what Argo CD does not offer, or is wrong otherwise.
    """
    lua = LuaRuntime(register_eval=False, register_builtins=False)
    _restrict(lua)
    lua.globals().obj = lua.table_from(body, recursive=True)
    return _plain(lua.execute(script))


def _restrict(lua: Any) -> None:
    lua.execute(_RESTRICT, lua.table_from(_SAFE_OS), lua.table_from(_ABSENT))


def _plain(value: Any) -> Any:
    """Return tables as lists and dicts; an empty one is a dict."""
    if lua_type(value) != "table":
        return value
    keys = list(value)
    if keys and keys == list(range(1, len(keys) + 1)):
        return [_plain(value[key]) for key in keys]
    return {key: _plain(value[key]) for key in keys}
