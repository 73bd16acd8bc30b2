"""The command line: ``xpycro demo | info | translate | view | formats | replay``.

Parses, calls the library, prints; computes nothing.
On the top floor: may import everything; each command imports what it needs when it runs.
"""

from __future__ import annotations

import argparse
import json
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


_FILE = "an instrument file, a folder where the format is one, or an .h5 file that xpycro wrote"


def parser() -> argparse.ArgumentParser:
    """What the command line understands; docs/command_line.md is written from it."""
    top = argparse.ArgumentParser(
        prog="xpycro",
        description="Microscope files as labelled xarray Datasets: open, translate to HDF5, analyse, look.",
        epilog='"xpycro translate --help" explains a command. In Python the same begins with: '
        'import xpycro as xp; ds = xp.open("grid.3ds")',
    )
    top.add_argument("--version", action=_Version, nargs=0, default=argparse.SUPPRESS, help="print the version and end")
    commands = top.add_subparsers(dest="command", required=True, metavar="{demo,info,translate,view,formats,replay}")

    demo = commands.add_parser(
        "demo",
        help="run the whole chain on a file, or on a simulated measurement, and leave an HDF5 file and a report",
        description="Without FILE: simulates a band-excitation map, stores it, decomposes, clusters, fits and compares "
        "with the truth. With FILE: the chain that suits it (spectra: all of it; images: level, measure, transform). "
        "Leaves NAME.h5 and NAME.html; what exists is never overwritten, a number is added to the name.",
        epilog="for example: xpycro demo grid.3ds --output results/",
    )
    demo.add_argument("file", nargs="?", metavar="FILE", help=f"{_FILE} (default: simulate one)")
    demo.add_argument(
        "--kind", choices=("map", "band-excitation"), default="map",
        help="what to simulate without FILE: a band-excitation map, or switching spectroscopy from the raw folder to "
        "switching maps (default: map)",
    )  # fmt: skip
    demo.add_argument(
        "--output", default=".", metavar="FOLDER", help="where the files go; made if it is not there (default: here)"
    )
    _choosing(demo, variable="analyse")

    info = commands.add_parser(
        "info",
        help="what is in a file: channels, dims, units, conditions",
        description="What is in a file: channels, dims with their units and extents, conditions, stored results. Reads "
        "the header, not the data.",
        epilog="for example: xpycro info grid.3ds --header",
    )
    info.add_argument("file", metavar="FILE", help=_FILE)
    info.add_argument("--header", action="store_true", help="print the instrument's whole header too, as JSON")
    info.add_argument("--history", action="store_true", help="print how the measurement and each result were made")
    _reading(info)

    translate = commands.add_parser(
        "translate",
        help="write files as HDF5, with the whole header and provenance",
        description="Write files as HDF5, with the whole header and provenance. The files themselves are only read. Of "
        "several files those that cannot be read are named, the others translated.",
        epilog="for example: xpycro translate night/*.3ds -o translated/",
    )
    translate.add_argument(
        "files", nargs="+", metavar="FILE", help="instrument files, or folders where a format is one"
    )
    translate.add_argument(
        "-o", "--output", required=True, metavar="OUT",
        help="an .h5 file; or a folder, which gets an .h5 file for each FILE; made if it is not there",
    )  # fmt: skip
    translate.add_argument("--group", metavar="NAME", help="which grid of a file that holds several (default: all)")
    translate.add_argument("--overwrite", action="store_true", help="replace .h5 files that exist (default: keep them)")
    _reading(translate)

    view = commands.add_parser(
        "view",
        help="serve the explorer that suits a file to a browser on this machine",
        description="Serve the explorer that suits a file to a browser on this machine, and to no other; Ctrl-C ends "
        "it. Stored results have a tab each.",
        epilog="for example: xpycro view grid.h5 --variable didv",
    )
    view.add_argument("file", metavar="FILE", help=_FILE)
    view.add_argument("--port", type=int, default=0, metavar="N", help="which port to serve at (default: a free one)")
    view.add_argument(
        "--no-show", dest="show", action="store_false", help="do not open a browser; the address is printed"
    )
    _choosing(view, variable="show")

    formats = commands.add_parser(
        "formats",
        help="which files can be read, how, and how well that is proved",
        description="Which files can be read, how, and how well that is proved: suffixes, instruments, what opening "
        "reads (block: the header; partly; no: all), reader options, the extra to install, and whether it was tried on "
        "a real file.",
        epilog="for example: xpycro formats nanonis",
    )
    formats.add_argument(
        "word", nargs="?", metavar="WORD",
        help="only formats whose line holds this, with their reader options explained (default: all)",
    )  # fmt: skip

    replay = commands.add_parser(
        "replay",
        help="make a stored result again, from the same measurement or another",
        description="Make a stored result again from what the file says of it, with the same measurement or another, "
        "and store it beside that measurement.",
        epilog="for example: xpycro replay monday.h5 fit_sho --source tuesday.h5",
    )
    replay.add_argument("file", metavar="FILE", help="the .h5 file that holds the result")
    replay.add_argument("name", metavar="RESULT", help="its name, such as fit_sho; xpycro info lists them")
    replay.add_argument(
        "--source", metavar="OTHER", help="another .h5 measurement to do the same with (default: the one in FILE)"
    )
    return top


