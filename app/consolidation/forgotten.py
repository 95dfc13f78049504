"""The texts of what is about to be forgotten, as they were embedded, page by page: their vectors may be in a cache."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Final
from uuid import UUID

from app.consolidation.representation import ContextPolicy, PointDraft, draft_episode, draft_item, draft_knowledge, draft_message
from app.consolidation.summaries import SummaryPolicy, lines_of
from app.ports import EpisodicReader, WorkingMemory
from app.records import RecordKind, Scope, SessionKey

_PAGE: Final = 500


async def stored_texts(reader: EpisodicReader, scope: Scope, policy: ContextPolicy) -> AsyncIterator[Sequence[str]]:
    """Of every record that `scope` admits."""
    for kind in RecordKind:
        after: UUID | None = None
        while uids := await reader.uids(kind, scope, after=after, limit=_PAGE):
            yield await texts_of(reader, kind, uids, policy)
            after = uids[-1]


async def buffered_texts(working: WorkingMemory, scope: Scope) -> AsyncIterator[Sequence[str]]:
    """Of every buffered message that `scope` admits."""
    named = scope.session_id
    sessions = await working.sessions_of(scope.namespace) if named is None else [SessionKey(scope.namespace, named)]
    for session in sessions:
        after = 0
        while page := await working.read(session, after=after, limit=_PAGE):
            yield [m.content for m in page if scope.admits(m.scope)]
            after = page[-1].sequence


async def texts_of(reader: EpisodicReader, kind: RecordKind, uids: Sequence[UUID], policy: ContextPolicy) -> list[str]:
    """Of these records: what stands behind their points, and the lines that summaries were chosen from."""
    if kind is RecordKind.MESSAGE:
        return await _texts_of_messages(reader, uids, policy)
    drafts: list[PointDraft]
    if kind is RecordKind.EPISODE:
        drafts = [draft_episode(e, policy.rendering) for e in await reader.episodes_by_uid(uids)]
    elif kind is RecordKind.ITEM:
        drafts = [draft_item(i) for i in await reader.item_texts(uids)]
    else:
        drafts = [draft_knowledge(k) for k in await reader.knowledge_by_uid(uids)]
    return [text for draft in drafts for text in draft.texts]


async def _texts_of_messages(reader: EpisodicReader, uids: Sequence[UUID], policy: ContextPolicy) -> list[str]:
    found = await reader.messages_in_context(uids)
    drafts = (draft_message(item, policy) for item in found)
    lines = (lines_of(item.message.content, SummaryPolicy()) for item in found)
    return [*(text for draft in drafts for text in draft.texts), *(line for of_one in lines for line in of_one)]
