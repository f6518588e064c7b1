"""``python -m nprep.imagenet search`` and ``measure-latency``."""

from __future__ import annotations

import argparse
import contextlib
import logging
import signal
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any

from nprep.errors import RunFolderError, SettingsError
from nprep.imagenet import _flags
from nprep.imagenet.data.layout import open_parts
from nprep.imagenet.networks.latency import load_latency, save_latency
from nprep.imagenet.settings import PRESETS, TrainSettings, preset
from nprep.imagenet.study.engines import make_engine
from nprep.imagenet.study.limits import make_limits
from nprep.imagenet.study.report import format_summary, write_report
from nprep.imagenet.study.settings import StudySettings, best_of
from nprep.imagenet.study.study import Study
from nprep.search.registry import method_names
from nprep.spaces.base import Space
from nprep.spaces.proxyless.chains import ProxylessSpace
from nprep.spaces.proxyless.space import MobileSpace
from nprep.spaces.registry import get_space

_LOG = logging.getLogger("nprep.imagenet")
# Spaces whose networks can be trained.
SPACES = ("proxyless", "nb101")
# Set by the search itself, training by training.
_NOT_FLAGS = frozenset(
    {"arch", "device", "seed", "quiet", "epochs", "image_size", "tensorboard", "track"}
)


def add_search(commands: Any) -> None:
    """Adds the search command."""
    parser = commands.add_parser(
        "search",
        help="find a good network",
        description="Runs search methods whose queries are answered by training networks, and "
        "exports the best network of all. The neural predictor (np) trains N random networks, "
        "learns from them, and trains the K that it likes best. Killed anywhere, --resume "
        "continues.",
    )
    _flags.add_out(parser, "study folder")
    parser.add_argument("--resume", action="store_true", help="resume the study in --out")
    parser.add_argument(
        "--methods",
        default="np",
        help=f"which, joined by commas: {', '.join(method_names())}, or module:Class (default: np)",
    )
    parser.add_argument(
        "--space",
        default="proxyless",
        choices=list(SPACES),
        help="proxyless: chains of inverted bottlenecks; nb101: NASBench-101 cells, --width 1 at "
        "the channels of the table (default: proxyless)",
    )
    numbers = parser.add_argument_group("size of the search")
    numbers.add_argument("--train-samples", type=int, default=119, metavar="N")
    numbers.add_argument("--top-k", type=int, default=10, metavar="K")
    numbers.add_argument("--candidates", type=int, default=112_000)
    numbers.add_argument("--seed", type=int, default=0)
    limits = parser.add_argument_group("limits (0: none)")
    limits.add_argument("--latency-table", default="", help="JSON file of measure-latency")
    limits.add_argument("--latency-min", type=float, default=0.0, help="milliseconds")
    limits.add_argument("--latency-max", type=float, default=0.0, help="milliseconds")
    limits.add_argument("--flops-max", type=float, default=0.0, help="millions, 2 per multiply-add")
    limits.add_argument("--parameters-max", type=float, default=0.0, help="millions")
    stages = parser.add_argument_group("trainings")
    stages.add_argument(
        "--preset",
        default=None,
        choices=["", *PRESETS],
        help="of all trainings (default: nb101 for --space nb101)",
    )
    stages.add_argument(
        "--proxy-preset", default=None, choices=["", *PRESETS], help="of the N; default: as the K"
    )
    stages.add_argument("--epochs", type=int, default=0, help="of the K trainings")
    stages.add_argument("--proxy-epochs", type=int, default=0, help="of the N; 0: as the K")
    stages.add_argument("--image-size", type=int, default=0, help="of the K trainings")
    stages.add_argument("--proxy-image-size", type=int, default=0, help="of the N; 0: as the K")
    engine = parser.add_argument_group("where trainings run")
    engine.add_argument("--jobs", type=int, default=0, help="trainings at a time; 0: one a GPU")
    engine.add_argument("--device", default="auto", help="auto, cpu or cuda")
    engine.add_argument("--engine", default="local", choices=["local", "ray"])
    engine.add_argument("--address", default="auto", help="of the Ray cluster, or local")
    engine.add_argument(
        "--gpus-per-task", type=float, default=1.0, metavar="G", help="GPUs of a training, with ray"
    )
    engine.add_argument(
        "--cpus-per-task", type=float, default=1.0, metavar="C", help="CPUs of a training, with ray"
    )
    for former, option in (
        ("--ray-address", "--address"),
        ("--ray-gpus", "--gpus-per-task"),
        ("--ray-cpus", "--cpus-per-task"),
    ):
        parser.also_accept(former, option)
    engine.add_argument("--predictor-threads", type=int, default=2)
    _flags.add_flags(parser, TrainSettings, skip=_NOT_FLAGS)
    parser.set_defaults(run=_search)


def _stages(args: argparse.Namespace) -> tuple[TrainSettings, TrainSettings]:
    """Settings of the N and of the K trainings."""
    given = _flags.given(args, TrainSettings)
    for name in _NOT_FLAGS:
        given.pop(name, None)
    named = args.preset
    if named is None:
        named = args.space if args.space in PRESETS else ""
    lengths = {n: v for n in ("epochs", "image_size") if (v := getattr(args, n))}
    full = preset(named, **given, **lengths, seed=args.seed)
    base = full
    if args.proxy_preset is not None:
        base = preset(args.proxy_preset, **given, seed=args.seed)
    proxy = replace(
        base,
        epochs=args.proxy_epochs or base.epochs,
        image_size=args.proxy_image_size or base.image_size,
    )
    return proxy, full


