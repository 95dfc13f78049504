"""A conformance kit for LangGraph stores: what any `BaseStore` should do, one specification a behaviour.

    python -m app.integrations.store_conformance mymodule:factory

`factory` takes `StoreOptions` and gives an empty store, or a (possibly async) context manager of one. Where it raises
`Unsupported`, the specifications that need those options are skipped. See docs/store-conformance.md.
"""

from __future__ import annotations

from app.integrations.store_conformance.contract import Spec, StoreOptions, Unsupported
from app.integrations.store_conformance.running import Mode, Outcome, Report, Verdict, run
from app.integrations.store_conformance.specs import SPECS

__all__ = ["SPECS", "Mode", "Outcome", "Report", "Spec", "StoreOptions", "Unsupported", "Verdict", "run"]
