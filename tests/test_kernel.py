"""The lifetime models' likelihood and its slopes agree with integrals of 50 digits, also where parameters are extreme.

`reference` integrates the likelihood of one history,

    L = Γ(r+x)/Γ(r) · α^r · [ S(T)·(α+T)^−(r+x) + ∫_{t_x}^{T} f(y)·(α+y)^−(r+x) dy ],

and its derivatives under the integral with mpmath: Gauss-Legendre panels that are halved until 24 and 48 nodes agree.
It shares no code with the package. It is slow, so `data/kernel.csv` holds its results for `grid()`; a few rows are
computed anew by each test run, and `python tests/test_kernel.py` writes the file again.

The file has for each history the value log L, its slopes by the logarithm of each parameter, and the size of each:
the sum of the absolute values of the terms that add up to it. For the value these are log Γ(r+x)/Γ(r), x·log α and the
logarithm of the bracket times α^(r+x); for the slope by α, (r+x)·E[y/(α+y)] − x, they are just those two; and so on
(`reference`). Doubles of 16 digits cannot tell a difference better than to 1e-16 of its terms. So an error here is
|got − want| / max(|want|, 1e-4·size) and must stay below 1e-9: nine digits of what is wanted or, where the terms
cancel to less than a ten-thousandth of themselves, 1e-13 of the terms. Histories that cannot be (x > 0 at t_x = 0) may
be off by 1e-7 where the risk of stopping is not constant; the Weibull-gamma's slope by c, a sum of logarithms of t/β
near 1, by 1e-8.
All terms of value, r and α vanish with the history's span: a log-likelihood of -1e-8 of a customer who is new must
have nine digits, too.
"""

import itertools
import os
import warnings
from concurrent.futures import ProcessPoolExecutor
from functools import cache, partial
from pathlib import Path

import mpmath
import numpy as np
import pandas as pd
import pytest
from mpmath import mp, mpf
from scipy.special import gammaln

from crm_analysis import lifetime

STORED = Path(__file__).parent / "data" / "kernel.csv"
DIGITS = {"WeibullGammaNBD": 1e-8}
PARAMETERS = {
    "ParetoNBD": ["r", "alpha", "s", "beta"],
    "GammaGompertzNBD": ["r", "alpha", "s", "beta", "b"],
    "WeibullGammaNBD": ["r", "alpha", "s", "beta", "c"],
    "NBD": ["r", "alpha"],
}
MOST = 5  # parameters of a model
HISTORY = ["frequency", "recency", "T"]


# The lifetimes: log S(y) or log f(y), and the terms of its slope by the logarithm of each parameter.


def pareto_survival(y, s, beta):
    log_left = mp.log1p(y / beta)
    return -s * log_left, [[-s * log_left], [s * y / (beta + y)]]


def pareto_density(y, s, beta):
    log_left = mp.log1p(y / beta)
    return mp.log(s / beta) - (s + 1) * log_left, [[1, -s * log_left], [-1, (s + 1) * y / (beta + y)]]


def gompertz_survival(y, s, beta, b):
    aged = mp.expm1(b * y)
    log_left = mp.log1p(aged / beta)
    return -s * log_left, [[-s * log_left], [s * aged / (beta + aged)], [-s * b * y * (aged + 1) / (beta + aged)]]


def gompertz_density(y, s, beta, b):
    aged = mp.expm1(b * y)
    log_left = mp.log1p(aged / beta)
    by_beta = [-1, (s + 1) * aged / (beta + aged)]
    by_b = [1, b * y, -(s + 1) * b * y * (aged + 1) / (beta + aged)]
    return mp.log(s * b / beta) + b * y - (s + 1) * log_left, [[1, -s * log_left], by_beta, by_b]


def burr_survival(y, s, beta, c):
    log_z = c * mp.log(y / beta)
    z = mp.exp(log_z)
    died = z / (1 + z)
    return -s * mp.log1p(z), [[-s * mp.log1p(z)], [s * c * died], [-s * log_z * died]]


def burr_density(y, s, beta, c):
    log_z = c * mp.log(y / beta)
    z = mp.exp(log_z)
    died, log_left = z / (1 + z), mp.log1p(z)
    by_beta, by_c = [-c, (s + 1) * c * died], [1, log_z, -(s + 1) * log_z * died]
    return mp.log(s * c / y) + log_z - (s + 1) * log_left, [[1, -s * log_left], by_beta, by_c]


