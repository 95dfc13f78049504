"""An endpoint that does nothing: what uvicorn, FastAPI and the client cost. `python -m benchmarks.empty PORT`."""

from __future__ import annotations

import sys
from typing import Any

import uvicorn
from fastapi import FastAPI

app = FastAPI()


@app.post("/")
async def empty(body: dict[str, Any]) -> dict[str, int]:
    return {"fields": len(body)}


if __name__ == "__main__":
    uvicorn.run(app, port=int(sys.argv[1]), log_config=None, access_log=False)
