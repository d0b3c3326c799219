"""The peers' side of `peers.py`: each as its users run it by default."""

from __future__ import annotations

import contextlib
import io
import logging
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset, TensorDataset

import peers_networks as shared
from peers_networks import BATCH, LATENT, NETWORK_CALLS, SIDE, STEPS_OF_DDPM, Worker
from triptych.config import ImageShape
from triptych.families import registry
from triptych.families.registry import ModelName
from triptych.nn.blocks import DoublingConvolution, GroupNorm, LinearAttention, SelfAttention
from triptych.nn.dcgan import FirstPicture, LastPicture


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Inside, bars and words are written as ever, but not shown."""
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
        yield


def diffusers_training() -> Worker:
    """The loop of diffusers' example for unconditional images, with its optimizer and EMA."""
    from diffusers import DDPMScheduler
    from diffusers.optimization import get_scheduler
    from diffusers.training_utils import EMAModel

    network: Any = shared.unet2d()
    average = EMAModel(network.parameters(), use_ema_warmup=True, inv_gamma=1.0, power=0.75)
    scheduler = DDPMScheduler(num_train_timesteps=STEPS_OF_DDPM)
    optimizer = torch.optim.AdamW(
        network.parameters(), 1e-4, betas=(0.95, 0.999), weight_decay=1e-6
    )
    rate = get_scheduler("cosine", optimizer, num_warmup_steps=500, num_training_steps=100_000)
    images = TensorDataset(shared.noise_images().float() / 127.5 - 1)  # no decoding: in its favour
    batches = endless(DataLoader(images, BATCH, shuffle=True))

    def turn(steps: int) -> None:
        for _ in range(steps):
            (clean,) = next(batches)
            noise = torch.randn(clean.shape)
            t = torch.randint(0, STEPS_OF_DDPM, (len(clean),)).long()
            noisy = scheduler.add_noise(clean, noise, t)
            loss = F.mse_loss(network(noisy, t).sample, noise)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            rate.step()
            optimizer.zero_grad()
            average.step(network.parameters())
            loss.detach().item()  # as its progress bar does

    ran = "UNet2DModel, DDPMScheduler, AdamW, EMAModel, the loop of its unconditional example"
    return Worker(turn, network, ran, shared.one_image())


def denoising_training() -> Worker:
    """denoising-diffusion-pytorch's own Trainer on a folder of PNG files."""
    from denoising_diffusion_pytorch import GaussianDiffusion, Trainer

    network = shared.unet_of_denoising()
    folder = tempfile.TemporaryDirectory()
    for number, image in enumerate(shared.noise_images()):
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(f"{folder.name}/{number}.png")
    trainer = Trainer(
        GaussianDiffusion(network, image_size=SIDE, timesteps=STEPS_OF_DDPM),
        folder.name,
        train_batch_size=BATCH,
        save_and_sample_every=10**9,
        calculate_fid=False,
        results_folder=str(Path(folder.name) / "results"),
    )

    def turn(steps: int, keep: Any = folder) -> None:
        trainer.train_num_steps = trainer.step + steps
        with quiet():
            trainer.train()

    ran = "Unet(32, dim_mults=(1, 2, 4, 8)), GaussianDiffusion, its Trainer on PNG files"
    return Worker(turn, network, ran, shared.one_image())


def pythae_training() -> Worker:
    """pythae's BaseTrainer; a turn is an epoch of as many steps."""
    from pythae.data.datasets import BaseDataset
    from pythae.trainers import BaseTrainer, BaseTrainerConfig

    logging.disable(logging.INFO)
    model = shared.vae_of_pythae()
    images = shared.noise_images().float() / 255  # its decoder ends in a sigmoid
    folder = tempfile.TemporaryDirectory()
    config = BaseTrainerConfig(output_dir=folder.name, per_device_train_batch_size=BATCH)
    trainer = BaseTrainer(model, BaseDataset(images, torch.zeros(len(images))), None, config)
    trainer.prepare_training()

    def turn(steps: int, keep: Any = folder) -> None:
        part = BaseDataset(images[: steps * BATCH], torch.zeros(steps * BATCH))
        trainer.train_loader = trainer.get_train_dataloader(part)
        with quiet():
            trainer.train_step(1)

    return Worker(
        turn, model, "VAE with Encoder_Conv_VAE_CIFAR, Decoder_Conv_AE_CIFAR, BaseTrainer"
    )


