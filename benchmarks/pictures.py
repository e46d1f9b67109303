"""How fast a folder of pictures feeds training: when the first step begins, and how much of its time the loop waits.

    python benchmarks/pictures.py [--pictures 20000] [--dir DIR] [--out benchmarks/pictures.json]

Half of the pictures are PNG, half JPEG, all 64x64 in colour, drawn at random in a temporary folder in DIR. Each case is
a process of its own: `nelbo.fit` on the folder, with the pictures in memory, or streamed as if they did not fit there:
with nothing kept yet (the first epoch), with all of them kept (later ones), and with keeping switched off. Counted from
the start of the process, imports and all. The share is that of the time between the first step and the end of the last
in which the loop waits for a batch. `net` is the model: nelbo's own choice, or a perceptron of two small layers, whose
steps take a small part of the time and which few models will outrun. Augmented: with `flip,shift,rotate,scale`.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

SIDE, BATCH = 64, 128
NETS: dict[str, dict[str, Any]] = {
    "small": {"model__encoder": {"kind": "mlp", "hidden": [64, 64]}},
    "default": {},
}
WAYS = ("memory", "streamed, first", "streamed, kept", "streamed, off")
CASES = (  # net, way, whether pictures are changed
    *(("small", way, False) for way in WAYS),
    *(("small", "memory", True), ("small", "streamed, kept", True)),
    *(("default", way, False) for way in ("memory", "streamed, off")),
    ("default", "memory", True),
)
AUGMENT = "flip,shift,rotate,scale"


def draw(folder: Path, pictures: int) -> None:
    """Ellipses on a shaded ground, with a little noise, so that files are as large as those of photographs."""
    rng = np.random.default_rng(0)
    ramp = np.linspace(0, 1, SIDE)[:, None, None]
    for number in range(pictures):
        top, low = rng.integers(0, 256, (2, 3))
        ground = top * (1 - ramp) + low * ramp + rng.normal(0, 4, (SIDE, SIDE, 3))
        picture = Image.fromarray(ground.clip(0, 255).astype(np.uint8))
        pen = ImageDraw.Draw(picture)
        for _ in range(4):
            box = np.sort(rng.integers(0, SIDE, (2, 2)), 0).ravel().tolist()
            pen.ellipse(box, fill=tuple(rng.integers(0, 256, 3).tolist()))
        place = folder / f"{number // 1000:02}"
        place.mkdir(exist_ok=True)
        picture.save(place / f"{number:05}.{'jpg' if number % 2 else 'png'}")


def case(folder: str, way: str, net: str, steps: int, augment: str, began: float) -> dict[str, float]:
    """In a process of its own: train, and time the loop's waits for its batches."""
    import nelbo
    from nelbo.data import dataset
    from nelbo.training import loop

    if way != "memory":
        dataset.MEMORY_BUDGET = 0
    times = {"first": 0.0, "last": 0.0, "waited": 0.0}
    batches, train_epoch = loop.batches, loop.Run.train_epoch

    def timed(*given: Any) -> Iterator[Any]:
        found, asked = iter(batches(*given)), time.time()
        for x in found:
            if times["first"]:
                times["waited"] += time.time() - asked
            else:
                times["first"] = time.time()
            yield x
            asked = time.time()

    def watched(*given: Any) -> None:
        loop.batches = timed
        train_epoch(*given)
        loop.batches, times["last"] = batches, time.time()

    loop.Run.train_epoch = watched  # type: ignore[method-assign, assignment]
    options = {"data__augment": AUGMENT} if augment else {}
    nelbo.fit(folder, epochs=1, batch_size=BATCH, training__samples_per_epoch=steps * BATCH, **NETS[net], **options)
    total = times["last"] - times["first"]
    return {
        "first_step_seconds": times["first"] - began,
        "step_ms": 1000 * total / steps,
        "waiting": times["waited"] / total,
    }


def run(folder: Path, cache: Path, way: str, net: str, steps: int, augment: bool) -> dict[str, Any]:
    """One case in its process."""
    keep = "off" if way.endswith("off") else str(cache)
    command = [sys.executable, __file__, "--case", str(folder), way, net, str(steps), "yes" if augment else ""]
    began = time.time()
    done = subprocess.run(
        [*command, str(began)], env={**os.environ, "NELBO_CACHE": keep}, stdout=subprocess.PIPE, check=True
    )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return {"way": way, "net": net, "augmented": augment, "steps": steps, **found}


def main() -> None:
    if sys.argv[1:2] == ["--case"]:
        folder, way, net, steps, augment, began = sys.argv[2:]
        print(json.dumps(case(folder, way, net, int(steps), augment, float(began))))
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=20_000)
    parser.add_argument("--steps", type=int, default=150, help="of the small net")
    parser.add_argument("--default-steps", type=int, default=60, help="of the default, which takes seconds for each")
    parser.add_argument("--dir", type=Path)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    options = parser.parse_args()
    found = []
    with tempfile.TemporaryDirectory(dir=options.dir) as temporary:
        folder, cache = Path(temporary) / "pictures", Path(temporary) / "cache"
        folder.mkdir()
        draw(folder, options.pictures)
        print(f"{'pictures':18} {'net':8} {'augmented':9} {'first step':>10} {'a step':>9} {'waiting':>8}")
        for net, way, augment in CASES:
            row = run(folder, cache, way, net, options.steps if net == "small" else options.default_steps, augment)
            found.append(row)
            print(
                f"{way:18} {net:8} {'yes' if augment else '':9} {row['first_step_seconds']:8.1f} s "
                f"{row['step_ms']:6.0f} ms {row['waiting']:8.1%}",
                flush=True,
            )
    options.out.write_text(json.dumps({"pictures": options.pictures, "batch": BATCH, "cases": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
