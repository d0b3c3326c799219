"""Networks trained elsewhere, for users who have torch-fidelity and can reach their weights.

torch-fidelity keeps the resizing and the weights of the original TensorFlow Inception, which is
what makes its Frechet distance the published FID (arXiv:1706.08500; arXiv:2104.11222 on how far
others are off).
"""

from __future__ import annotations

from torch import nn

from triptych.errors import InputError

# Our name -> torch-fidelity's, and the layer.
NETWORKS = {"inception": ("inception-v3-compat", "2048"), "dinov2": ("dinov2-vit-b-14", "dinov2")}
INSTEAD = "or use --features patches, which needs no weights"


def check(name: str) -> None:
    """InputError unless torch-fidelity is there and works, before anything is made."""
    try:
        import torch_fidelity.utils  # noqa: F401
    # It needs torchvision, which fails in its own ways beside a torch of another build.
    except (ImportError, RuntimeError) as error:
        raise InputError(
            f"features '{name}' need torch-fidelity ({first_line(error)})",
            f"pip install 'triptych[fid]', {INSTEAD}",
        ) from error


def load(name: str) -> nn.Module:
    """uint8 RGB [N,3,H,W] -> a tuple with the features [N,F]; InputError without its weights."""
    check(name)
    from torch_fidelity.utils import create_feature_extractor

    network, layer = NETWORKS[name]
    try:
        found: nn.Module = create_feature_extractor(network, [layer], cuda=False, verbose=False)
    except (OSError, RuntimeError) as error:
        raise InputError(
            f"the weights of '{name}' cannot be had ({first_line(error)})",
            f"connect once, {INSTEAD}",
        ) from error
    return found.eval()


def first_line(error: Exception) -> str:
    """What an error says first."""
    return next(iter(str(error).splitlines()), type(error).__name__)