LIFETIMES = {
    "ParetoNBD": (pareto_survival, pareto_density),
    "GammaGompertzNBD": (gompertz_survival, gompertz_density),
    "WeibullGammaNBD": (burr_survival, burr_density),
    "NBD": (lambda y: (mpf(0), []), None),
}


@cache
def nodes(degree, bits):
    """Return the Gauss-Legendre nodes and weights on (-1, 1): 24 of degree 4, 48 of degree 5."""
    return mpmath.calculus.quadrature.GaussLegendre(mp).calc_nodes(degree, bits)


def panel(function, start, end, degree):
    """Return the integrals of the functions whose values `function` returns, by one Gauss-Legendre rule."""
    half, middle = (end - start) / 2, (end + start) / 2
    each = [[half * weight * value for value in function(middle + half * x)] for x, weight in nodes(degree, mp.prec)]
    return [mp.fsum(column) for column in zip(*each, strict=True)]


def halved(function, start, end, coarse, whole):
    """Return the integrals over a panel, halving it until the rule of 24 nodes is right to 1e-18 of the whole.

    The error of the 48 nodes that are returned is then about the square of that.
    """
    if coarse[0] < whole * mpf("1e-45"):
        return coarse
    fine = panel(function, start, end, 5)
    if all(abs(a - b) < whole * mpf("1e-18") for a, b in zip(fine, coarse, strict=True)):
        return fine
    middle = (start + end) / 2
    parts = [(a, b, panel(function, a, b, 4)) for a, b in [(start, middle), (middle, end)]]
    return [sum(pair) for pair in zip(*(halved(function, *part, whole) for part in parts), strict=True)]


def edges(parameters, recency, T, logarithmic):
    """Return the panels' edges: on y itself, or on log(y - recency).

    Either way they lie ever closer towards the recency, where powers of up to 10,500 concentrate the mass within 1e-8.
    On y the smallest is 1e-15 of the span. On the logarithm they go on until the mass that is left out is below 1e-45.
    """
    span = T - recency
    if not logarithmic:
        return [recency, *(recency + span * mpf(4) ** -k for k in range(25, -1, -1))]
    top, low = mp.log(span), mp.log(span) - 145
    if recency == 0 and len(parameters) == 5:
        s, beta, shape = parameters[2:]
        low = min(low, mp.log(beta) - (105 + mp.log(s)) / shape)
    low = (top - 50) - 6 * mp.ceil((top - 50 - low) / 6)
    return [*mp.arange(low, top - 50, 6), *(top - 50 + mpf(k) for k in range(51))]


def reference(model, parameters, frequency, recency, T, *, digits=50, logarithmic=None):
    """Return log L, its slopes by the logarithm of each parameter, and the sizes of all these (see above)."""
    with mp.workdps(digits):
        parameters = [mpf(p) for p in parameters]
        r, alpha, *life = parameters
        recency, T = mpf(float(recency)), mpf(float(T))
        frequency = int(frequency)
        total = r + frequency
        survival, density = LIFETIMES[model]

        def weighted(log_weight, y, terms):
            """Return what is added up over all times y at which a customer may have left, T for never."""
            waned = mp.log1p(y / alpha)
            weight = mp.exp(log_weight - total * waned)
            sums = [(mp.fsum(each), mp.fsum(each, absolute=True)) for each in terms]
            return [weight * each for each in (1, waned, y / (alpha + y), *itertools.chain(*sums))]

        sums = weighted(survival(T, *life)[0], T, survival(T, *life)[1])
        if density and recency < T:
            if logarithmic is None:  # for the weak singularity of t^(c-1) at 0
                logarithmic = model == "WeibullGammaNBD" and recency == 0

            def function(at):
                y, stretch = (recency + mp.exp(at), at) if logarithmic else (at, mpf(0))
                log_density, terms = density(y, *life)
                return weighted(log_density + stretch, y, terms)

            ends = edges(parameters, recency, T, logarithmic)
            parts = [(a, b, panel(function, a, b, 4)) for a, b in itertools.pairwise(ends)]
            whole = sums[0] + sum(part[2][0] for part in parts)
            parts = [halved(function, *part, whole) for part in parts]
            sums = [mp.fsum(column) for column in zip(sums, *parts, strict=True)]

        bracket, (waned, passed, *rest) = sums[0], (each / sums[0] for each in sums[1:])  # means over y
        steps = [r + k for k in range(int(frequency))]
        terms = [
            [mp.fsum(map(mp.log, steps)), -frequency * mp.log(alpha), mp.log(bracket)],  # the first is log Γ(r+x)/Γ(r)
            [r * mp.fsum(1 / step for step in steps), -r * waned],
            [-frequency, total * passed],
        ]
        results = [*map(mp.fsum, terms), *rest[::2]]
        return results, [*(mp.fsum(each, absolute=True) for each in terms), *rest[1::2]]


