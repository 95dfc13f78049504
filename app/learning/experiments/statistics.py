"""The difference of two samples of subjects, with bounds (pure). Means and variances are over subjects, not events.

Bounds for one look: Welch's t for values; for proportions Newcombe's hybrid of two Wilson intervals (Statistics in Medicine
17, 1998, method 10) with the pooled score test.

Bounds for any number of looks: an asymptotic confidence sequence, the normal mixture of Waudby-Smith, Arbour, Sinha, Kennedy
and Ramdas ("Time-uniform central limit theory and asymptotic confidence sequences", Annals of Statistics 52, 2024, theorem
2.2), which is the mSPRT of Johari, Koomen, Pekelis and Walsh ("Always valid inference", Operations Research 70, 2022) with
the variance estimated:

    effect ± s · √( 2 (mρ² + 1) / (mρ²) · ln( √(mρ² + 1) / α ) )

s is the standard error of the difference and m the number of subjects so far. ρ makes it tightest at the number planned.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from statistics import NormalDist

from app.records import Estimate, Sample


def fixed(control: Sample, variant: Sample, alpha: float) -> Estimate:
    """Bounds of variant less control for one look decided on in advance; of proportions where both are such."""
    return newcombe(control, variant, alpha) if control.is_binary and variant.is_binary else welch(control, variant, alpha)


def welch(control: Sample, variant: Sample, alpha: float) -> Estimate:
    """Welch's t with Satterthwaite's degrees of freedom. Each sample has at least two subjects."""
    from scipy import stats  # half a second, and only an analysis needs it

    control, variant = spread(control, variant)
    parts = [sample.variance / sample.subjects for sample in (control, variant)]
    effect, error = variant.mean - control.mean, math.sqrt(sum(parts))
    if error == 0:
        return Estimate(effect, effect, 1.0 if effect == 0 else 0.0, "welch")
    freedom = sum(parts) ** 2 / sum(p**2 / (s.subjects - 1) for p, s in zip(parts, (control, variant), strict=True))
    margin = float(stats.t.ppf(1 - alpha / 2, freedom)) * error
    p_value = 2 * float(stats.t.sf(abs(effect) / error, freedom))
    return Estimate(effect - margin, effect + margin, p_value, "welch")


def newcombe(control: Sample, variant: Sample, alpha: float) -> Estimate:
    """Newcombe's interval of a difference of proportions, and the two-sided pooled score test."""
    effect = variant.mean - control.mean
    low_c, high_c = wilson(control, alpha)
    low_v, high_v = wilson(variant, alpha)
    low = effect - math.hypot(variant.mean - low_v, high_c - control.mean)
    high = effect + math.hypot(high_v - variant.mean, control.mean - low_c)
    return Estimate(low, high, _score_test(control, variant), "newcombe")


def wilson(sample: Sample, alpha: float) -> tuple[float, float]:
    """Wilson's score interval of a proportion."""
    z, n, share = NormalDist().inv_cdf(1 - alpha / 2), sample.subjects, sample.mean
    centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    margin = z * math.sqrt(share * (1 - share) / n + z**2 / (4 * n**2)) / (1 + z**2 / n)
    return max(0.0, centre - margin), min(1.0, centre + margin)


def _score_test(control: Sample, variant: Sample) -> float:
    subjects = control.subjects + variant.subjects
    share = (control.mean * control.subjects + variant.mean * variant.subjects) / subjects
    error = math.sqrt(share * (1 - share) * (1 / control.subjects + 1 / variant.subjects))
    return 1.0 if error == 0 else math.erfc(abs(variant.mean - control.mean) / error / math.sqrt(2))


def anytime(control: Sample, variant: Sample, alpha: float, planned: int) -> Estimate:
    """Bounds of variant less control that hold at every look at once; tightest at `planned` subjects in both together.

    Asymptotic: from a few dozen subjects a sample on. Each sample has at least two.
    """
    control, variant = (smoothed(s) for s in spread(control, variant))
    effect, seen = variant.mean - control.mean, control.subjects + variant.subjects
    error = math.sqrt(control.variance / control.subjects + variant.variance / variant.subjects)
    scale = seen * tuning(alpha, planned)
    margin = error * math.sqrt(2 * (scale + 1) / scale * math.log(math.sqrt(scale + 1) / alpha))
    return Estimate(effect - margin, effect + margin, _mixture_p(effect, error, scale), "confidence sequence")


def tuning(alpha: float, planned: int) -> float:
    """ρ² that makes the sequence tightest at `planned` (Waudby-Smith et al., appendix B.2)."""
    return (-2 * math.log(alpha) + math.log(-2 * math.log(alpha) + 1)) / planned


def _mixture_p(effect: float, error: float, scale: float) -> float:
    """One over the mixture likelihood ratio: at most α at any look with a chance of at most α."""
    if error == 0:
        return 1.0 if effect == 0 else 0.0
    exponent = (effect / error) ** 2 * scale / (2 * (scale + 1))
    return min(1.0, math.exp(0.5 * math.log(scale + 1) - exponent))


def spread(control: Sample, variant: Sample) -> tuple[Sample, Sample]:
    """The samples, those without any variance given the one of both together.

    Subjects that are all alike say nothing of how far the next one may lie; both together do, effect included.
    """
    pooled = _pooled_variance(control, variant)
    first, second = (replace(s, variance=s.variance or pooled) for s in (control, variant))
    return first, second


def _pooled_variance(a: Sample, b: Sample) -> float:
    n = a.subjects + b.subjects
    mean = (a.mean * a.subjects + b.mean * b.subjects) / n
    squares = sum((s.subjects - 1) * s.variance + s.subjects * (s.mean - mean) ** 2 for s in (a, b))
    return squares / (n - 1)


def smoothed(sample: Sample) -> Sample:
    """A proportion's variance with one success and one failure added (Agresti and Caffo 2000); others as they are.

    Rare successes come late: until then the sample's own variance is near 0 and its bounds far too tight.
    """
    if not sample.is_binary:
        return sample
    share = (sample.mean * sample.subjects + 1) / (sample.subjects + 2)
    return replace(sample, variance=share * (1 - share))


def sample_ratio_p(counts: Sequence[int], weights: Sequence[float]) -> float:
    """How well counts agree with their weights, at any number of looks (Lindon and Malek, NeurIPS 2022).

    One over the Bayes factor of any shares (uniform Dirichlet) against the ones that were meant.
    """
    shares = [weight / sum(weights) for weight in weights]
    total, kinds = sum(counts), len(counts)
    any_shares = math.lgamma(kinds) - math.lgamma(kinds + total) + sum(math.lgamma(1 + n) for n in counts)
    meant = sum(n * math.log(share) for n, share in zip(counts, shares, strict=True))
    return min(1.0, math.exp(min(0.0, meant - any_shares)))
