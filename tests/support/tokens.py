"""Real tiktoken rank files without a network: `bpe-openai` carries OpenAI's own bytes."""

from __future__ import annotations

import gzip
import hashlib
import zipfile
from pathlib import Path

from .packages import package_directory

SOURCE = "https://openaipublic.blob.core.windows.net/encodings/{name}.tiktoken"

# What tiktoken itself expects each file to hash to (SHA-256 of the unpacked rank file).
EXPECTED = {
    "o200k_base": "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d",
    "cl100k_base": "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7",
}


def cache_name(encoding: str) -> str:
    """The file name under which tiktoken caches an encoding: the SHA-1 of its address."""
    return hashlib.sha1(SOURCE.format(name=encoding).encode(), usedforsecurity=False).hexdigest()


def _packed(encoding: str, wheel: Path | None) -> bytes:
    name = f"{encoding}.tiktoken.gz"
    if wheel is not None:
        with zipfile.ZipFile(wheel) as archive:
            return archive.read(f"bpe_openai/data/{name}")
    return (package_directory("bpe_openai") / "data" / name).read_bytes()


def seed(directory: Path | str, wheel: Path | None = None) -> None:
    """Write o200k_base and cl100k_base into `directory`, to be used as TIKTOKEN_CACHE_DIR.

    The bytes come from the installed `bpe_openai`, or from its downloaded `wheel`. A file that is
    already there and right is left alone. Raises ValueError when the bytes are not tiktoken's own,
    ModuleNotFoundError when the package is missing.
    """
    target = Path(directory)
    target.mkdir(parents=True, exist_ok=True)
    for encoding, expected in EXPECTED.items():
        path = target / cache_name(encoding)
        if path.exists() and hashlib.sha256(path.read_bytes()).hexdigest() == expected:
            continue
        content = gzip.decompress(_packed(encoding, wheel))
        if hashlib.sha256(content).hexdigest() != expected:
            raise ValueError(f"{encoding}: bpe_openai holds other bytes than tiktoken expects")
        path.write_bytes(content)
