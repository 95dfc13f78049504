"""Ids in paths that have names beside them: `/episodes/similar` is no episode."""

from __future__ import annotations

from typing import Final

from starlette.convertors import Convertor, register_url_convertor

_NAMES: Final = ("similar", "strategies")
"""What has a route of its own where an id may stand."""


class _RecordId(Convertor[str]):
    """Any segment but those names, which are refused for the method (405) and not for being no id (422).

    Whether it is an id is for the parameter's type to say: a convertor that does not match answers 404, and names no field.
    """

    regex = rf"(?!(?:{'|'.join(_NAMES)})$)[^/]+"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


register_url_convertor("record", _RecordId())
EPISODE: Final = "/episodes/{episode_id:record}"
KNOWLEDGE: Final = "/knowledge/{knowledge_id:record}"
