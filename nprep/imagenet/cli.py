"""The sub-commands of ``python -m nprep.imagenet``."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from nprep.imagenet import _flags
from nprep.imagenet.settings import PRESETS, TrainSettings, preset


def _train(args: argparse.Namespace) -> int:
    from nprep.imagenet.run_folder import RunFolder
    from nprep.imagenet.training import run_training

    given = _flags.given(args, TrainSettings)
    output = Path(args.output)
    if args.resume and (output / "args.yaml").exists() and set(given) == {"arch"} and not args.preset:
        settings = RunFolder(output).settings()
    else:
        settings = preset(args.preset, **given)
    result = run_training(settings, output, resume=args.resume, listen=True)
    print(json.dumps(result, indent=1))
    return 0


def _add_train(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "train",
        help="train one network",
        description="Trains one network. Several GPUs: torchrun --nproc-per-node 8 -m "
        "nprep.imagenet train ...",
    )
    parser.add_argument(
        "arch",
        help="22 digits from 0 to 6, largest, smallest, mobilenet-v2-like, or nb101:MATRIX:OPS",
    )
    parser.add_argument("--output", required=True, help="folder of the run")
    parser.add_argument("--resume", action="store_true", help="go on with the run in --output")
    parser.add_argument("--preset", default="", choices=["", *PRESETS], help="named settings")
    _flags.add_flags(parser, TrainSettings, skip=frozenset({"arch"}))
    parser.set_defaults(run=_train)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a sub-command.

    Args:
        argv: Arguments without the program name, or None for ``sys.argv``.

    Returns:
        The exit status.
    """
    parser = argparse.ArgumentParser(
        prog="python -m nprep.imagenet",
        description="Trains networks, and searches for good ones with a predictor.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_train(commands)
    args = parser.parse_args(argv)
    status: int = args.run(args)
    return status