class Pictures(Dataset[Tensor]):
    """Images as torchvision's data sets give them: PIL, then ToTensor and Normalize."""

    def __init__(self) -> None:
        self.arrays = shared.noise_images().permute(0, 2, 3, 1).contiguous().numpy()

    def __len__(self) -> int:
        return len(self.arrays)

    def __getitem__(self, index: int) -> Tensor:
        """One image on [-1, 1], [3,32,32]."""
        picture = Image.fromarray(self.arrays[index])
        tensor = torch.from_numpy(np.array(picture)).permute(2, 0, 1).contiguous()  # ToTensor
        return tensor.to(torch.get_default_dtype()).div(255).sub(0.5).div(0.5)  # Normalize


def endless(loader: Any) -> Iterator[Any]:
    """Passes over a loader without end."""
    while True:
        yield from loader


class PlainLinearAttention(LinearAttention):
    """The same function of the same weights, as it is usually written."""

    def forward(self, x: Tensor) -> Tensor:
        """[B,C,H,W] -> [B,C,H,W]."""
        q, k, v = heads_of(self, x)  # each [B,heads,width,H*W]
        context = torch.einsum("bhdn,bhen->bhde", k.softmax(dim=-1), v)
        q = q.softmax(dim=-2) * self.head_width**-0.5
        out = torch.einsum("bhde,bhdn->bhen", context, q)
        return x + self.to_out(out.reshape(len(x), -1, *x.shape[2:]))


class PlainSelfAttention(SelfAttention):
    """The same function of the same weights, as it is usually written."""

    def forward(self, x: Tensor) -> Tensor:
        """[B,C,H,W] -> [B,C,H,W]."""
        q, k, v = (part.transpose(2, 3) for part in heads_of(self, x))
        out = F.scaled_dot_product_attention(q, k, v).transpose(2, 3)
        return x + self.to_out(out.reshape(len(x), -1, *x.shape[2:]))


def heads_of(layer: Any, x: Tensor) -> tuple[Tensor, ...]:
    """Queries, keys and values: each [B,heads,width,H*W]."""
    qkv = layer.to_qkv(layer.norm(x))
    return qkv.view(len(x), 3, layer.heads, layer.head_width, -1).unbind(1)


class PlainFirstPicture(FirstPicture):
    """The transposed convolution that it is."""

    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:
        """z [B,D] -> [B,C,4,4]."""
        return nn.ConvTranspose2d.forward(self, input[:, :, None, None])


class PlainLastPicture(LastPicture):
    """The convolution that it is."""

    def forward(self, input: Tensor) -> Tensor:
        """[B,C,4,4] -> [B]."""
        return nn.Conv2d.forward(self, input).flatten()


class PlainDoublingConvolution(DoublingConvolution):
    """The two steps that it is."""

    def forward(self, input: Tensor) -> Tensor:
        """[B,C,H,W] -> [B,C',2H,2W]."""
        return nn.Conv2d.forward(self, F.interpolate(input, scale_factor=2.0, mode="nearest"))


LAYERS = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear, nn.GroupNorm, nn.BatchNorm2d)
PLAIN: dict[type[nn.Module], type[nn.Module]] = {
    LinearAttention: PlainLinearAttention,
    SelfAttention: PlainSelfAttention,
    GroupNorm: nn.GroupNorm,
    DoublingConvolution: PlainDoublingConvolution,
    FirstPicture: PlainFirstPicture,
    LastPicture: PlainLastPicture,
}


def course_model(family: str) -> Any:
    """Our models for the course with layers as a student writes them, for loops that are not ours.

    Where ours are written otherwise for speed, that is ours; weights and function are the same.
    """
    name, shape = ModelName.parse(f"{family}:course"), ImageShape(channels=3, resolution=SIDE)
    model = registry.build(name, registry.defaults(name, "tiny", shape), shape, seed=0).eval()
    before = outputs(model)
    for module in model.modules():
        kind = type(module)
        module.__class__ = PLAIN.get(kind, kind)
        ours = isinstance(module, LAYERS) and kind.__module__.startswith("triptych")
        assert kind in PLAIN or not ours, f"{kind.__name__} needs a plain form"
    torch.testing.assert_close(outputs(model), before, rtol=1e-3, atol=1e-4)
    return model.to(memory_format=torch.contiguous_format).train()  # PyTorch's own layout


@torch.no_grad()
def outputs(model: Any) -> list[Tensor]:
    """What the networks of a model make of two images, steps or latents."""
    images = shared.noise_images()[:2].float() / 127.5 - 1
    if hasattr(model, "denoiser"):
        return [model.denoiser.network(images, torch.tensor([10, 500]))]
    if hasattr(model, "discriminator"):
        return [model.discriminator(images), model.generator(images.flatten(1)[:, : model.latent])]
    return [*model.encoder(images), model.decoder(images.flatten(1)[:, : model.latent])]


