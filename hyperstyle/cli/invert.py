"""`hyperstyle invert`: images in; reconstruction, side-by-side sheet and inversion file out, for each."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from hyperstyle.cli.arguments import ALIGN, load_inverter, writable_folder
from hyperstyle.cli.flags import command
from hyperstyle.cli.inputs import Failure, Inputs
from hyperstyle.cli.resuming import DEFAULT_BATCH_SIZE, ImageJob, InvertArguments, Resumption
from hyperstyle.errors import ConfigError, HyperStyleError
from hyperstyle.io.claims import Claims
from hyperstyle.runtime.batches import together_or_alone
from hyperstyle.runtime.read_ahead import read_ahead

if TYPE_CHECKING:
    from PIL.Image import Image
    from tqdm import tqdm

    from hyperstyle.align.prepare import Prepared
    from hyperstyle.inversion.inversion import Inversion
    from hyperstyle.inverter import HyperStyleInverter

_ENDINGS = (".png", "_sheet.png", ".safetensors")


def run(args: InvertArguments) -> int:
    """Inverts every image; 1 if any of them failed."""
    if args.batch is not None and args.batch < 1:
        raise ConfigError(f"--batch {args.batch}: expected 1 or more images.")
    images = Inputs.find(args.inputs, args.out, _ENDINGS, overwrite=True)  # but see `Resumption`
    args.check_face(len(images.files))
    if not images.files:
        return images.report()
    writable_folder(args.out)
    with Claims() as claims:
        work = Resumption(args, claims)
        jobs = work.unfinished(map(ImageJob, images.files, (args.out / name for name in images.names)))
        if jobs:
            from tqdm import tqdm

            from hyperstyle.methods import registry

            inverter = load_inverter(args)
            # Once, not for every image.
            registry.resolve_method(inverter.model, args.method, steps=args.steps, seed=args.seed)
            with tqdm(total=len(jobs), unit="image", disable=args.quiet or None) as bar:
                loop = _InvertLoop(args, inverter, work, bar, images.failures)
                loop.invert(work.claimed(jobs, on_skip=bar.update))
    images.failures += work.refused
    work.print_skipped(len(images.files))
    return images.report()


add_parser = command("invert", InvertArguments, run, help="invert images: files, folders or globs", files=True)


class _ReadImage(NamedTuple):
    """An image that has been read, its faces, and what is stored about it with the inversion."""

    job: ImageJob
    faces: list[Prepared]
    origin: Mapping[str, Any]


@dataclass(frozen=True)
class _InvertLoop:
    """The loop of `hyperstyle invert`: reads images in advance, inverts a few together, and writes each."""

    args: InvertArguments
    inverter: HyperStyleInverter
    work: Resumption
    bar: tqdm[NoReturn]
    failures: list[Failure]

    def invert(self, jobs: Iterable[ImageJob]) -> None:
        """Inverts and writes the images, with a few in memory at a time, and notes those that failed.

        One thread reads and aligns images while the networks work on those before them. The claim on an image is
        released once its results are written, or once it failed.
        """
        batch = self.args.batch or (DEFAULT_BATCH_SIZE if self._on_gpu else 1)
        with closing(read_ahead(jobs, self._prepare, ahead=batch)) as reading:
            while jobs_read := list(islice(reading, batch)):
                ready = []
                for job, future in jobs_read:
                    try:
                        ready.append(future.result())
                    except HyperStyleError as error:
                        self._fail(job, error)
                together_or_alone(ready, self._invert_together, lambda image, error: self._fail(image.job, error))
                self.bar.update(len(jobs_read))

    @property
    def _on_gpu(self) -> bool:
        return self.inverter.model.device.type == "cuda"

    def _prepare(self, job: ImageJob) -> _ReadImage:
        """Reads and aligns an image; on the thread that reads ahead."""
        from hyperstyle.align.prepare import prepare

        faces = prepare(
            job.image,
            self.inverter.model.domain,
            aligner=self.inverter.aligner,
            align=ALIGN[self.args.align],
            face=self.args.face,
            landmarks=self.args.landmarks_of(job.image),
        )
        if self._on_gpu:
            faces = [face.pinned() for face in faces]
        return _ReadImage(job, faces, self.work.origin(job.image))

    def _fail(self, job: ImageJob, error: HyperStyleError) -> None:
        self.work.claims.release(job.record)
        self.failures.append(Failure(str(job.image), str(error)))

    def _invert_together(self, group: Sequence[_ReadImage]) -> None:
        """Inverts images together, and writes the results of each."""
        from hyperstyle.methods import registry

        args, bar = self.args, self.bar
        names = group[0].job.image.name + (f" and {len(group) - 1} more" if len(group) > 1 else "")
        bar.set_postfix_str(names)

        def show(step: Any) -> None:
            bar.set_postfix_str(f"{names} {registry.describe_step(step)}")

        inversions = self.inverter.invert(
            [face for image in group for face in image.faces],
            method=args.method,
            steps=args.steps,
            seed=args.seed,
            batch_size=max(len(group), DEFAULT_BATCH_SIZE),
            callback=None if args.quiet else show,
        )
        results, starts, end = inversions.images, inversions.initial.images, 0
        for job, faces, origin in group:
            faces_of_job = slice(end, end := end + len(faces))
            inversion = inversions[faces_of_job]
            try:
                _write(inversion, results[faces_of_job], starts[faces_of_job], job, origin)
            except HyperStyleError as error:
                self._fail(job, error)
                continue
            self.work.claims.release(job.record)
            if not args.quiet:
                metrics = inversion.stored_metrics.items()
                figures = "  ".join(f"{name} {sum(values) / len(values):.4f}" for name, values in metrics)
                bar.write(f"{job.image} -> {job.stem}.png  {figures}".rstrip(), file=sys.stdout)


def _write(
    inversion: Inversion, results: Sequence[Image], starts: Sequence[Image], job: ImageJob, origin: Mapping[str, Any]
) -> None:
    """Writes the three files of an inversion whose images are `results`, and `starts` from the codes alone.

    The record is written last, and an outdated one removed first, so that after an interruption no record stands next
    to images of another inversion. The grid is written first: an image without one is not of an interrupted run.
    """
    from hyperstyle.images import image_grid, save_image, to_images

    titles = ("W encoder", "HyperStyle") if inversion.method == "hyperstyle" else ("codes alone", inversion.method)
    columns = dict(zip(titles, (starts, results), strict=True))
    if inversion.crop is not None:
        columns = {"input": to_images(inversion.crop), **columns}
    if job.outdated is not None:
        try:
            job.record.unlink(missing_ok=True)
        except OSError as error:
            raise ConfigError(f"Cannot replace {str(job.record)!r}: {error.strerror}. Choose another --out.") from error
    save_image(
        image_grid(list(zip(*columns.values(), strict=True)), labels=list(columns)),
        job.record.with_name(f"{job.record.stem}_sheet.png"),
    )
    save_image(results[0] if len(results) == 1 else image_grid([results]), job.record.with_suffix(".png"))
    inversion.save(job.record, origin=origin)
