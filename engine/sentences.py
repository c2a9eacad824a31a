"""A sentence encoder from a folder as sentence-transformers writes it, computed with numpy: without torch or transformers.

    modules.json                Transformer, Pooling and perhaps Normalize (a Dense layer is refused)
    config.json                 of the network: bert, roberta, xlm-roberta or camembert
    sentence_bert_config.json   the longest text in tokens (may be absent)
    1_Pooling/config.json       mean, maximum or first token
    model.safetensors           float32, float16 or bfloat16
    tokenizer.json              of the library `tokenizers`

That is the form of MiniLM, multilingual E5, BGE and most others. All these files decide the numbers, so the hash of a
folder is over all of them (`folder_hash`), as the shell gives it inside of the folder:

    sha256sum 1_Pooling/config.json config.json model.safetensors modules.json sentence_bert_config.json tokenizer.json |
        sha256sum
"""

from __future__ import annotations

import hashlib
import importlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import erf
from threadpoolctl import threadpool_limits

from engine.errors import EngineError, invalid_weights

Vectors = NDArray[np.float32]
NEEDED = ("config.json", "model.safetensors", "modules.json", "tokenizer.json")
OPTIONAL = ("sentence_bert_config.json",)
LARGEST_JSON = 64 * 2**20  # bytes; the tokenizer of 250,000 tokens takes 17 MB
FAMILIES = {
    "bert": False,
    "roberta": True,
    "xlm-roberta": True,
    "camembert": True,
}  # whether places start after padding
POOLING = ("cls", "mean", "max")
MINILM = 6 * 384**2  # layers times width squared, of the network that was timed
MINILM_SECONDS = 0.05  # for one short text on one core, as measured here


def _gelu(x: Vectors) -> Vectors:
    return x * np.float32(0.5) * (np.float32(1) + erf(x * np.float32(0.5**0.5)))


def _gelu_tanh(x: Vectors) -> Vectors:
    inner: Vectors = np.tanh((2 / np.pi) ** 0.5 * (x + 0.044715 * x * x * x)).astype(np.float32)
    return x * np.float32(0.5) * (np.float32(1) + inner)


def _relu(x: Vectors) -> Vectors:
    return np.maximum(x, np.float32(0))


ACTIVATIONS: dict[str, Callable[[Vectors], Vectors]] = {
    "gelu": _gelu, "gelu_new": _gelu_tanh, "gelu_pytorch_tanh": _gelu_tanh, "relu": _relu,
}  # fmt: skip


def _read(path: Path) -> Any:
    if path.stat().st_size > LARGEST_JSON:
        raise ValueError("a description of that size")
    return json.loads(path.read_text(encoding="utf-8"))


def _modules(folder: Path) -> tuple[Path, bool]:
    """The folder of the pooling, and whether the vectors are brought to length one."""
    found = [
        (str(part["type"]).rpartition(".")[2], str(part["path"])) for part in _read(folder / "modules.json")
    ]
    names = [name for name, _ in found]
    if names not in (["Transformer", "Pooling"], ["Transformer", "Pooling", "Normalize"]):
        raise invalid_weights(
            f"“{folder.name}” is made of {', '.join(names)}, but Transformer, Pooling and Normalize are known"
        )
    below = PurePosixPath(found[1][1])
    if found[0][1] != "" or len(below.parts) != 1 or below.is_absolute() or ".." in below.parts:
        raise invalid_weights(f"“{folder.name}” names parts outside of it")
    return folder / below, "Normalize" in names


def files_of(folder: Path) -> list[Path]:
    """The files that decide what an encoder answers, sorted by name. Raises EngineError ("weights_invalid")."""
    try:
        pooling = _modules(folder)[0] / "config.json"
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise invalid_weights(f"“{folder.name}” is no folder as sentence-transformers writes it") from error
    found = [folder / name for name in NEEDED] + [pooling]
    found += [folder / name for name in OPTIONAL if (folder / name).exists()]
    for path in found:
        if path.is_symlink() or path.parent.is_symlink() or not path.is_file():
            raise invalid_weights(f"“{folder.name}/{path.relative_to(folder).as_posix()}” is missing")
    return sorted(found, key=lambda path: path.relative_to(folder).as_posix())