def _choosing(command: argparse.ArgumentParser, *, variable: str) -> None:
    command.add_argument(
        "--group", metavar="NAME", help="which grid of a file that holds several (xpycro info lists them)"
    )
    command.add_argument(
        "--variable", metavar="NAME", help=f"which channel to {variable} (default: the one that suits best)"
    )
    _reading(command)


def _reading(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--format", metavar="NAME",
        help="which format it is, as xpycro formats calls it (default: as content and suffix say)",
    )  # fmt: skip
    command.add_argument(
        "--option", dest="options", action=_Option, default={}, metavar="NAME=VALUE",
        help="an option of the file's reader, such as incomplete=true or scan_shape=256,256; may be repeated (xpycro "
        "formats WORD explains them)",
    )  # fmt: skip


class _Option(argparse.Action):
    """Collects ``NAME=VALUE``: numbers, true and false as such, all else as text, several with commas as a tuple."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: object, option: object = None
    ) -> None:
        name, equals, text = str(values).partition("=")
        if not (name and equals):
            raise argparse.ArgumentError(self, f"expected NAME=VALUE, got {values!r}")
        try:
            found = json.loads(f"[{text.lower() if text in ('True', 'False') else text}]")
        except ValueError:
            found = [part.strip() for part in text.split(",")]
        one = found[0] if len(found) == 1 else found
        given = tuple(one) if isinstance(one, list) else one
        setattr(namespace, self.dest, {**getattr(namespace, self.dest), name: given})


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Parameters
    ----------
    arguments : sequence of str, optional
        As typed after ``xpycro``; None takes them from the command line.

    Returns
    -------
    int
        0; 1 where the file or the arguments were at fault, the reason being on standard error in one line; 130 after
        Ctrl-C, which leaves nothing half-written.
    """
    understood = parser()
    if not (sys.argv[1:] if arguments is None else arguments):
        understood.print_help(sys.stderr)
        raise SystemExit(2)
    parsed = vars(understood.parse_args(arguments))
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
            from xpycro.cli.formats import run as run_formats

            run_formats(**parsed)
    except BrokenPipeError:  # the reader, such as head, has seen enough
        sys.stdout = None  # type: ignore[assignment]
    except KeyboardInterrupt:
        print(f"xpycro {command}: interrupted; what was being written is removed", file=sys.stderr)
        return 130
    except (XpycroError, OSError, ValueError) as error:
        # what the user can mend; anything else is our mistake and keeps its traceback
        print(f"xpycro {command}: {error}", file=sys.stderr)
        return 1
    return 0
