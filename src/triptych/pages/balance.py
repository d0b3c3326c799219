"""Question 4 in prose: advantages and disadvantages of each family, and what follows of the whole.

Every sentence rests on a finding of the claims' tests; what these leave open, or nobody measured,
is named as such. Nothing is said of a family that its numbers here do not carry.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from triptych.comparison.significance import RECOGNISED_MARGIN
from triptych.families.registry import FAMILIES
from triptych.pages.claims import (
    Evidence,
    Finding,
    able,
    best_samples,
    controlled,
    costly,
    easy,
    not_blurry,
    recognised,
    robust,
)
from triptych.pages.language import Language, Name, Quantity, Sentence, Value
from triptych.pages.load import Comparison, times_trained, trained_here

# The numbers of a finding as they stand inside a sentence: the claims' sentences, without a name.
CLAUSES = {
    "claim.distance": "clause.distance",
    "claim.sharpness": "clause.sharpness",
    "claim.recognisable": "clause.recognisable",
    "claim.psnr": "clause.psnr",
    "claim.bits": "clause.bits",
    "claim.undefined": "clause.undefined",
    "claim.spread": "clause.spread",
    "claim.warned": "clause.warned",
    "claim.sample_seconds_per_image": "clause.sample_seconds_per_image",
    "claim.train_images_per_second": "clause.train_images_per_second",
}
# What is weighed, in this order: supported is an advantage, refuted a disadvantage.
ASPECTS: Mapping[str, Callable[[Evidence, str], Finding]] = {
    "best": best_samples,
    "clear": not_blurry,
    "recognised": recognised,
    "reconstruction": able("reconstruction_psnr"),
    "likelihood": able("bits_per_dim"),
    "control": controlled,
    "stable": robust,
    "easy": easy,
    "sampling": costly("sample_seconds_per_image", more=False),
    "training": costly("train_images_per_second", more=True),
}
CONCLUDED = ("best", "clear", "likelihood", "sampling", "training", "stable", "control")


@dataclass(frozen=True, kw_only=True)
class Balance:
    """What speaks for a family and against it, and what is open, in sentences."""

    family: str
    name: str
    advantages: tuple[str, ...]
    disadvantages: tuple[str, ...]
    open: tuple[str, ...]


Findings = Mapping[str, Mapping[str, Finding]]  # by family, then by aspect


def find_all(comparison: Comparison) -> Findings:
    """Every aspect of every family that has a model here."""
    evidence = Evidence(comparison.runs)
    families = [each for each in evidence.families if each in FAMILIES]
    return {
        family: {aspect: judge(evidence, family) for aspect, judge in ASPECTS.items()}
        for family in families
    }


def balance_all(comparison: Comparison, language: Language) -> list[Balance]:
    """A balance for each family."""
    return [
        balance(family, findings, language) for family, findings in find_all(comparison).items()
    ]


def balance(family: str, findings: Mapping[str, Finding], language: Language) -> Balance:
    """The aspects of one family, by what was found of them."""

    def sentences(verdict: str) -> tuple[str, ...]:
        return tuple(
            language.tell(
                Sentence(f"merit.{aspect}.{verdict}{finding.form}", values_of(family, finding))
            )
            for aspect, finding in findings.items()
            if finding.verdict == verdict
        )

    matters: dict[str, list[Sentence]] = {"undecided": [], "unmeasured": []}
    for aspect, finding in findings.items():
        if (trainings := too_few_trainings(finding)) is not None:
            matters["undecided"].append(Sentence(f"matter.{aspect}.few", {"n": trainings}))
        elif finding.verdict in matters:
            matters[finding.verdict].append(Sentence(f"matter.{aspect}"))
    return Balance(
        family=family,
        name=language.tell(Sentence("name", {"who": Name(family)})),
        advantages=sentences("supported"),
        disadvantages=sentences("refuted"),
        open=tuple(
            language.tell(Sentence(f"merit.{verdict}", {"matters": tuple(listed)}))
            for verdict, listed in matters.items()
            if listed
        ),
    )


def values_of(family: str, finding: Finding) -> dict[str, Value]:
    """The family's own numbers in a finding, as {numbers}: nothing where it rests on none.

    Beside them stands the margin within which samples are recognised as often as real images.
    """
    own = tuple(
        Sentence(CLAUSES[s.key], s.values)
        for s in finding.sentences
        if s.key in CLAUSES and getattr(s.values.get("who"), "family", None) == family
    )
    return {
        "numbers": Sentence("merit.numbers", {"clauses": own}) if own else "",
        "margin": Quantity(RECOGNISED_MARGIN, "points"),
    }


def too_few_trainings(finding: Finding) -> Value | None:
    """How many trainings of each model would decide, where that is what is missing."""
    few = [s.values["n"] for s in finding.sentences if s.key == "claim.trainings"]
    return few[0] if few else None


def conclude(comparison: Comparison, language: Language) -> list[str]:
    """The whole: who has each advantage here, what nobody showed, and of what this speaks."""
    findings = find_all(comparison)
    if not findings:
        return []
    sentences = [conclusion(aspect, findings) for aspect in CONCLUDED]
    contract, runs = comparison.contract, trained_here(comparison.runs)
    budget = contract.budget.asked if contract.budget is not None else ""
    key = times_trained(runs)
    scope = "budget" if budget else "data"
    sentences.append(
        Sentence(f"concluded.{key}.{scope}", {"data": contract.data.name, "budget": budget})
    )
    return [language.tell(sentence) for sentence in sentences]


def conclusion(aspect: str, findings: Findings) -> Sentence:
    """Of one aspect: the families that have it, else that none has, else that it is open."""
    having = [f for f, each in findings.items() if each[aspect].verdict == "supported"]
    if having:
        form = findings[having[0]][aspect].form
        return Sentence(f"concluded.{aspect}.yes{form}", {"who": tuple(map(Name, having))})
    if any(each[aspect].verdict != "refuted" for each in findings.values()):
        return Sentence(f"concluded.{aspect}.open")
    forms = {each[aspect].form for each in findings.values()}
    return Sentence(f"concluded.{aspect}.no{forms.pop() if len(forms) == 1 else '.both'}")
