"""What turns images into the features that distances are measured on.

labels     the classifier of this data's labels: knows what matters in these images
patches    fixed random filters: no labels, no weights, no training (why: `patches`)
inception  Inception-v3's pool, by torch-fidelity: the one that makes a Frechet distance an FID
dinov2     DINOv2 ViT-B/14, by torch-fidelity
coordinates  of points of the plane, which have no others

Numbers on different features are different quantities and never stand in one column.

torch-fidelity, for users who have it and can reach its weights, keeps the resizing and the weights
of the original TensorFlow Inception, which is what makes its Frechet distance the published FID
(arXiv:1706.08500; arXiv:2104.11222 on how far others are off).
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterable
from functools import cached_property
from typing import Self

import torch
from torch import Tensor, nn

from triptych.console import Console
from triptych.data.dataset import ImageData
from triptych.errors import ANYTHING, InputError, first_line
from triptych.evaluation import classifier
from triptych.evaluation.classifier import Classifier, Reading
from triptych.evaluation.legibility import legibility_of, not_told
from triptych.hardware import Machine, without_tf32
from triptych.images import to_float
from triptych.nn.patch_features import Patches
from triptych.records import LegibilityRecord, Note
from triptych.words import english

LEADING = 128  # principal components of the patches: as many as the classifier has features
CHUNK = 128  # images at once in a pretrained network, which makes them large
# Our name -> torch-fidelity's, and the layer.
NETWORKS = {"inception": ("inception-v3-compat", "2048"), "dinov2": ("dinov2-vit-b-14", "dinov2")}
NAMES = ("labels", "patches", *NETWORKS)  # for images
COORDINATES = "coordinates"  # for points
# torchvision is built for one torch: that of the other index beside a CPU torch cannot be imported.
INSTALL = (
    "pip install 'triptych[fid]' (for a torch without CUDA first: pip install torch torchvision "
    "--index-url https://download.pytorch.org/whl/cpu)"
)
OTHERWISE = "use --features patches"
INSTEAD = "or use --features patches, which needs no weights"


def check(name: str) -> None:
    """InputError unless torch-fidelity is there and works, before anything is made."""
    try:
        import torch_fidelity.utils  # noqa: F401
    # It needs torchvision, which fails in its own ways beside a torch of another build.
    except ANYTHING as error:
        raise InputError(
            f"features '{name}' need torch-fidelity ({first_line(error)})", f"{INSTALL}, {INSTEAD}"
        ) from error


def load(name: str) -> nn.Module:
    """uint8 RGB [N,3,H,W] -> a tuple with the features [N,F]; InputError without its weights."""
    check(name)
    from torch_fidelity.utils import create_feature_extractor

    network, layer = NETWORKS[name]
    try:
        extractor: nn.Module = create_feature_extractor(network, [layer], cuda=False, verbose=False)
    except ANYTHING as error:
        raise InputError(
            f"the weights of '{name}' cannot be had ({first_line(error)})",
            f"connect once, {INSTEAD}",
        ) from error
    return extractor.eval()


class Extractor(ABC):
    """uint8 images [N,C,H,W] -> features [N,F], float32."""

    name: str

    @abstractmethod
    def parts(self) -> Iterable[Tensor]:
        """All tensors that the features depend on."""

    @cached_property
    def key(self) -> str:
        """The name and a digest of `parts`: extractors with equal keys give equal features."""
        return f"{self.name}-{digest(self.parts())}"

    @abstractmethod
    def __call__(self, pixels: Tensor, machine: Machine) -> Tensor:
        """Features [N,F] of uint8 images [N,C,H,W], on the CPU."""


class Labels(Extractor):
    """The data's own classifier; it also says how sure it is of each class.

    legibility: how well it names the labels of held-out images, or others like it do
    """

    name = "labels"

    def __init__(self, network: Classifier, legibility: LegibilityRecord) -> None:
        self.network, self.legibility = network, legibility

    def parts(self) -> Iterable[Tensor]:
        """Its weights."""
        return self.network.state_dict().values()

    def read(self, pixels: Tensor, machine: Machine) -> Reading:
        """Features [N,F] and class probabilities [N,K] of uint8 images [N,C,H,W]."""
        return classifier.read(self.network, pixels, machine)

    def __call__(self, pixels: Tensor, machine: Machine) -> Tensor:
        """Activations [N,F] of the last layer but one."""
        return self.read(pixels, machine).features


class LeadingPatches(Extractor):
    """The leading principal components of what `Patches` sees, found on training images."""

    name = "patches"

    def __init__(self, training: Tensor) -> None:
        # Imported late: whoever has labels alone needs it not. It finds the leading ones only,
        # in a tenth of the time that all of them take.
        from scipy import linalg

        self.patches, seen = Patches.with_features(training)
        seen = seen.double()
        covariance = (seen.T @ seen / len(seen)).cpu().numpy()
        size = len(covariance)
        _, leading = linalg.eigh(covariance, subset_by_index=[max(0, size - LEADING), size - 1])
        self.directions = torch.from_numpy(leading).float()  # [F,d]

    @classmethod
    def restored(cls, patches: Patches, directions: Tensor) -> Self:
        """Those of training images that are not at hand."""
        extractor = cls.__new__(cls)
        extractor.patches, extractor.directions = patches, directions
        return extractor

    def parts(self) -> Iterable[Tensor]:
        """Scale and directions; the filters are always the same."""
        return self.patches.mean, self.patches.std, self.directions

    def __call__(self, pixels: Tensor, machine: Machine) -> Tensor:
        """Coordinates along the directions, [N,d]."""
        parts = torch.split(pixels, CHUNK)
        return torch.cat([self.patches(part) @ self.directions for part in parts])


class Coordinates(Extractor):
    """Points of the plane as they are, on [-1, 1], where distances are those that are seen."""

    name = COORDINATES

    def parts(self) -> Iterable[Tensor]:
        """None."""
        return ()

    def __call__(self, pixels: Tensor, machine: Machine) -> Tensor:
        """Of points uint8 [N,2,1,1]."""
        return to_float(pixels).flatten(1)


class Pretrained(Extractor):
    """A network trained elsewhere, which takes uint8 RGB images of any size."""

    def __init__(self, name: str, network: nn.Module) -> None:
        self.name, self.network = name, network

    def parts(self) -> Iterable[Tensor]:
        """Its weights."""
        return self.network.state_dict().values()

    def __call__(self, pixels: Tensor, machine: Machine) -> Tensor:
        """Of grey images the same value in all three channels."""
        network, features = self.network.to(machine.device), []
        # As on a processor: features of both meet, and the cache knows no device.
        with torch.inference_mode(), without_tf32():
            for part in torch.split(pixels, CHUNK):
                colour = part.expand(-1, 3, -1, -1).to(machine.device)
                features.append(network(colour)[0].float().cpu())
        return torch.cat(features)


def digest(tensors: Iterable[Tensor]) -> str:
    """Of their bytes."""
    total = hashlib.blake2b(digest_size=16)
    for tensor in tensors:
        total.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return total.hexdigest()


def check_name(asked: str | None, data: ImageData) -> None:
    """InputError on features that there are not, whatever the classifier will be worth."""
    if data.shape.is_point:
        if asked not in (None, COORDINATES):
            raise InputError(f"points have no features '{asked}'", "leave out --features")
        return
    if asked is not None and asked not in NAMES:
        raise InputError(f"no features '{asked}'", f"choose from {', '.join(NAMES)}")
    if asked == "labels" and (why := why_no_classifier(data)):
        raise InputError(english(why), OTHERWISE)
    if asked in NETWORKS:
        check(asked)


def pick_name(asked: str | None, data: ImageData, labels: Labels | None) -> str:
    """The features asked for, else `labels` where these can be told, else `patches`.

    Points are measured on their coordinates.

    labels: the data's classifier, where it has one
    InputError where those asked for need labels that cannot be told.
    """
    if data.shape.is_point:
        return COORDINATES
    why = None if labels is None else not_told(labels.legibility)
    if asked == "labels" and why:
        raise InputError(english(why), OTHERWISE)
    return asked or ("patches" if labels is None or why else "labels")


def second_name(first: str, labels: Labels | None) -> str | None:
    """The other features that distances are found on, beside the first; None where none are left.

    labels: the data's classifier, where it has one
    """
    if first == COORDINATES:
        return None
    names = ["patches"]
    if labels is not None and not not_told(labels.legibility):
        names.insert(0, "labels")
    return next((name for name in names if name != first), None)


def why_no_classifier(data: ImageData) -> Note | None:
    """Why no classifier can be trained on the data; None where one can."""
    if data.classes is None:
        return Note("no_classifier")
    return Note("one_class_only") if len(data.classes) < 2 else None


def extractor_for(
    name: str, data: ImageData, training: Tensor, labels: Labels | None, machine: Machine
) -> Extractor:
    """The extractor of a name that `pick_name` gave.

    training: images of the training part, which patches take their scale from
    labels:   the data's classifier, where it has one
    """
    if name == "labels":
        assert labels is not None
        return labels
    if name == "patches":
        return LeadingPatches(training)
    if name == COORDINATES:
        return Coordinates()
    return Pretrained(name, load(name))


def labels_of_data(data: ImageData, machine: Machine, console: Console) -> Labels | None:
    """The data's classifier, from the cache or trained now; None where there can be none."""
    if why_no_classifier(data):
        return None
    network = classifier.classifier_for(data, machine, console)
    return Labels(network, legibility_of(data, network, machine, console))
