"""Whether a service is at the address that a command was given."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

import httpx

from app.client.problems import SERVICE
from app.errors import InvalidInput, TierUnavailable

_REACHED_WITHIN: Final = timedelta(seconds=5)
"""On any network where commands make sense a connection is made within this."""


async def check_listens(url: str) -> None:
    """The client's retries are for a service that is away for a moment; a wrong address is told at once, and which it is.

    Raises:
        TierUnavailable: nobody listens at `url`.
        InvalidInput: it is no URL of a service.
    """
    problem = InvalidInput("--url", f"must begin with http:// or https:// and name a host, is {url!r}")
    try:
        if not httpx.URL(url).host:
            raise problem
        async with httpx.AsyncClient(base_url=url, timeout=_REACHED_WITHIN.total_seconds(), trust_env=False) as http:
            await http.head("/")
    except (httpx.ConnectError, httpx.ConnectTimeout) as error:
        raise TierUnavailable(SERVICE, f"nobody listens at {url}: {error or type(error).__name__}") from error
    except (httpx.UnsupportedProtocol, httpx.InvalidURL) as error:
        raise problem from error
    except httpx.TransportError:
        return  # somebody is there: what they do with the call is the call's to say
