"""Texts to unit vectors: Ollama, sentence-transformers, hashing; the chain, micro-batching and the cache around them."""