def grid(seed=1):
    """Return the histories to store: all extremes crossed, mixed levels, wide spread, and what real shops have."""
    rng = np.random.default_rng(seed)
    levels = {
        "b": [1e-3, 0.02, 0.5, 10],
        "c": [0.2, 0.7, 1, 1.5, 5],
    }
    usual = {"r": 0.7, "alpha": 10, "s": 0.7, "beta": 12, "b": 0.05, "c": 1}
    histories = [(0, 0), (1, 0), (1, 1), (7, 0.9), (40, 0.01), (500, 0), (500, 0.5), (500, 1)]

    def level(name):
        return levels.get(name, [1e-3, 0.1, 1, 30, 1e4])

    def longest(name, shape):
        return 5000 / max(1, shape) if name == "b" else 5000

    rows = []
    counts = {
        "ParetoNBD": (8, 400, 500, 200),
        "GammaGompertzNBD": (4, 150, 80, 60),
        "WeibullGammaNBD": (4, 150, 80, 60),
        "NBD": (8, 20, 20, 20),
    }
    for model, (crossed, mixed, spread, typical) in counts.items():
        names = PARAMETERS[model]
        some = []  # parameters, frequency, recency / T, T
        for parameters in itertools.product(*([level(name)[0], level(name)[-1]] for name in names)):
            spans = [0.1, 30, 5000] if crossed == len(histories) else [rng.choice([0.1, 30, 5000])]
            for span in spans:
                some += [(parameters, *histories[k], span) for k in rng.permutation(len(histories))[:crossed]]
        for _ in range(mixed):
            history = histories[rng.integers(len(histories))]
            some.append(([rng.choice(level(name)) for name in names], *history, rng.choice([0.1, 1, 30, 500, 5000])))
        for _ in range(spread):
            parameters = [np.exp(rng.uniform(*np.log([level(name)[0], level(name)[-1]]))) for name in names]
            frequency = int(500 ** rng.uniform() * rng.choice([0, 1], p=[0.2, 0.8]))
            some.append((parameters, frequency, rng.uniform(), np.exp(rng.uniform(*np.log([0.1, 5000])))))
        for _ in range(typical):
            parameters = [usual[name] * np.exp(rng.normal(0, 0.3 if name in levels else 0.8)) for name in names]
            some.append((parameters, rng.geometric(0.3) - 1, rng.uniform(), rng.uniform(1, 300)))
        for parameters, frequency, share, span in some:
            parameters = [float(f"{p:.4g}") for p in parameters]
            span = float(f"{min(span, longest(names[-1], parameters[-1])):.4g}")
            recency = span if share == 1 else float(f"{span * share:.4g}") if frequency else 0.0
            rows.append([model, *parameters, *[np.nan] * (MOST - len(parameters)), frequency, recency, span])
    frame = pd.DataFrame(rows, columns=["model", *(f"parameter_{k}" for k in range(1, MOST + 1)), *HISTORY])
    return frame.drop_duplicates(ignore_index=True)


RESULTS = ["value", *(f"slope_{k}" for k in range(1, MOST + 1))]
SIZES = [f"size_of_{name}" for name in RESULTS]


def parameters_of(row):
    return [row[f"parameter_{k}"] for k in range(1, len(PARAMETERS[row["model"]]) + 1)]


def computed(row, **how):
    """Return the reference's results and sizes as one list of doubles, empty where the model has no parameter."""
    results, sizes = reference(row["model"], parameters_of(row), row["frequency"], row["recency"], row["T"], **how)
    absent = [np.nan] * (1 + MOST - len(results))
    return [*map(float, results), *absent, *map(float, sizes), *absent]


def store():
    rows = grid()
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        found = list(pool.map(computed, rows.to_dict("records"), chunksize=10))
    found = pd.DataFrame(found, columns=RESULTS + SIZES)
    found[SIZES] = found[SIZES].map("{:.3g}".format).replace("nan", "")
    STORED.parent.mkdir(exist_ok=True)
    rows.join(found).to_csv(STORED, index=False)


@pytest.fixture(scope="module")
def stored():
    return pd.read_csv(STORED)