def folder_hash(folder: Path) -> str:
    """The sha256 of what `sha256sum` prints of `files_of`."""
    lines = []
    for path in files_of(folder):
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        lines.append(f"{digest}  {path.relative_to(folder).as_posix()}\n")
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def seconds_of(folder: Path) -> float:
    """About how long one short text takes on one core: MiniLM's time, by the size of the layers."""
    try:
        config = _read(folder / "config.json")
        return MINILM_SECONDS * int(config["num_hidden_layers"]) * int(config["hidden_size"]) ** 2 / MINILM
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return MINILM_SECONDS  # a broken folder is refused when it is opened


def _tensors(path: Path) -> dict[str, Vectors]:
    """Every tensor of numbers in single precision."""
    from safetensors import deserialize

    found = {}
    for name, part in deserialize(path.read_bytes()):
        kind, data, shape = part["dtype"], part["data"], part["shape"]
        if kind == "BF16":  # numpy has no such type: it is the upper half of a float32
            values = (np.frombuffer(data, dtype="<u2").astype(np.uint32) << 16).view(np.float32)
        elif kind in ("F32", "F16"):
            values = np.frombuffer(data, dtype="<f4" if kind == "F32" else "<f2").astype(
                np.float32, copy=False
            )
        else:
            continue  # numbers of places, which are counted here
        found[name] = values.reshape(shape)
    return found


def _pooling(config: dict[str, Any]) -> str:
    """cls, mean or max: newer files name it, older ones say yes or no to each."""
    named = config.get("pooling_mode")
    chosen = [named] if named is not None else [
        key.removeprefix("pooling_mode_").removesuffix("_token").removesuffix("_tokens")
        for key, value in config.items() if key.startswith("pooling_mode_") and value is True
    ]  # fmt: skip
    if len(chosen) != 1 or chosen[0] not in POOLING:
        raise invalid_weights(f"pooling by {', '.join(map(str, chosen)) or 'nothing'} is not known")
    return str(chosen[0])


class Bert:
    """The layers of a BERT (Devlin et al. 2018, arXiv:1810.04805) for one text at a time, so that a text's vector never
    depends on the texts beside it."""

    def __init__(self, config: dict[str, Any], tensors: dict[str, Vectors]) -> None:
        family, place = config.get("model_type"), config.get("position_embedding_type") or "absolute"
        if family not in FAMILIES or place != "absolute" or config.get("is_decoder"):
            raise invalid_weights(
                f"a network of the family “{family}” is not known ({', '.join(FAMILIES)} are)"
            )
        if config.get("hidden_act") not in ACTIVATIONS:
            raise invalid_weights(f"the activation “{config.get('hidden_act')}” is not known")
        self.act, self.eps = ACTIVATIONS[config["hidden_act"]], np.float32(config["layer_norm_eps"])
        self.heads, self.layers = int(config["num_attention_heads"]), int(config["num_hidden_layers"])
        word = "embeddings.word_embeddings.weight"
        before = next(name for name in tensors if name.endswith(word)).removesuffix(word)
        self.tensors = {
            name.removeprefix(before): value for name, value in tensors.items() if name.startswith(before)
        }
        self.first = int(config.get("pad_token_id", 1)) + 1 if FAMILIES[family] else 0
        self.longest = len(self.tensors["embeddings.position_embeddings.weight"]) - self.first
        stored = {int(name.split(".")[2]) for name in self.tensors if name.startswith("encoder.layer.")}
        if stored != set(range(self.layers)):
            raise ValueError("layers that the description does not tell of")

    def _linear(self, x: Vectors, name: str) -> Vectors:
        return x @ self.tensors[f"{name}.weight"].T + self.tensors[f"{name}.bias"]

    def _norm(self, x: Vectors, name: str) -> Vectors:
        centred = x - x.mean(axis=-1, keepdims=True)
        spread = np.sqrt((centred * centred).mean(axis=-1, keepdims=True) + self.eps)
        return centred / spread * self.tensors[f"{name}.weight"] + self.tensors[f"{name}.bias"]

    def _attention(self, x: Vectors, name: str) -> Vectors:
        """Each token (n, width) as a mean of all, by likeness, for each head."""
        parts = [self._linear(x, f"{name}.{each}") for each in ("query", "key", "value")]
        query, key, value = (part.reshape(len(x), self.heads, -1).transpose(1, 0, 2) for part in parts)
        score = query @ key.transpose(0, 2, 1) / np.float32(query.shape[-1] ** 0.5)
        share = np.exp(score - score.max(axis=-1, keepdims=True))
        share /= share.sum(axis=-1, keepdims=True)
        return (share @ value).transpose(1, 0, 2).reshape(len(x), -1)

    def __call__(self, tokens: NDArray[np.int64]) -> Vectors:
        """(n,) numbers of tokens to (n, width)."""
        own = self.tensors
        x = (
            own["embeddings.word_embeddings.weight"][tokens]
            + own["embeddings.token_type_embeddings.weight"][0]
        )
        x = x + own["embeddings.position_embeddings.weight"][self.first : self.first + len(tokens)]
        x = self._norm(x, "embeddings.LayerNorm")
        for layer in range(self.layers):
            at = f"encoder.layer.{layer}"
            seen = self._linear(self._attention(x, f"{at}.attention.self"), f"{at}.attention.output.dense")
            x = self._norm(seen + x, f"{at}.attention.output.LayerNorm")
            inner = self.act(self._linear(x, f"{at}.intermediate.dense"))
            x = self._norm(self._linear(inner, f"{at}.output.dense") + x, f"{at}.output.LayerNorm")
        return x


