"""Settings, names and budgets: what users write is read exactly or refused in one line."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from triptych import config
from triptych.config import POINT, Budget, ImageShape, OptimizerConfig, Settings, override
from triptych.errors import InputError
from triptych.families import registry
from triptych.families.diffusion.recipes.course import CourseDDPM
from triptych.families.gan.recipes import ConvolutionalSettings
from triptych.families.registry import ModelName, known_models, recipe_names
from triptych.families.vae.recipes.sigma import SigmaVAE

SHAPE = ImageShape(channels=3, resolution=32)


@pytest.mark.parametrize("size", config.SIZES)
@pytest.mark.parametrize("name", known_models())
def test_settings_survive_json(name: str, size: config.Size) -> None:
    settings = registry.defaults(ModelName.parse(name), size, SHAPE)
    text = json.dumps(config.to_json(settings))
    again = config.from_json(type(settings), json.loads(text))
    assert again == settings
    assert type(settings) is registry.recipe(ModelName.parse(name)).settings


@pytest.mark.parametrize("name", [name for name in known_models() if name.endswith(":course")])
def test_course_recipes_are_the_same_at_every_size(name: str) -> None:
    """The course's batch of 64 and no average of the weights."""
    parsed = ModelName.parse(name)
    found = [registry.defaults(parsed, size, SHAPE) for size in config.SIZES]
    assert found[0] == found[1] == found[2]
    assert found[0].batch_size == 64
    assert found[0].ema is None


@pytest.mark.parametrize("name", known_models())
def test_modern_recipes_alone_do_without_batch_statistics(name: str) -> None:
    from torch.nn import BatchNorm2d

    parsed = ModelName.parse(name)
    shape = POINT if registry.recipe(parsed).points else SHAPE
    model = registry.build(parsed, registry.defaults(parsed, "tiny", shape), shape, seed=0)
    found = any(isinstance(module, BatchNorm2d) for module in model.modules())
    assert registry.recipe(parsed).batch_statistics == found
    assert found <= name.endswith(":course")


@pytest.mark.parametrize(
    ("settings", "assignment", "path", "value"),
    [
        (SigmaVAE(), "latent=16", ("latent",), 16),
        (SigmaVAE(), "widths=8,16", ("widths",), (8, 16)),
        (SigmaVAE(), "ema=none", ("ema",), None),
        (SigmaVAE(), " ema = 0.2", ("ema",), 0.2),
        (SigmaVAE(), "optimizer.learning_rate=3e-4", ("optimizer", "learning_rate"), 3e-4),
        (SigmaVAE(), "optimizer.decay=linear", ("optimizer", "decay"), "linear"),
        (SigmaVAE(), "optimizer.clip_norm=None", ("optimizer", "clip_norm"), None),
        (
            ConvolutionalSettings(),
            "discriminator.betas=0.5,0.9",
            ("discriminator", "betas"),
            (0.5, 0.9),
        ),
        (CourseDDPM(), "sampler=ddim", ("sampler",), "ddim"),
    ],
)
def test_an_override_changes_one_value_with_its_type(
    settings: Settings, assignment: str, path: tuple[str, ...], value: Any
) -> None:
    found: Any = override(settings, [assignment])
    *parents, last = path
    inner, expected = found, value
    for parent in parents:
        inner = getattr(inner, parent)
    assert getattr(inner, last) == value
    assert type(getattr(inner, last)) is type(expected)
    if parents:
        expected = dataclasses.replace(getattr(settings, parents[0]), **{last: value})
    assert found == dataclasses.replace(settings, **{path[0]: expected})


@pytest.mark.parametrize("text", ["8,16,32", "8, 16, 32", "[8,16,32]", "(8, 16, 32)"])
def test_several_values_are_separated_by_commas(text: str) -> None:
    assert override(SigmaVAE(), [f"widths={text}"]).widths == (8, 16, 32)


def test_overrides_apply_in_order() -> None:
    assert override(SigmaVAE(), ["latent=1", "batch_size=8", "latent=2"]) == SigmaVAE(
        latent=2, batch_size=8
    )