class TestReference:
    """The stored results are right, before anything is compared with them."""

    @pytest.mark.parametrize("model", PARAMETERS)
    def test_rows_computed_anew_are_those_in_the_file(self, stored, model):
        for _, row in stored[stored["model"] == model].sample(4, random_state=5).iterrows():
            found = np.array(computed(row))
            assert row[RESULTS].to_numpy(float) == pytest.approx(found[: len(RESULTS)], rel=1e-15, abs=0, nan_ok=True)
            assert row[SIZES].to_numpy(float) == pytest.approx(found[len(RESULTS) :], rel=0.01, abs=0, nan_ok=True)

    @pytest.mark.parametrize("model", list(PARAMETERS)[:3])
    def test_another_substitution_and_more_digits_change_nothing(self, stored, model):
        rows = stored[(stored["model"] == model) & ((model != "WeibullGammaNBD") | (stored["recency"] > 0))]
        for _, row in rows.sample(1, random_state=6).iterrows():
            found = computed(row, digits=60, logarithmic=True)[: len(RESULTS)]
            assert row[RESULTS].to_numpy(float) == pytest.approx(found, rel=1e-15, abs=0, nan_ok=True)

    def test_pareto_nbd_is_its_closed_form(self, stored):
        """With hypergeometric functions (Fader and Hardie 2005), and slopes by differences, in 80 digits."""
        rows = stored[(stored["model"] == "ParetoNBD") & (stored["parameter_1"] < 100) & (stored["parameter_3"] < 100)]
        for _, row in rows.sample(12, random_state=7).iterrows():
            with mp.workdps(80):
                logs = [mp.log(p) for p in parameters_of(row)]
                history = int(row["frequency"]), mpf(row["recency"]), mpf(row["T"])
                orders = [tuple(int(k == j) for j in range(4)) for k in range(4)]
                slopes = [mp.diff(partial(closed_form, history), logs, order) for order in orders]
                found = [float(v) for v in (closed_form(history, *logs), *slopes)]
            assert row[RESULTS[:5]].to_numpy(float) == pytest.approx(found, rel=1e-15, abs=0)

    @pytest.mark.parametrize("model", list(PARAMETERS)[1:3])
    def test_slopes_are_those_of_the_value(self, stored, model):
        row = stored[(stored["model"] == model) & (stored["recency"] > 0)].sample(1, random_state=9).iloc[0]

        def value(parameters):
            return reference(model, parameters, *row[HISTORY])[0][0]

        at, step = parameters_of(row), mpf(2) ** -70
        before = value(at)
        with mp.workdps(50):
            moved = [[p * (1 + step) if j == k else p for j, p in enumerate(at)] for k in range(len(at))]
            found = [float((value(parameters) - before) / step) for parameters in moved]
        assert row[RESULTS[1:]].to_numpy(float) == pytest.approx(found, rel=1e-12)

    def test_the_file_holds_all_extremes(self, stored):
        assert len(stored) > 2000
        for model, rows in stored.groupby("model"):
            parameters = rows[[f"parameter_{k}" for k in range(1, len(PARAMETERS[model]) + 1)]]
            assert (parameters.min().iloc[:4] == 1e-3).all()
            assert (parameters.max().iloc[:4] == 1e4).all()
            assert {0, 500} <= set(rows["frequency"])
            assert set(rows["T"]) >= {0.1, 5000}
            many = rows[rows["frequency"] == 500]
            assert {0, 1} <= set(many["recency"] / many["T"])


def closed_form(history, *logs):
    """Return the log-likelihood of the Pareto/NBD; `logs` are of its parameters."""
    frequency, recency, T = history
    r, alpha, s, beta = (mp.exp(log) for log in logs)
    total, large = r + s + frequency, max(alpha, beta)
    other = s + 1 if alpha >= beta else r + frequency

    def part(y):
        return mp.hyp2f1(total, other, total + 1, abs(alpha - beta) / (large + y)) / (large + y) ** total

    still = (alpha + T) ** -(r + frequency) * (beta + T) ** -s
    left = s / total * (part(recency) - part(T))
    counts = mp.loggamma(r + frequency) - mp.loggamma(r)
    return counts + r * mp.log(alpha) + s * mp.log(beta) + mp.log(still + left)


def likelihoods(model, rows):
    """Return the package's value and slopes of each row, shape (rows, 1 + parameters)."""
    names = [f"parameter_{k}" for k in range(1, len(PARAMETERS[model]) + 1)]
    fitter, found = getattr(lifetime, f"{model}Fitter"), np.empty((len(rows), 1 + len(names)))
    for parameters, places in rows.groupby(names).indices.items():
        history = [rows[name].to_numpy()[places] for name in HISTORY]
        values, slopes = fitter.log_likelihoods(list(parameters), *history)
        assert values.shape == places.shape
        assert slopes.shape == (len(names), len(places))
        found[places, 0], found[places, 1:] = values, slopes.T
    return found