class SentenceFolder:
    """A frozen sentence encoder. `prefix` stands before every text, as E5 wants it ("passage: ").

    Raises EngineError ("weights_invalid") when the folder holds something else.
    """

    def __init__(self, folder: Path, prefix: str = "") -> None:
        self.prefix, self.lock = prefix, Lock()
        files_of(folder)
        try:
            pooling, self.normalised = _modules(folder)
            self.pooling = _pooling(_read(pooling / "config.json"))
            self.network = Bert(_read(folder / "config.json"), _tensors(folder / "model.safetensors"))
            own = _read(folder / OPTIONAL[0]) if (folder / OPTIONAL[0]).exists() else {}
            self.lower = bool(own.get("do_lower_case"))
            self.longest = max(2, min(int(own.get("max_seq_length") or 512), self.network.longest))
            self.tokenizer = importlib.import_module("tokenizers").Tokenizer.from_file(
                str(folder / "tokenizer.json")
            )
            self.tokenizer.no_padding()  # the stored one pads every text to the same length
            self.tokenizer.enable_truncation(self.longest)
            trial = self.embed_texts(["a"])
            if trial.ndim != 2 or not np.isfinite(trial).all():
                raise ValueError("no numbers")
            self.width = int(trial.shape[1])
        except EngineError:
            raise
        except (
            Exception
        ) as error:  # a wrong file shows in many ways: shapes, keys, the tokenizer's own exceptions
            raise invalid_weights(f"“{folder.name}” can't be loaded ({type(error).__name__})") from error

    def embed_texts(self, texts: Sequence[str]) -> Vectors:
        """(n, width) vectors; zeros for an empty text."""
        there = [k for k, text in enumerate(texts) if text.strip()]
        with (
            self.lock,
            threadpool_limits(limits=1),
        ):  # sums in one order, so that the same text gives the same bits
            found = [self._embed(texts[k]) for k in there]
        width = len(found[0]) if found else self.width
        vectors = np.zeros((len(texts), width), dtype=np.float32)
        if found:
            vectors[there] = np.stack(found)
        return vectors

    def _embed(self, text: str) -> Vectors:
        said = self.prefix + (text.lower() if self.lower else text)
        tokens = self.network(np.array(self.tokenizer.encode(said).ids, dtype=np.int64))
        vector: Vectors = {"cls": tokens[0], "mean": tokens.mean(axis=0), "max": tokens.max(axis=0)}[
            self.pooling
        ]
        return (
            vector / max(np.float32(np.linalg.norm(vector)), np.float32(1e-12)) if self.normalised else vector
        )
