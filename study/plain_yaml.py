"""Reads and writes YAML 1.2 as its author means it: no word, octal number or repeated key is taken for something else.

It differs from PyYAML (YAML 1.1) in that `yes`, `no`, `on` and `off` are text, as are dates and `1:30`; that `010`,
which YAML 1.1 reads as 8 and YAML 1.2 as 10, is refused; and that a key may stand once and must be text. A number
with an exponent but no point, such as `1e-3`, stays text, as in PyYAML; fields that hold numbers read it as one.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any, ClassVar

import yaml

from trainables.errors import ReadableError

_MAX_DEPTH = 20
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
_AMBIGUOUS = "!ambiguous"
_RULES = {
    "tag:yaml.org,2002:null": (r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    "tag:yaml.org,2002:bool": (r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    "tag:yaml.org,2002:int": (r"[-+]?(0|[1-9][0-9]*)|0o[0-7]+|0x[0-9a-fA-F]+", list("-+0123456789")),
    "tag:yaml.org,2002:float": (
        r"[-+]?([0-9]+\.[0-9]*|\.[0-9]+)([eE][-+][0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        list("-+.0123456789"),
    ),
    _AMBIGUOUS: (r"[-+]?0[0-9]+", list("-+0")),
}


class YamlError(ReadableError):
    """Text that is no such YAML."""


class _Loader(yaml.CSafeLoader):
    yaml_implicit_resolvers: ClassVar[dict[str, Any]] = {}  # type: ignore[misc] # its stub has it on the instance

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        keys = set[str]()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                shown = repr(key_node.value)[:50] if isinstance(key_node, yaml.ScalarNode) else "a list or mapping"
                raise _error(key_node, f"a key must be text, but got {shown}: put it in quotes")
            if key in keys:
                raise _error(key_node, f"a key must stand once, but {key!r} stands twice")
            keys.add(key)
        mapping: dict[Any, Any] = super().construct_mapping(node, deep=True)
        return mapping

    def construct_ambiguous(self, node: Any) -> Any:
        raise _error(node, f"a number must not begin with 0, but got {node.value[:50]}: it may be decimal or octal")

    def construct_whole(self, node: Any) -> int:
        return int(node.value, 0)


class _Dumper(yaml.SafeDumper):
    """Quotes whatever either version of YAML would take for something else than text."""


for _tag, (_pattern, _first) in _RULES.items():
    _Loader.add_implicit_resolver(_tag, re.compile(rf"^(?:{_pattern})$"), _first)
    _Dumper.add_implicit_resolver(_tag, re.compile(rf"^(?:{_pattern})$"), _first)
_KNOWN: set[str | None] = {None, *_RULES, *(f"tag:yaml.org,2002:{kind}" for kind in ("str", "seq", "map"))}
_constructors: dict[str | None, Any] = _Loader.yaml_constructors
for _other in set(_constructors) - _KNOWN:
    _Loader.add_constructor(str(_other), _constructors[None])  # dates, sets, bytes
_Loader.add_constructor(_AMBIGUOUS, _Loader.construct_ambiguous)
_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_whole)


def read(text: str, truths: Collection[str] = ()) -> Any:
    """Reads one document.

    Args:
        text: The YAML.
        truths: The keys that may hold true and false, which elsewhere would be taken for the numbers 1 and 0.

    Raises:
        YamlError: It is no YAML, has aliases, control characters or lists within lists within lists, or is ambiguous.
    """
    try:
        _check(text)
        content = yaml.load(text, Loader=_Loader)
        _refuse_truths(content, truths)
        return content
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = "" if mark is None else f"line {mark.line + 1}: "
        raise YamlError(f"{where}{' '.join(filter(None, (error.context, error.problem)))}.") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise YamlError(" ".join(str(error).split())) from None


def write(content: Mapping[str, Any]) -> str:
    """Writes plain data so that `read` gives it back."""
    return str(yaml.dump(content, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120))


def _check(text: str) -> None:
    """Refuses what a document here never needs; a few lines of aliases can expand to gigabytes."""
    depth = 0
    for event in yaml.parse(text, Loader=yaml.CSafeLoader):
        if isinstance(event, yaml.AliasEvent):
            raise yaml.YAMLError(f"it must not use aliases, but got *{event.anchor}.")
        if isinstance(event, yaml.ScalarEvent):
            event.value.encode()  # half a character pair cannot be printed or stored
            if control := _CONTROL.search(event.value):
                raise _error(event, f"text must have no control characters, but got {control[0]!r}")
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > _MAX_DEPTH:
            raise yaml.YAMLError(f"`depth <= {_MAX_DEPTH}` must hold, but its lists and mappings go deeper.")


def _refuse_truths(content: Any, truths: Collection[str], path: tuple[str, ...] = ("",)) -> None:
    if isinstance(content, Mapping):
        for key, value in content.items():
            _refuse_truths(value, truths, (*path, key))
    elif isinstance(content, list):
        for value in content:
            _refuse_truths(value, truths, path)
    elif isinstance(content, bool) and path[-1] not in truths:
        raise ValueError(f"`{'.'.join(path[1:])}` must not be a truth value, but got {str(content).lower()}.")


def _error(where: Any, problem: str) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=where.start_mark)
