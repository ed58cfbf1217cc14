"""The import contract names every room, so that none is left out of it by being new."""

import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"][
    "contracts"
]
ROOMS = {
    f"whence.{path.stem}"
    for path in (ROOT / "src" / "whence").iterdir()
    if not path.name.startswith("_") and (path.suffix == ".py" or path.is_dir())
}


def test_every_room_has_its_place_in_the_order() -> None:
    (layers,) = (c["layers"] for c in CONTRACTS if c["type"] == "layers")
    named = {room.strip() for layer in layers for room in layer.split("|")}
    assert named == ROOMS


def test_every_room_but_one_is_kept_from_bergson() -> None:
    (sources,) = (
        c["source_modules"] for c in CONTRACTS if c.get("forbidden_modules") == ["bergson"]
    )
    assert set(sources) == ROOMS - {"whence.gradients"}
