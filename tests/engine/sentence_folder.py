"""A small sentence encoder with random weights in the layout of sentence-transformers, and torch's own computation of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

WORDS = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "chest",
    "pain",
    "rash",
    "itch",
    "##y",
    "heart",
    "skin",
    "on",
    "the",
    "失",
    "眠",
]
WIDTH, INNER, HEADS, LAYERS, PLACES = 32, 48, 4, 2, 24


def tokenizer(path: Path) -> None:
    """BERT's word pieces; the stored file pads every text to 16 tokens, as MiniLM's pads to 128."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    made = Tokenizer(models.WordPiece({word: k for k, word in enumerate(WORDS)}, unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer(lowercase=True)
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    made.enable_padding(length=16)
    made.save(str(path))


def tensors(rng: np.random.Generator, places: int = PLACES) -> dict[str, NDArray[np.float32]]:
    """Random weights under BERT's names."""
    shapes: dict[str, tuple[int, ...]] = {
        "embeddings.word_embeddings.weight": (len(WORDS), WIDTH),
        "embeddings.position_embeddings.weight": (places, WIDTH),
        "embeddings.token_type_embeddings.weight": (2, WIDTH),
        "embeddings.LayerNorm.weight": (WIDTH,), "embeddings.LayerNorm.bias": (WIDTH,),
    }  # fmt: skip
    for layer in range(LAYERS):
        at = f"encoder.layer.{layer}"
        for name in (
            "attention.self.query",
            "attention.self.key",
            "attention.self.value",
            "attention.output.dense",
        ):
            shapes |= {f"{at}.{name}.weight": (WIDTH, WIDTH), f"{at}.{name}.bias": (WIDTH,)}
        shapes |= {
            f"{at}.intermediate.dense.weight": (INNER, WIDTH),
            f"{at}.intermediate.dense.bias": (INNER,),
        }
        shapes |= {f"{at}.output.dense.weight": (WIDTH, INNER), f"{at}.output.dense.bias": (WIDTH,)}
        for name in ("attention.output.LayerNorm", "output.LayerNorm"):
            shapes |= {f"{at}.{name}.weight": (WIDTH,), f"{at}.{name}.bias": (WIDTH,)}
    return {name: (0.3 * rng.standard_normal(shape)).astype(np.float32) for name, shape in shapes.items()}


def write(
    folder: Path,
    seed: int = 0,
    pooling: str = "mean",
    normalise: bool = True,
    before: str = "",
    **changed: Any,
) -> Path:
    """An encoder's folder; `changed` entries of its config.json."""
    config = {
        "model_type": "bert", "hidden_act": "gelu", "hidden_size": WIDTH, "intermediate_size": INNER,
        "num_attention_heads": HEADS, "num_hidden_layers": LAYERS, "layer_norm_eps": 1e-12, "pad_token_id": 0, **changed,
    }  # fmt: skip
    parts = [
        ("", "Transformer"),
        ("1_Pooling", "Pooling"),
        *([("2_Normalize", "Normalize")] if normalise else []),
    ]
    modules = [{"idx": k, "name": str(k), "path": path, "type": f"sentence_transformers.models.{name}"}
               for k, (path, name) in enumerate(parts)]  # fmt: skip
    (folder / "1_Pooling").mkdir(parents=True)
    for name, content in {"config.json": config, "modules.json": modules,
                          "sentence_bert_config.json": {"max_seq_length": 12, "do_lower_case": False},
                          "1_Pooling/config.json": {f"pooling_mode_{pooling}": True, "pooling_mode_x": False},
                          }.items():  # fmt: skip
        (folder / name).write_text(json.dumps(content))
    own = tensors(np.random.default_rng(seed))
    save_file({before + name: value for name, value in own.items()}, folder / "model.safetensors")
    tokenizer(folder / "tokenizer.json")
    return folder


def by_torch(folder: Path, tokens: list[int], first: int = 0) -> NDArray[np.float32]:
    """(tokens, width) by torch.nn.TransformerEncoderLayer: another computation of the same network."""
    import torch
    from torch.nn import functional

    config = json.loads((folder / "config.json").read_text())
    own = {name: torch.from_numpy(value) for name, value in load_file(folder / "model.safetensors").items()
           if value.dtype == np.float32}  # fmt: skip
    start = next(name for name in own if name.endswith("word_embeddings.weight")).partition("embeddings.")[0]
    own = {name.removeprefix(start): value for name, value in own.items()}
    width, eps = config["hidden_size"], config["layer_norm_eps"]
    acts = {
        "gelu": functional.gelu,
        "relu": functional.relu,
        "gelu_new": lambda x: functional.gelu(x, approximate="tanh"),
    }
    places = own["embeddings.position_embeddings.weight"][first : first + len(tokens)]
    x = (
        own["embeddings.word_embeddings.weight"][tokens]
        + places
        + own["embeddings.token_type_embeddings.weight"][0]
    )
    norm = "embeddings.LayerNorm"
    x = functional.layer_norm(x, (width,), own[f"{norm}.weight"], own[f"{norm}.bias"], eps)[None]
    for k in range(config["num_hidden_layers"]):
        layer = torch.nn.TransformerEncoderLayer(
            width, config["num_attention_heads"], config["intermediate_size"], dropout=0.0,
            activation=acts[config["hidden_act"]], layer_norm_eps=eps, batch_first=True,
        )  # fmt: skip
        at = f"encoder.layer.{k}"
        names = {"self_attn.out_proj": "attention.output.dense", "linear1": "intermediate.dense", "linear2": "output.dense",
                 "norm1": "attention.output.LayerNorm", "norm2": "output.LayerNorm"}  # fmt: skip
        state = {
            f"{a}.{part}": own[f"{at}.{b}.{part}"] for a, b in names.items() for part in ("weight", "bias")
        }
        for part in ("weight", "bias"):
            state[f"self_attn.in_proj_{part}"] = torch.cat(
                [own[f"{at}.attention.self.{each}.{part}"] for each in ("query", "key", "value")]
            )
        layer.load_state_dict(state)
        x = layer.train()(
            x
        )  # no dropout; in eval torch takes a fused path for which an activation must be named
    return x[0].detach().numpy()