@pytest.mark.parametrize(
    ("assignment", "said"),
    [
        ("latent", "has no '='"),
        ("latnet=3", "no setting 'latnet'"),
        ("latnet=3", "optimizer.learning_rate"),  # the known ones are listed
        ("optimiser=3", "no setting 'optimiser'"),
        ("optimiser.speed=3", "no setting 'optimiser.speed'"),
        ("speed.of.light=3", "no setting 'speed.of.light'"),
        ("latent.deep=3", "'latent' holds no settings"),
        ("latent=many", "latent takes a whole number"),
        ("latent=1.5", "latent takes a whole number"),
        ("latent=none", "latent takes a whole number"),
        ("optimizer.decay=slow", "constant, linear, cosine"),
        ("optimizer.betas=0.5", "betas takes 2 values"),
        ("widths=8,x", "widths takes a whole number"),
        ("batch_size=0", "batch_size must be at least 1"),
        ("average=0.1", "no setting 'average': it is called ema now"),
        ("ema=0.5", "ema must lie between"),
        ("ema=nan", "ema takes a number, not 'nan'"),
    ],
)
def test_a_wrong_override_is_refused_with_the_mend(assignment: str, said: str) -> None:
    with pytest.raises(InputError) as caught:
        override(SigmaVAE(), [assignment])
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "values", [{"speed": 1}, {"latent": None}, {"betas": 3}, {"learning_rate": "fast"}, {}]
)
def test_settings_that_do_not_fit_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        config.from_json(OptimizerConfig, values)


@pytest.mark.parametrize("assignment", ["sampler=magic", "steps=0"])
def test_a_sampler_that_there_is_not_is_refused_before_training(assignment: str) -> None:
    with pytest.raises(InputError):
        settings = override(CourseDDPM(), [assignment])
        registry.build(ModelName.parse("diffusion:course"), settings, SHAPE, seed=0)


def test_names_are_found_without_torch() -> None:
    """So that `--help` stays fast."""
    program = (
        "import sys\n"
        "from triptych.families.registry import ModelName, known_models\n"
        "print(*known_models())\n"
        "ModelName.parse('vae')\n"
        "assert 'torch' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == known_models()


def test_every_recipe_file_is_a_model_and_every_trained_family_has_the_course_s() -> None:
    folder = Path(registry.__file__).parent
    files = [p for p in folder.glob("*/recipes/*.py") if p.stem != "__init__"]
    assert len(files) == len(known_models())
    for family in registry.FAMILIES:
        wanted = {"course"} if registry.FAMILIES[family].trained else set()
        assert wanted | {registry.FAMILIES[family].default} <= set(recipe_names(family))
        assert ModelName.parse(family) == ModelName(family, registry.FAMILIES[family].default)
    for name in known_models():
        assert str(ModelName.parse(name)) == name
        assert registry.recipe(ModelName.parse(name)).summary


@pytest.mark.parametrize(
    "name", ["flow", "", "vae:", "VAE", "gan:r2d2", "vae:hinge", "vae:course:x"]
)
def test_unknown_names_are_refused_with_the_known_ones(name: str) -> None:
    if name == "vae:":
        assert ModelName.parse(name) == ModelName.parse("vae")
        return
    with pytest.raises(InputError) as caught:
        ModelName.parse(name)
    family = name.partition(":")[0]
    listed = [f"{family}:{r}" for r in recipe_names(family)] if family in registry.FAMILIES else []
    for known in listed or known_models():
        assert known in str(caught.value)


@pytest.mark.parametrize(
    ("text", "amount", "unit"),
    [
        ("90s", 90, "seconds"),
        ("10m", 600, "seconds"),
        ("1.5m", 90, "seconds"),
        ("2h", 7200, "seconds"),
        ("500kimg", 500_000, "images"),
        ("0.5kimg", 500, "images"),
        ("64img", 64, "images"),
        ("30epochs", 30, "epochs"),
        ("1epoch", 1, "epochs"),
        (" 2 H ", 7200, "seconds"),
    ],
)
def test_budgets_are_read_as_written(text: str, amount: float, unit: str) -> None:
    assert Budget.parse(text) == Budget(amount=amount, unit=unit, asked=text.strip())


@pytest.mark.parametrize(
    "text", ["", "10", "m", "-5m", "0s", "0.0h", "10 days", "1e3s", "5m3s", "nans", ".5m"]
)
def test_other_budgets_are_refused(text: str) -> None:
    with pytest.raises(InputError, match="write one like"):
        Budget.parse(text)
