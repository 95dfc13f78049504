"""Asking memory: search, and context for a prompt."""

from __future__ import annotations

from fastapi import APIRouter

from app.api.dependencies import MayRead, Service
from app.api.idempotency import TAKES_KEY
from app.api.openapi import ANY, BODY, NOT_FOUND
from app.api.wire.recall import ContextIn, ContextOut, SearchIn, SearchOut
from app.api.wire.situations import SituationIn, SituationsOut

router = APIRouter(prefix="/v1", tags=["recall"], responses=ANY, dependencies=[TAKES_KEY])


@router.post("/search", summary="The best hits of all tiers, also of what was said a moment ago", responses=BODY | NOT_FOUND)
async def search(body: SearchIn, service: Service, access: MayRead) -> SearchOut:
    """Scores are the sum of their `components`; what did not answer within the deadline is named in `degraded`."""
    access.check(body.namespace)
    return SearchOut.of(await service.search(body.asked(), participation=body.participation()))


@router.post("/episodes/similar", summary="Episodes like a situation, with how they turned out and why", responses=BODY)
async def recall_similar_situations(body: SituationIn, service: Service, access: MayRead) -> SituationsOut:
    """`context` is a text or a JSON object. Good outcomes lift an episode and bad ones lower it; `outcome` asks for either alone.

    Answers are cached for a moment, until something changes that could change them.
    """
    access.check(body.namespace)
    return SituationsOut.of(await service.recall_similar_situations(body.context, body.scope(body.session_id), **body.terms()))


@router.post("/context", summary="Text for a prompt, packed into a token budget", responses=BODY)
async def assemble_context(body: ContextIn, service: Service, access: MayRead) -> ContextOut:
    """State and recent messages of `session_id`, with knowledge, episodes and messages recalled from the namespace."""
    access.check(body.namespace)
    return ContextOut.of(await service.assemble_context(body.query(body.limit), budget_tokens=body.budget_tokens))
