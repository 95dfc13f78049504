"""All specifications, in the order of a report."""

from __future__ import annotations

from typing import Final

from app.integrations.store_conformance import finding, keeping, lasting, meaning
from app.integrations.store_conformance.contract import Spec

SPECS: Final[tuple[Spec, ...]] = (*keeping.SPECS, *finding.SPECS, *meaning.SPECS, *lasting.SPECS)
