"""Whether the data's labels can be told from its images: the classifier is itself measured.

Where labels are wrong, or not about what is seen, a classifier learns its training images by heart;
its features and what it reads in other images then mean nothing. Of held-out images it names a
share a, always naming the most frequent label a share c. The labels can be told where

    the lower end of Wilson's 95 % interval of a is above c, and
    (a - c) / (1 - c) is 0.2 or more: a fifth of what chance gets wrong is got right.

This is a choice, so the held-out images are the validation part, never test images. A small data
set has few of them, which decide little. There, unless they suffice, two more classifiers are
trained, on one half of the training images each, and what they name in the other half counts too.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from triptych import files
from triptych.console import Console
from triptych.data.dataset import ImageData, Part
from triptych.evaluation import classifier
from triptych.evaluation.classifier import Classifier
from triptych.hardware import Machine
from triptych.metrics.intervals import wilson
from triptych.records import JsonObject, LegibilityRecord, Note
from triptych.seeding import generator
from triptych.words import english

LEAST_SKILL = 0.2  # the share of what chance gets wrong
ENOUGH = 200  # held-out images, of which an interval is narrow beside that skill
MOST = 2000
IMAGES_SEEN = 10_000  # in training on a half, which is small


def judge(named: Tensor, labels: Tensor) -> LegibilityRecord:
    """How well labels are told, from what a classifier names and what they are: int64 [N] each."""
    right = wilson(int((named == labels).sum()), len(labels))
    chance = int(labels.bincount().max()) / len(labels)
    skilled = right.value - chance >= LEAST_SKILL * (1 - chance)
    return LegibilityRecord(
        accuracy=right.value,
        low=right.low,
        high=right.high,
        chance=chance,
        n=len(labels),
        usable=right.low > chance and skilled,
    )


def legibility_of(
    data: ImageData, network: Classifier, machine: Machine, console: Console
) -> LegibilityRecord:
    """How well the labels can be told: from the cache, or measured now; in all processes the same.

    network: the data's classifier
    """

    def find() -> JsonObject:
        record = known_legibility(data)
        if record is None:
            record = measure(data, network, machine, console)
            keep(record, data)
        return record.to_json()

    return LegibilityRecord(**machine.group.broadcast(find))


def measure(
    data: ImageData, network: Classifier, machine: Machine, console: Console
) -> LegibilityRecord:
    """By validation images; where they are few and do not suffice, by halves of training too."""
    held_out = data.validation.choose(MOST, "legibility")
    answers = [named(network, held_out, machine)] if len(held_out) else []
    if answers:
        record = judge(*answers[0])
        if record.usable or len(held_out) >= ENOUGH:
            return record
    order = torch.randperm(len(data.train), generator=generator(0, "halves of training images"))
    first, second = torch.tensor_split(order, 2)
    for learned, other in ((first, second), (second, first)):
        part = replace(data, train=rows_of(data.train, learned))
        student = classifier.fresh(data).to(machine.device)
        classifier.fit(student, part, machine, console, least=IMAGES_SEEN)
        answers.append(named(student.eval(), rows_of(data.train, other), machine))
    return judge(*(torch.cat(each) for each in zip(*answers, strict=True)))


def rows_of(part: Part, rows: Tensor) -> Part:
    """Those images with their labels."""
    assert part.labels is not None
    return Part(part.images[rows], part.labels[rows])


def named(network: Classifier, part: Part, machine: Machine) -> tuple[Tensor, Tensor]:
    """The most plausible label of each image, and its own: int64 [N] each."""
    assert part.labels is not None
    return classifier.read(network, part.images, machine).probabilities.argmax(1), part.labels


def known_legibility(data: ImageData) -> LegibilityRecord | None:
    """What was measured before, if it was; a damaged file is not read."""
    path = classifier.cache_file(data, ".json")
    try:
        return LegibilityRecord.read(files.parse_json(files.read_bytes(path, files.MOST_JSON)))
    except (OSError, ValueError):
        return None


def keep(record: LegibilityRecord, data: ImageData) -> None:
    """Write it to the cache; where that is impossible it is measured anew the next time."""
    path = classifier.cache_file(data, ".json")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write_json(path, record.to_json())
    except OSError:
        files.remove(path)


def not_told(record: LegibilityRecord | None) -> Note | None:
    """Why what needs labels is not defined; None where they can be told, or it is not known."""
    if record is None or record.usable:
        return None
    return Note("labels_not_told", share_named(record))


def share_named(record: LegibilityRecord) -> dict[str, str | int | float]:
    """The numbers of a note on labels that cannot be told, and the accuracy that they need."""
    least = record.chance + LEAST_SKILL * (1 - record.chance)
    return {"accuracy": record.accuracy, "n": record.n, "chance": record.chance, "least": least}


def warn_told_anyway(record: LegibilityRecord | None, console: Console) -> None:
    """Say, before models are trained with labels, that these cannot be told."""
    if record is not None and not record.usable:
        note = Note("trained_with_labels_not_told", share_named(record))
        console.say(f"note: {english(note)}")
