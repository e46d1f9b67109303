"""A virtual environment for each peer, from benchmarks/peers/requirements, with plain pip.

    python benchmarks/peers/environments.py DIR [NAME ...]

Makes DIR/torch (for tutorial.py and plain.py), DIR/pythae, DIR/jax and DIR/keras, and for tables DIR/ctgan and
DIR/imblearn; or those that are named. One that exists is left as it is.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import venv
from pathlib import Path

ENVIRONMENTS = {
    "torch": ("tutorial", "plain"),
    "pythae": ("pythae_vae",),
    "jax": ("jax_jit",),
    "keras": ("keras_fit",),
}
TABLES = {"ctgan": ("tvae", "sdmetrics_scores"), "imblearn": ("smote",)}
REQUIREMENTS = Path(__file__).with_name("requirements")


def python(directory: Path) -> Path:
    """The interpreter of the environment in `directory`."""
    return directory / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def make(directory: Path, peers: tuple[str, ...]) -> None:
    """An environment with the requirements of `peers`; nothing of it is left if pip fails."""
    venv.create(directory, with_pip=True)
    files = [argument for peer in peers for argument in ("-r", str(REQUIREMENTS / f"{peer}.txt"))]
    try:
        subprocess.run([python(directory), "-m", "pip", "install", "--quiet", *files], check=True)
    except BaseException:
        shutil.rmtree(directory)
        raise


def main() -> None:
    known = ENVIRONMENTS | TABLES
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dir", type=Path)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"some of: {', '.join(known)}; all if none is given")
    options = parser.parse_args()
    root = options.dir
    for name in options.names or known:
        peers = known[name]
        if python(root / name).exists():
            print(f"{name}: exists", flush=True)
            continue
        print(f"{name}: installing for {', '.join(peers)}", flush=True)
        make(root / name, peers)
        print(f"{name}: done", flush=True)


if __name__ == "__main__":
    main()