def relative_errors(model, rows):
    found = likelihoods(model, rows)
    want, size = (rows[columns[: found.shape[1]]].to_numpy() for columns in (RESULTS, SIZES))
    wrong = np.abs(found - want)
    return np.where(wrong == 0, 0, wrong / np.maximum(np.maximum(np.abs(want), 1e-4 * size), 1e-300))


class TestKernel:
    @pytest.mark.parametrize("model", PARAMETERS)
    def test_value_and_slopes_have_nine_digits(self, stored, model):
        """Each of every history in the file, by the measure at the top of this page."""
        rows = stored[stored["model"] == model].reset_index(drop=True)
        errors = pd.DataFrame(relative_errors(model, rows)).set_axis(["value", *PARAMETERS[model]], axis=1)
        impossible = (rows["frequency"] > 0) & (rows["recency"] == 0) & (model not in ("ParetoNBD", "NBD"))
        wrong = ~errors.lt(np.where(impossible, 1e-7, DIGITS.get(model, 1e-9)), axis=0).all(axis=1)
        shown = rows.loc[wrong, [f"parameter_{k}" for k in range(1, len(PARAMETERS[model]) + 1)] + HISTORY].join(errors)
        assert not wrong.any(), f"{wrong.sum()} of {len(rows)} histories:\n{shown.to_string(max_rows=20)}"

    @pytest.mark.parametrize("model", PARAMETERS)
    def test_histories_together_are_as_each_alone(self, stored, model):
        rows = stored[stored["model"] == model].reset_index(drop=True)
        parameters = [0.6, 11.0, 0.6, 12.0, 0.9][: len(PARAMETERS[model])]
        fitter, history = getattr(lifetime, f"{model}Fitter"), rows[HISTORY].drop_duplicates()
        values, slopes = fitter.log_likelihoods(parameters, *history.to_numpy().T)
        assert np.isfinite(values).all()
        assert np.isfinite(slopes).all()
        for place in range(0, len(history), 40):
            value, slope = fitter.log_likelihoods(parameters, *history.iloc[[place]].to_numpy().T)
            assert values[place] == pytest.approx(value[0], rel=1e-11)
            assert slopes[:, place] == pytest.approx(slope[:, 0], rel=1e-9, abs=1e-12)

    def test_agrees_with_lifetimes(self, stored):
        """With its hypergeometric functions wherever they are finite, as well as these are right themselves.

        They are finite for two thirds of the histories, and lose digits in two ways. The terms of which they add up the
        logarithm (up to 1e5 where the likelihood is 1) are right to 1e-15, and the nearer the function's argument
        z = |α − β| / (max(α, β) + t_x) is to 1, the more of its digits are wrong: 1e-16 / (1 − z). So lifetimes is
        right to 1e-13 in absolute terms for usual parameters, to 1e-10 up to z = 0.99 and to 2e-8 at worst
        (z = 1 − 1e-7), which may be more than the value itself.
        """
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from lifetimes import ParetoNBDFitter

            rows = stored[stored["model"] == "ParetoNBD"].reset_index(drop=True)
            cells = rows[[*(f"parameter_{k}" for k in range(1, 5)), *HISTORY]].to_numpy()
            theirs = [ParetoNBDFitter._conditional_log_likelihood(row[:4], *row[4:, None])[0] for row in cells]
        finite = np.isfinite(theirs)
        assert finite.sum() > 1000
        r, alpha, s, beta, x, recency, T = cells.T
        large = np.maximum(alpha, beta)
        logs = [r * np.log(alpha), s * np.log(beta), (r + x) * np.log(alpha + T), s * np.log(beta + T)]
        logs += [(r + s + x) * np.log(large + recency), (r + s + x) * np.log(large + T)]
        terms = 1 + sum(map(np.abs, [gammaln(r + x), gammaln(r), *logs]))
        near = np.abs(alpha - beta) / (large + recency)
        limit = terms * (1e-15 + 1e-16 / (1 - near))
        want = rows["value"].to_numpy()
        assert (np.abs(theirs - want) <= limit)[finite].all()
        ours = likelihoods("ParetoNBD", rows)[:, 0]
        assert (np.abs(theirs - ours) <= limit + 1e-9 * np.abs(want))[finite].all()


if __name__ == "__main__":
    store()