def _space(args: argparse.Namespace, full: TrainSettings, classes: int) -> Space:
    """The space of a search, at the size of the networks that are trained."""
    if args.space != "proxyless":
        return get_space(args.space)
    return ProxylessSpace(
        MobileSpace(classes, full.image_size, full.width, full.depth, full.stem_stride)
    )


def _search(args: argparse.Namespace) -> int:
    proxy, full = _stages(args)
    settings = StudySettings(
        # "predictor" was the name of np here.
        methods=tuple(
            "np" if name.strip() == "predictor" else name.strip()
            for name in args.methods.split(",")
            if name.strip()
        ),
        train_samples=args.train_samples,
        top_k=args.top_k,
        candidates=args.candidates,
        seed=args.seed,
        proxy=proxy,
        full=full,
        threads=args.predictor_threads,
    )
    # Reads the folder tree once, here, so that what is wrong with it is said at once.
    parts = open_parts(full)
    space = _space(args, full, parts.num_classes)
    table = None
    if args.latency_table:
        if not isinstance(space, ProxylessSpace):
            raise SettingsError("--latency-table is for --space proxyless: leave it out.")
        table = load_latency(Path(args.latency_table), space.mobile)
    limits = make_limits(
        space, table, args.latency_min, args.latency_max, args.flops_max, args.parameters_max
    )
    with _told_to_stop(Path(args.out)):
        address = args.address if args.engine == "ray" else None
        engine = make_engine(
            address, args.jobs, args.device, args.gpus_per_task, args.cpus_per_task, _say
        )
        try:
            study = Study(
                Path(args.out),
                replace(settings, parallel=engine.parallel),
                limits,
                engine,
                args.resume,
                (len(parts.train), len(parts.val), parts.num_classes),
            )
        except BaseException:
            engine.close()
            raise
        try:
            study.run()
            summary = write_report(study, table)
            _deploy(study)
        finally:
            study.close()
    print(format_summary(summary, study.folder))
    return 0


def _say(text: str) -> None:
    _LOG.info(text)


@contextlib.contextmanager
def _told_to_stop(folder: Path) -> Iterator[None]:
    """Turns SIGTERM, which clusters send before they kill, into an end that saves everything."""

    def stop(number: int, frame: FrameType | None) -> None:
        # The worker processes get it next, and write checkpoints.
        raise RunFolderError(
            f"stopped by a signal; resume the study in {folder} with the same command and --resume."
        )

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _deploy(study: Study) -> None:
    """Exports the best network of all methods, in the formats whose packages are there."""
    from importlib.util import find_spec

    from nprep.imagenet.training.export import export
    from nprep.imagenet.training.weights import load_trained

    best = best_of(
        study.settings,
        [query for method in study.settings.methods for query in study.ledger.queries(method)],
    )
    if best is None:
        return
    model, about = load_trained(study.folder_of(best.training))
    formats = ["torchscript"]
    if find_spec("safetensors"):
        formats.append("safetensors")
    if find_spec("onnx") and find_spec("onnxscript"):
        formats.append("onnx")
    for path in export(model, about, study.folder / "deploy" / "best", formats):
        _LOG.info("wrote %s", path)


def add_measure(commands: Any) -> None:
    """Adds the latency command."""
    parser = commands.add_parser(
        "measure-latency",
        help="measure a latency table on this device",
        description="Times every block alone and whole random networks; writes the table, with "
        "one factor that makes sums match networks, and says how well they do.",
    )
    _flags.add_out(parser, "JSON file")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    parser.add_argument("--batch-size", type=int, default=1)
    parser.add_argument(
        "--precision", default="fp32", choices=["fp32", "fp16", "bf16"], help="of the networks"
    )
    parser.add_argument(
        "--compile", action="store_true", help="time what torch.compile makes of the networks"
    )
    parser.add_argument("--repeats", type=int, default=20, help="timed calls of each block")
    parser.add_argument("--networks", type=int, default=20, help="whole networks to compare with")
    parser.add_argument("--num-classes", type=int, default=1000)
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--width", type=float, default=1.0)
    parser.add_argument("--depth", type=int, default=4)
    parser.add_argument("--stem-stride", type=int, default=2)
    parser.set_defaults(run=_measure)


def _measure(args: argparse.Namespace) -> int:
    from nprep._optional import need

    torch = need("torch", "time networks", extra="imagenet")
    from nprep.imagenet.networks.measure import (
        Deployment,
        compare_with_networks,
        describe_device,
        measure_table,
    )
    from nprep.imagenet.training.processes import choose_device

    for name in ("repeats", "networks", "batch_size", "threads"):
        if getattr(args, name) < 1:
            raise SettingsError(f"{name} is {getattr(args, name)}: it must be at least 1.")
    space = MobileSpace(args.num_classes, args.image_size, args.width, args.depth, args.stem_stride)
    device = choose_device(args.device)
    torch.set_num_threads(args.threads)
    where = Deployment(device, args.precision, args.compile)
    table = measure_table(space, where, args.batch_size, args.repeats)
    check = compare_with_networks(space, table, where, args.batch_size, args.repeats, args.networks)
    table = table.times(check["factor"])
    about = {"device": describe_device(device), "batch_size": args.batch_size,
             "precision": args.precision, "compiled": args.compile,
             "repeats": args.repeats, "against_whole_networks": check}  # fmt: skip
    save_latency(Path(args.out), space, table, about)
    print(
        f"{args.networks} random networks: {check['mean_measured_ms']} ms measured, "
        f"{check['mean_summed_ms']} ms summed over blocks timed alone; the table has the factor "
        f"{check['factor']} of the first half of them, and is off by {check['error_percent']} % "
        f"on the others ({check['error_percent_without_factor']} % without), Kendall tau "
        f"{check['kendall_tau']}"
    )
    return 0
