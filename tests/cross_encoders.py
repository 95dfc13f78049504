"""A tiny cross-encoder with random weights, made on the spot: nothing is downloaded, and nothing it says makes sense."""

from __future__ import annotations

from pathlib import Path

_LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789?.,:!'"


def tiny_cross_encoder(directory: Path, *, labels: int = 1, seed: int = 0) -> Path:
    """Write the model into `directory`, which is returned; the same seed gives the same weights."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification, BertTokenizer

    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *_LETTERS, *(f"##{letter}" for letter in _LETTERS)]
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "vocab.txt").write_text("\n".join(vocabulary) + "\n")
    BertTokenizer(str(directory / "vocab.txt"), model_max_length=64).save_pretrained(directory)
    config = BertConfig(
        vocab_size=len(vocabulary), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=64, initializer_range=1.0,
    )  # fmt: skip
    config.num_labels = labels
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        BertForSequenceClassification(config).save_pretrained(directory)
    return directory
