"""Whatever a client sends, the API keeps to its own OpenAPI document: requests made from it, by schemathesis."""

from __future__ import annotations

from typing import Any

import pytest
import schemathesis
from schemathesis import Case, GenerationMode, SerializationContext
from schemathesis.config import (
    CoveragePhaseConfig,
    GenerationConfig,
    PhasesConfig,
    ProjectConfig,
    ProjectsConfig,
    SchemathesisConfig,
)
from schemathesis.specs.openapi.checks import positive_data_acceptance
from schemathesis.specs.openapi.schemas import OpenApiSchema
from served import Served, document

from app.records import Permission


@schemathesis.serializer("application/x-ndjson")
def lines(ctx: SerializationContext, value: Any) -> bytes:
    """A body that is made up as a string is sent as it is."""
    return value if isinstance(value, bytes) else str(value).encode(errors="replace")


def requests_of(max_examples: int, *, with_boundaries: bool) -> OpenApiSchema:
    """Good and bad requests for every operation, the same ones in every run; at the boundaries of each schema they are many."""
    generation = GenerationConfig(
        modes=list(GenerationMode), max_examples=max_examples, deterministic=True, no_shrink=True,
        with_security_parameters=False,  # every request gets our key, so that a wrong one would be no fault of the request
    )  # fmt: skip
    phases = PhasesConfig(coverage=CoveragePhaseConfig(enabled=with_boundaries))
    projects = ProjectsConfig(default=ProjectConfig(generation=generation, phases=phases))
    return schemathesis.openapi.from_dict(document(), config=SchemathesisConfig(projects=projects))


A_FEW = requests_of(max_examples=5, with_boundaries=False)
MANY = requests_of(max_examples=200, with_boundaries=True)


@pytest.fixture(scope="module")
def key(guarded_api: Served) -> str:
    _, secret = guarded_api.make_key(*Permission)
    return secret


def check(case: Case[Any], guarded_api: Served, key: str) -> None:
    """Status, media type, body and headers are as documented, bad input and missing keys are refused, nothing is a 500."""
    # Limits stand in no document: what is well-formed may still be refused.
    case.call_and_validate(
        base_url=guarded_api.url, headers={"Authorization": f"Bearer {key}"}, excluded_checks=[positive_data_acceptance]
    )


@A_FEW.parametrize()
def test_the_api_keeps_to_its_document(case: Case[Any], guarded_api: Served, key: str) -> None:
    """Each operation answers what OpenAPI says it does, whatever it is asked."""
    check(case, guarded_api, key)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@MANY.parametrize()
def test_the_api_keeps_to_its_document_for_long(case: Case[Any], guarded_api: Served, key: str) -> None:
    """The same with forty times as many requests made up, and those at the boundaries of what is allowed."""
    check(case, guarded_api, key)