def course_loop(step: Callable[[Tensor], float], network: nn.Module, name: str) -> Worker:
    """A plain loop over a DataLoader, whose loss is read every step."""
    batches = endless(DataLoader(Pictures(), BATCH, shuffle=True))

    def turn(steps: int) -> None:
        for _ in range(steps):
            step(next(batches))

    return Worker(turn, network, f"plain loop, {name}, DataLoader of PIL pictures, Adam, float32")


def course_vae() -> Worker:
    """Encoder, sample, decoder; Gaussian log-likelihood and KL."""
    model = course_model("vae")
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4)

    def step(x: Tensor) -> float:
        optimizer.zero_grad()
        mean, log_variance = model.encoder(x)
        z = mean + torch.exp(0.5 * log_variance) * torch.randn(len(x), LATENT)
        squared = (x - model.decoder(z)) ** 2
        likelihood = (-0.5 * squared - 0.5 * np.log(2 * np.pi)).sum(dim=(1, 2, 3))
        kl = -0.5 * (1 + log_variance - mean**2 - log_variance.exp()).sum(dim=1)
        loss = (kl - likelihood).mean()
        loss.backward()
        optimizer.step()
        return loss.item()

    return course_loop(step, model, "vae:course")


def course_gan() -> Worker:
    """The discriminator on real and detached fake images, then the generator."""
    model = course_model("gan")
    criterion = nn.BCEWithLogitsLoss()
    moves_discriminator = torch.optim.Adam(
        model.discriminator.parameters(), lr=2e-4, betas=(0.5, 0.999)
    )
    moves_generator = torch.optim.Adam(model.generator.parameters(), lr=2e-4, betas=(0.5, 0.999))
    ones, zeros = torch.ones(BATCH), torch.zeros(BATCH)

    def step(x: Tensor) -> float:
        model.discriminator.zero_grad()
        fake = model.generator(torch.randn(len(x), model.latent))
        loss = criterion(model.discriminator(x), ones) + criterion(
            model.discriminator(fake.detach()), zeros
        )
        loss.backward()
        moves_discriminator.step()
        model.generator.zero_grad()
        generator_loss = criterion(model.discriminator(fake), ones)
        generator_loss.backward()
        moves_generator.step()
        return loss.item() + generator_loss.item()

    return course_loop(step, model, "gan:course")


def course_ddpm() -> Worker:
    """Noise at a uniform step, its prediction, Huber loss."""
    network = course_model("diffusion").denoiser.network
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-4)
    kept = torch.cumprod(1 - torch.linspace(1e-4, 0.02, STEPS_OF_DDPM), dim=0)  # alpha-bar

    def step(x: Tensor) -> float:
        optimizer.zero_grad()
        t = torch.randint(0, STEPS_OF_DDPM, (len(x),)).long()
        noise = torch.randn_like(x)
        share = kept[t].view(-1, 1, 1, 1)
        noisy = share.sqrt() * x + (1 - share).sqrt() * noise
        loss = F.smooth_l1_loss(network(noisy, t), noise)
        loss.backward()
        optimizer.step()
        return loss.item()

    return course_loop(step, network, "diffusion:course")


def pipeline(kind: str) -> Worker:
    """One of diffusers' pipelines, to pictures; DPM-Solver++ takes the place of DDPM's steps."""
    import diffusers

    network: Any = shared.unet2d().eval()
    scheduler = diffusers.DDPMScheduler(num_train_timesteps=STEPS_OF_DDPM)
    if kind == "ddim":
        pipe: Any = diffusers.DDIMPipeline(network, scheduler)
    elif kind == "ddpm":
        pipe = diffusers.DDPMPipeline(network, scheduler)
    else:
        solver = diffusers.DPMSolverMultistepScheduler.from_config(scheduler.config)
        pipe = diffusers.DDPMPipeline(network, solver)
    pipe.set_progress_bar_config(disable=True)

    def turn(batches: int) -> None:
        for _ in range(batches):
            pipe(batch_size=BATCH, num_inference_steps=NETWORK_CALLS)

    ran = f"{type(pipe).__name__}, {type(pipe.scheduler).__name__}, {NETWORK_CALLS} network calls"
    return Worker(turn, network, ran, shared.one_image())


CASES: dict[str, Callable[[], Worker]] = {
    "diffusers": diffusers_training,
    "denoising": denoising_training,
    "denoising-same-operations": denoising_training,
    "denoising-same-network": denoising_training,
    "pythae": pythae_training,
    "course-vae": course_vae,
    "course-gan": course_gan,
    "course-ddpm": course_ddpm,
    "sample-ddpm": lambda: pipeline("ddpm"),
    "sample-ddim": lambda: pipeline("ddim"),
    "sample-dpm": lambda: pipeline("dpm"),
}
