"""`hyperstyle invert`: images in; reconstruction, side-by-side sheet and inversion file out, for each."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from hyperstyle.cli.arguments import (
    ALIGN,
    add_invert_arguments,
    add_method_arguments,
    add_model_arguments,
    check_face_arguments,
    landmarks_of,
    load_inverter,
    writable_folder,
)
from hyperstyle.cli.config import add_config_argument
from hyperstyle.cli.inputs import Failure, find_images, keep_inputs, output_names, read_ahead, report
from hyperstyle.cli.resuming import InvertRequest, Job, Resumption
from hyperstyle.errors import ConfigError, HyperStyleError
from hyperstyle.io.claims import Claims
from hyperstyle.io.files import sweep

if TYPE_CHECKING:
    from PIL.Image import Image
    from tqdm import tqdm

    from hyperstyle.align.prepare import Prepared
    from hyperstyle.inversion.inversion import Inversion
    from hyperstyle.inverter import HyperStyleInverter

__all__ = ["add_parser", "run"]

_ENDINGS = (".png", "_sheet.png", ".safetensors")
_DEFAULT_BATCH_SIZE = 8  # images, or faces of one, that go through the networks at once where they may


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command to the parser."""
    parser = subparsers.add_parser(
        "invert",
        help="invert images: files, folders or globs",
        description=(
            "For every image: NAME.png (the reconstruction), NAME_sheet.png (input, codes alone, result) and "
            "NAME.safetensors (to edit later). With --face all they hold every face of the image. An image that "
            "fails does not stop the others. Images whose NAME.safetensors is there already are left out, so that "
            "the same command goes on after an interruption, and several at once share the work."
        ),
    )
    parser.add_argument("inputs", nargs="+", metavar="IMAGE", help="image, folder of images, or glob")
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("inversions"),
        metavar="FOLDER",
        help="where to write; made where it is missing (default: inversions)",
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="invert again what is there already, in place of what is there"
    )
    add_model_arguments(parser)
    add_invert_arguments(parser)
    add_method_arguments(parser)
    parser.add_argument(
        "--batch",
        type=int,
        metavar="N",
        help=f"images that go through the networks together (default: {_DEFAULT_BATCH_SIZE} on CUDA devices, else 1)",
    )
    parser.add_argument("--quiet", action="store_true", help="no progress bar, no line per image")
    add_config_argument(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Inverts every image; 1 if any of them failed."""
    check_face_arguments(args)
    if args.batch is not None and args.batch < 1:
        raise ConfigError(f"--batch {args.batch}: expected 1 or more images.")
    images, failures = find_images(args.inputs)
    total = len(images) + len(failures)
    names = output_names(images, _ENDINGS)
    out: Path = args.out
    keep_inputs(images, (out / (name + ending) for name in names for ending in _ENDINGS))
    if len(images) > 1 and args.landmarks is not None and not args.landmarks.is_dir():
        raise ConfigError(f"--landmarks {str(args.landmarks)!r} is one file for {total} images: give a folder.")
    if images:
        writable_folder(out)
        sweep(out)
        with Claims() as claims:
            work = Resumption(InvertRequest.of(args), claims, args.overwrite)
            jobs = work.unfinished(map(Job, images, (out / name for name in names)))
            if jobs:
                failures += _invert_all(jobs, work, args)
        failures += work.refused
        work.print_skipped(len(images), out, args.quiet)
    return report(failures, total)


def _invert_all(jobs: Sequence[Job], work: Resumption, args: argparse.Namespace) -> list[Failure]:
    """Loads the model and inverts those of these images that no other run is inverting; gives those that failed."""
    from tqdm import tqdm

    from hyperstyle.methods import registry

    inverter = load_inverter(args)
    registry.resolve_method(inverter.model, args.method, steps=args.steps, seed=args.seed)  # once, not for every image
    with tqdm(total=len(jobs), unit="image", disable=args.quiet) as bar:
        return list(_invert(work.claimed(jobs, on_skip=bar.update), work, inverter, args, bar))


def _invert(
    jobs: Iterable[Job],
    work: Resumption,
    inverter: HyperStyleInverter,
    args: argparse.Namespace,
    bar: tqdm[NoReturn],
) -> Iterator[Failure]:
    """Inverts and writes the images, with a few in memory at a time, and yields those that failed.

    One thread reads and aligns images while the networks work on those before them. The claim on
    an image is released once its results are written, or once it failed.
    """
    from torch.cuda import OutOfMemoryError

    from hyperstyle.align.prepare import prepare

    model = inverter.model
    on_gpu = model.device.type == "cuda"
    batch = args.batch or (_DEFAULT_BATCH_SIZE if on_gpu else 1)

    def read(job: Job) -> tuple[list[Prepared], dict[str, Any]]:
        points = landmarks_of(job.image, args.landmarks)
        align, aligner = ALIGN[args.align], inverter.aligner
        faces = prepare(job.image, model.domain, aligner=aligner, align=align, face=args.face, landmarks=points)
        origin = work.request.origin(job.image)
        return [replace(face, crop=face.crop.pin_memory()) for face in faces] if on_gpu else faces, origin

    def failed(job: Job, error: HyperStyleError) -> Failure:
        work.claims.release(job.record)
        return Failure(str(job.image), str(error))

    with closing(read_ahead(jobs, read, ahead=batch)) as reading:
        while jobs_read := list(islice(reading, batch)):
            ready = []
            for job, future in jobs_read:
                try:
                    ready.append((job, *future.result()))
                except HyperStyleError as error:
                    yield failed(job, error)
            groups = [ready] if ready else []
            while groups:
                group = groups.pop()
                try:
                    yield from _inverted(group, work, inverter, args, bar)
                except (HyperStyleError, OutOfMemoryError) as error:
                    if len(group) > 1:  # then each alone, so that only the images at fault fail
                        groups = [[item] for item in reversed(group)]
                    elif isinstance(error, HyperStyleError):
                        yield failed(group[0][0], error)
                    else:
                        raise
            bar.update(len(jobs_read))


def _inverted(
    group: Sequence[tuple[Job, list[Prepared], dict[str, Any]]],
    work: Resumption,
    inverter: HyperStyleInverter,
    args: argparse.Namespace,
    bar: tqdm[NoReturn],
) -> list[Failure]:
    """Inverts images together, and writes the results of each; gives those whose results cannot be written."""
    from hyperstyle.methods import registry

    names = group[0][0].image.name + (f" and {len(group) - 1} more" if len(group) > 1 else "")
    bar.set_postfix_str(names)
    inversions = inverter.invert(
        [face for _, faces, _ in group for face in faces],
        method=args.method,
        steps=args.steps,
        seed=args.seed,
        batch_size=max(len(group), _DEFAULT_BATCH_SIZE),
        callback=None if args.quiet else lambda step: bar.set_postfix_str(f"{names} {registry.describe_step(step)}"),
    )
    results, starts, end = inversions.images, inversions.initial.images, 0
    failures = []
    for job, faces, origin in group:
        faces_of_job = slice(end, end := end + len(faces))
        inversion = inversions[faces_of_job]
        try:
            _write(inversion, results[faces_of_job], starts[faces_of_job], job, origin)
        except HyperStyleError as error:
            failures.append(Failure(str(job.image), str(error)))
        else:
            if not args.quiet:
                bar.write(f"{job.image} -> {job.stem}.png  {_figures(inversion)}".rstrip(), file=sys.stdout)
        finally:
            work.claims.release(job.record)
    return failures


def _write(
    inversion: Inversion, results: Sequence[Image], starts: Sequence[Image], job: Job, origin: Mapping[str, Any]
) -> None:
    """Writes the three files of an inversion whose images are `results`, and `starts` from the codes alone.

    The record is written last, and an outdated one removed first, so that after an interruption no record stands next
    to images of another inversion.
    """
    from hyperstyle.images import image_grid, save_image, to_images

    # Not with_suffix: a dot within the name would be taken for one.
    image_path, grid_path = (job.stem.with_name(job.stem.name + ending) for ending in _ENDINGS[:2])
    titles = ("W encoder", "HyperStyle") if inversion.method == "hyperstyle" else ("codes alone", inversion.method)
    columns = dict(zip(titles, (starts, results), strict=True))
    if inversion.crop is not None:
        columns = {"input": to_images(inversion.crop), **columns}
    if job.outdated is not None:
        _remove(job.record)
    save_image(results[0] if len(results) == 1 else image_grid([results]), image_path)
    save_image(image_grid(list(zip(*columns.values(), strict=True)), labels=list(columns)), grid_path)
    inversion.save(job.record, origin=origin)


def _remove(record: Path) -> None:
    try:
        record.unlink(missing_ok=True)
    except OSError as error:
        raise ConfigError(f"Cannot replace {str(record)!r}: {error.strerror}. Choose another --out.") from error


def _figures(inversion: Inversion) -> str:
    return "  ".join(f"{name} {sum(values) / len(values):.4f}" for name, values in inversion.stored_metrics.items())
