"""What turns images into the features that distances are measured on.

labels     the classifier of this data's labels: knows what matters in these images
patches    fixed random filters: no labels, no weights, no training (why: `patches`)
inception  Inception-v3's pool, by torch-fidelity: the one that makes a Frechet distance an FID
dinov2     DINOv2 ViT-B/14, by torch-fidelity

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

import torch
from torch import Tensor, nn

from triptych.console import Console
from triptych.data.dataset import ImageData
from triptych.errors import ANYTHING, InputError, first_line
from triptych.evaluation import classifier
from triptych.evaluation.classifier import Classifier, Reading
from triptych.hardware import Machine
from triptych.nn.patch_features import Patches

LEADING = 128  # principal components of the patches: as many as the classifier has features
CHUNK = 128  # images at once in a pretrained network, which makes them large
# Our name -> torch-fidelity's, and the layer.
NETWORKS = {"inception": ("inception-v3-compat", "2048"), "dinov2": ("dinov2-vit-b-14", "dinov2")}
NAMES = ("labels", "patches", *NETWORKS)
# torchvision is built for one torch: that of the other index beside a CPU torch cannot be imported.
INSTALL = (
    "pip install 'triptych[fid]' (for a torch without CUDA first: pip install torch torchvision "
    "--index-url https://download.pytorch.org/whl/cpu)"
)
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
    """The data's own classifier; it also says how sure it is of each class."""

    name = "labels"

    def __init__(self, network: Classifier) -> None:
        self.network = network

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
        self.patches = Patches(training)
        seen = self.patches(training).double()
        covariance = seen.T @ seen / len(seen)
        self.directions = torch.linalg.eigh(covariance).eigenvectors[:, -LEADING:].float()  # [F,d]

    def parts(self) -> Iterable[Tensor]:
        """Scale and directions; the filters are always the same."""
        return self.patches.mean, self.patches.std, self.directions

    def __call__(self, pixels: Tensor, machine: Machine) -> Tensor:
        """Coordinates along the directions, [N,d]."""
        return self.patches(pixels) @ self.directions


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
        with torch.inference_mode():
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


def pick_name(asked: str | None, data: ImageData) -> str:
    """The extractor asked for, else the one that suits the data; InputError where it cannot be."""
    name = asked or ("patches" if data.classes is None else "labels")
    if name not in NAMES:
        raise InputError(f"no features '{name}'", f"choose from {', '.join(NAMES)}")
    if name == "labels" and data.classes is None:
        raise InputError("the data have no labels to learn features from", "use --features patches")
    if name in NETWORKS:
        check(name)
    return name


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
    return Pretrained(name, load(name))


def labels_of_data(data: ImageData, machine: Machine, console: Console) -> Labels | None:
    """The data's classifier, from the cache or trained now; None where there are no labels."""
    if data.classes is None:
        return None
    return Labels(classifier.classifier_for(data, machine, console))
