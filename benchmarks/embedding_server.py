"""MiniLM behind the part of Ollama's protocol that the service speaks. `python -m benchmarks.embedding_server PORT`."""

from __future__ import annotations

import sys
from typing import Any

import uvicorn
from fastapi import FastAPI

from app.embedding.sentence_transformer import SentenceTransformerEmbedder

app = FastAPI()
model = SentenceTransformerEmbedder()


@app.get("/api/version")
async def version() -> dict[str, str]:
    return {"version": "0.0.0"}


@app.post("/api/show")
async def show(body: dict[str, Any]) -> dict[str, Any]:
    return {"model": body["model"]}


@app.post("/api/embed")
async def embed(body: dict[str, Any]) -> dict[str, Any]:
    embedded = await model.embed(body["input"])
    return {"embeddings": embedded.vectors.tolist()}


if __name__ == "__main__":
    uvicorn.run(app, port=int(sys.argv[1]), log_config=None, access_log=False)
