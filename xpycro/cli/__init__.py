"""The command line: ``xpycro demo | info | translate | view | formats | replay``.

Parses, calls the library, prints; computes nothing.
On the top floor: may import everything; each command imports what it needs when it runs.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from xpycro.errors import XpycroError

__all__ = ["main"]


class _Version(argparse.Action):
    """Looks the version up only when it is asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *rest: object) -> None:
        from importlib.metadata import version

        print(version("xpycro"))
        parser.exit()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="xpycro",
        description="Microscope files as labelled xarray Datasets: open, translate to HDF5, analyse, look.",
        epilog='In Python the same begins with: import xpycro as xp; ds = xp.open("grid.3ds")',
    )
    parser.add_argument(
        "--version", action=_Version, nargs=0, default=argparse.SUPPRESS, help="print the version and end"
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="{demo,info,translate,view,formats,replay}")

    demo = commands.add_parser(
        "demo",
        help="run the whole chain on a file, or on a simulated measurement, and leave an HDF5 file and a report",
        description="Without FILE: simulates a band-excitation map, stores it, decomposes, clusters, fits and compares "
        "with the truth. With FILE: the chain that suits it (spectra: all of it; images: level, measure, transform).",
        epilog="for example: xpycro demo grid.3ds --output results/",
    )
    demo.add_argument("file", nargs="?", metavar="FILE", help="an instrument file (default: simulate one)")
    demo.add_argument(
        "--kind", choices=("map", "band-excitation"), default="map",
        help="what to simulate: a band-excitation map, or switching spectroscopy from the raw folder to switching maps",
    )  # fmt: skip
    demo.add_argument("--group", help="which grid of a file that holds several")
    demo.add_argument("--variable", help="which channel to analyse (default: the one that suits best)")
    demo.add_argument("--output", default=".", metavar="FOLDER", help="where the two files go (default: here)")

    info = commands.add_parser(
        "info",
        help="what is in a file: channels, dims, units, conditions",
        description="What is in a file: channels, dims, units, conditions. Reads the header, not the data.",
        epilog="for example: xpycro info grid.3ds --header | less",
    )
    info.add_argument("file", metavar="FILE", help="an instrument file, or an .h5 file that xpycro wrote")
    info.add_argument("--header", action="store_true", help="print the instrument's whole header too")
    info.add_argument("--history", action="store_true", help="print how each stored result was made")

    translate = commands.add_parser(
        "translate",
        help="write files as HDF5, with the whole header and provenance",
        description="Write files as HDF5, with the whole header and provenance. The files themselves are only read.",
        epilog="for example: xpycro translate night/*.3ds -o translated/",
    )
    translate.add_argument("files", nargs="+", metavar="FILE", help="instrument files")
    translate.add_argument("-o", "--output", required=True, metavar="OUT", help="an .h5 file, or a folder for several")
    translate.add_argument("--group", help="which grid of a file that holds several (default: all)")
    translate.add_argument("--overwrite", action="store_true", help="replace an existing target")

    view = commands.add_parser(
        "view",
        help="serve the explorer that suits a file to a browser on this machine",
        description="Serve the explorer that suits a file to a browser on this machine; Ctrl-C ends it.",
        epilog="for example: xpycro view grid.h5 --variable didv",
    )
    view.add_argument("file", metavar="FILE", help="an instrument file, or an .h5 file that xpycro wrote")
    view.add_argument("--group", help="which grid of a file that holds several")
    view.add_argument("--variable", help="which channel")
    view.add_argument("--port", type=int, default=0, help="default: a free one")
    view.add_argument("--no-show", dest="show", action="store_false", help="do not open a browser")

    commands.add_parser("formats", help="which files can be read, how, and how well that is proved")

    replay = commands.add_parser(
        "replay",
        help="make a stored result again, from the same measurement or another",
        description="Make a stored result again from what the file says of it, with the same measurement or another.",
        epilog="for example: xpycro replay monday.h5 fit_sho --source tuesday.h5",
    )
    replay.add_argument("file", metavar="FILE", help="the .h5 file that holds the result")
    replay.add_argument("name", metavar="RESULT", help="its name, such as fit_sho; xpycro info lists them")
    replay.add_argument("--source", metavar="OTHER", help="another .h5 measurement to do the same with")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Parameters
    ----------
    arguments : sequence of str, optional
        As typed after ``xpycro``; None takes them from the command line.

    Returns
    -------
    int
        0, or 1 where the file or the arguments were at fault; the reason is on standard error, in one line.
    """
    parsed = vars(_parser().parse_args(arguments))
    command = parsed.pop("command")
    try:
        if command == "demo":
            from xpycro.cli.demo import run as run_demo

            run_demo(**parsed)
        elif command == "info":
            from xpycro.cli.info import run as run_info

            run_info(**parsed)
        elif command == "translate":
            from xpycro.cli.convert import run as run_translate

            run_translate(**parsed)
        elif command == "view":
            from xpycro.cli.view import run as run_view

            run_view(**parsed)
        elif command == "replay":
            from xpycro.cli.again import run as run_replay

            run_replay(**parsed)
        else:
            from xpycro.io.formats import formats

            print(formats())
    except BrokenPipeError:  # the reader, such as head, has seen enough
        sys.stdout = None  # type: ignore[assignment]
    except (XpycroError, OSError, ValueError) as error:
        # what the user can mend; anything else is our mistake and keeps its traceback
        print(f"xpycro {command}: {error}", file=sys.stderr)
        return 1
    return 0
