"""The sub-commands of ``python -m nprep.imagenet``."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from nprep._console import Parser, messages
from nprep.imagenet import _flags
from nprep.imagenet._flags import add_out
from nprep.imagenet.search_cli import add_measure, add_search
from nprep.imagenet.settings import PRESETS, TrainSettings, preset
from nprep.spaces.proxyless import costs
from nprep.spaces.proxyless.space import MobileSpace


def _train(args: argparse.Namespace) -> int:
    from nprep.imagenet.training.folder import RunFolder
    from nprep.imagenet.training.run import run_training

    given = {**_flags.from_config(args.config, TrainSettings), **_flags.given(args, TrainSettings)}
    output = Path(args.out)
    if (
        args.resume
        and (output / "args.yaml").exists()
        and set(given) == {"arch"}
        and not args.preset
    ):
        kept = RunFolder(output).settings()
        # Another network than the folder's is refused there, in one sentence.
        settings = replace(kept, arch=given["arch"])
    else:
        settings = preset(args.preset, **given)
    if args.eval_only:
        from nprep.imagenet.training.answer import evaluate

        print(json.dumps(evaluate(settings, output), indent=1))
        return 0
    result = run_training(settings, output, resume=args.resume, listen=True)
    # Once, not by each process of torchrun; the settings are in args.yaml too.
    if os.environ.get("RANK", "0") == "0":
        print(json.dumps({k: v for k, v in result.items() if k != "settings"}, indent=1))
    return 0


def _add_train(commands: argparse._SubParsersAction[Parser]) -> None:
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
    add_out(parser, "folder of the run")
    parser.add_argument("--resume", action="store_true", help="resume the run in --out")
    parser.add_argument("--preset", default="", choices=["", *PRESETS], help="named settings")
    parser.add_argument("--config", help="YAML file of settings, by the names of these options")
    parser.add_argument(
        "--eval-only",
        action="store_true",
        help="train nothing: score --initial-weights, or the run in --out, on validation and test "
        "images",
    )
    parser.also_accept("--test-only", "--eval-only")
    parser.also_accept("-c", "--config")
    _flags.add_flags(parser, TrainSettings, skip=frozenset({"arch"}))
    parser.set_defaults(run=_train)


def _predict(args: argparse.Namespace) -> int:
    from nprep.imagenet.training.answer import predict

    for path, answers in predict(Path(args.network), [Path(p) for p in args.images], args.top):
        said = ", ".join(f"{name} {100 * share:.1f} %" for name, share in answers)
        print(f"{path}  {said}")
    return 0


def _add_predict(commands: argparse._SubParsersAction[Parser]) -> None:
    parser = commands.add_parser("predict", help="classify images with a trained network")
    parser.add_argument("network", help="an export in safetensors, or the folder of a training")
    parser.add_argument("images", nargs="+", help="image files")
    parser.add_argument("--top", type=int, default=5, help="classes to name")
    parser.set_defaults(run=_predict)


def _export(args: argparse.Namespace) -> int:
    from nprep._optional import need

    need("torch", "export networks", extra="imagenet")
    from nprep.imagenet.training.export import export
    from nprep.imagenet.training.weights import load_trained

    model, about = load_trained(Path(args.run_folder))
    for path in export(model, about, Path(args.out), args.formats.split(",")):
        print(path)
    return 0


def _add_export(commands: argparse._SubParsersAction[Parser]) -> None:
    parser = commands.add_parser("export", help="write a trained network for deployment")
    parser.add_argument("run_folder", help="folder of the training")
    add_out(parser, "path without an ending")
    parser.add_argument("--formats", default="torchscript,onnx,safetensors")
    parser.set_defaults(run=_export)


def _info(args: argparse.Namespace) -> int:
    space = MobileSpace(args.num_classes, args.image_size, args.width, args.depth, args.stem_stride)
    print(f"{space.num_blocks} blocks, {space.size:,} networks")
    for text in args.archs:
        encoding = space.parse(text)[None]
        macs, count = costs.macs(space).of(encoding)[0], costs.parameters(space).of(encoding)[0]
        print(f"{space.format(encoding[0])}  {macs / 1e6:.1f} MMAC  {2 * macs / 1e6:.1f} MFLOP  "
              f"{count:,.0f} parameters")  # fmt: skip
    return 0


def _add_info(commands: argparse._SubParsersAction[Parser]) -> None:
    parser = commands.add_parser("info", help="size of the space, costs of networks")
    parser.add_argument("archs", nargs="*", default=["mobilenet-v2-like", "largest", "smallest"])
    parser.add_argument("--num-classes", type=int, default=1000)
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--width", type=float, default=1.0)
    parser.add_argument("--depth", type=int, default=4)
    parser.add_argument("--stem-stride", type=int, default=2)
    parser.set_defaults(run=_info)


def _budget(args: argparse.Namespace) -> int:
    from nprep.imagenet.study.budget import Stage, format_budget

    proxy_speed = args.proxy_images_per_second or args.images_per_second
    stages = [
        Stage("sample", args.train_samples, args.proxy_epochs, proxy_speed),
        Stage("top", args.top_k, args.epochs, args.images_per_second),
    ]
    print(format_budget(stages, args.gpus, args.price))
    return 0


def _add_budget(commands: argparse._SubParsersAction[Parser]) -> None:
    parser = commands.add_parser(
        "budget", help="GPU-hours and cost of a search on ImageNet, from a measured speed"
    )
    parser.add_argument("--images-per-second", type=float, required=True, help="of one GPU")
    parser.add_argument("--proxy-images-per-second", type=float, default=0.0)
    parser.add_argument("--train-samples", type=int, default=119)
    parser.add_argument("--top-k", type=int, default=10)
    parser.add_argument("--proxy-epochs", type=int, default=30)
    parser.add_argument("--epochs", type=int, default=300)
    parser.add_argument("--gpus", type=int, default=8)
    parser.add_argument("--price", type=float, default=0.0, help="of one GPU-hour")
    parser.set_defaults(run=_budget)


def _full_size(args: argparse.Namespace) -> int:
    from nprep._optional import need

    torch = need("torch", "train networks", extra="imagenet")
    from nprep.imagenet.training.full_size import full_size_report
    from nprep.imagenet.training.processes import choose_device

    if args.threads:
        torch.set_num_threads(args.threads)
    device = choose_device(args.device)
    full_size_report(args.batch_size, args.repeats, args.amp, device, print)
    return 0


def _add_full_size(commands: argparse._SubParsersAction[Parser]) -> None:
    parser = commands.add_parser(
        "full-size", help="speed and memory of full-size training steps on random images"
    )
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--amp", default="none", choices=["none", "bf16", "fp16"])
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads")
    parser.set_defaults(run=_full_size)


def main(argv: Sequence[str] | None = None, *, prog: str = "python -m nprep.imagenet") -> int:
    """Runs a sub-command.

    Args:
        argv: Arguments without the program name, or None for ``sys.argv``.
        prog: What the help calls the program.

    Returns:
        The exit status.
    """
    parser = Parser(
        prog=prog,
        description="Trains networks, and searches for good ones with a predictor.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_train(commands)
    add_search(commands)
    add_measure(commands)
    _add_export(commands)
    _add_predict(commands)
    _add_info(commands)
    _add_budget(commands)
    _add_full_size(commands)
    args = parser.parse_args(argv)
    with messages():
        status: int = args.run(args)
    return status
