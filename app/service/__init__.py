"""`HybridMemoryService`: the façade over the three tiers. It holds no policy; every method delegates."""

from __future__ import annotations

from app.service.asking import Asking
from app.service.conversations import Conversations
from app.service.experience import Experience
from app.service.experimenting import Experimenting
from app.service.items import Items
from app.service.knowing import Knowing
from app.service.learning import Lessons
from app.service.operating import Operating
from app.service.parts import Parts

__all__ = ["HybridMemoryService", "Parts"]


class HybridMemoryService(Conversations, Experience, Knowing, Lessons, Asking, Items, Operating, Experimenting):
    """The memory of agents: append, recall, consolidate, forget.

    Methods raise `InvalidInput` for what breaks a limit, `NotFound` for what is not in the caller's namespace, and
    `TierUnavailable` when the tiers an answer needs are away; further errors are listed where they occur.
    """
