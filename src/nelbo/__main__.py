"""The start of the command line, as `nelbo` and as `python -m nelbo`.

It imports nothing before it can handle Ctrl-C.
"""

import sys


def main() -> None:
    """Import and run the command line; see `nelbo.cli.main`."""
    try:
        from nelbo.cli import main as run

        run()
    except KeyboardInterrupt:
        print("Interrupted", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()
