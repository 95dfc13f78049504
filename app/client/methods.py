"""Methods of a client, made of a description: what `help` shows of them is what a user passes and gets."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from types import MethodType
from typing import Any, Final, get_args, get_type_hints, is_typeddict


class _LeftOut:
    """The default of what the service takes for granted: shown as `...`."""

    def __repr__(self) -> str:
        return "..."


_LEFT_OUT: Final = _LeftOut()


def answer_of(described: Any) -> Any:
    """What a call answers that is described as `Ask[...]`, or what a list holds that is described as `Paging[...]`."""
    return get_args(described)[0]


def signature_of(describe: Callable[..., Any], answer: Callable[[Any], Any]) -> inspect.Signature:
    """As a user sees it: fields that stand behind `**` by name, types as they are, and the answer itself."""
    hints = get_type_hints(describe)
    parameters = inspect.signature(describe).parameters.values()
    shown = [shown for parameter in parameters for shown in _shown(parameter, hints)]
    return inspect.Signature(shown, return_annotation=answer(hints["return"]))


def method_of(function: Callable[..., Any], describe: Callable[..., Any], signature: inspect.Signature) -> Callable[..., Any]:
    """The function under the name and with the docstring of its description."""
    function.__name__, function.__qualname__ = describe.__name__, describe.__qualname__
    function.__module__, function.__doc__ = describe.__module__, describe.__doc__
    function.__annotations__ = {p.name: p.annotation for p in signature.parameters.values() if p.annotation is not p.empty}
    function.__annotations__["return"] = signature.return_annotation
    function.__signature__ = signature  # type: ignore[attr-defined] # `inspect` looks for it
    return function


def bound(method: Callable[..., Any], client: object | None) -> Callable[..., Any]:
    """The method of a client, or of its class."""
    return method if client is None else MethodType(method, client)


def _shown(parameter: inspect.Parameter, hints: dict[str, Any]) -> Iterator[inspect.Parameter]:
    if parameter.kind is not parameter.VAR_KEYWORD:
        yield parameter.replace(annotation=hints.get(parameter.name, parameter.annotation))
        return
    fields = answer_of(hints[parameter.name])
    assert is_typeddict(fields)  # noqa: S101 - `**` stands for the fields of one
    for name, annotation in get_type_hints(fields).items():
        yield inspect.Parameter(name, parameter.KEYWORD_ONLY, default=_LEFT_OUT, annotation=annotation)
