"""The model finds effects that are there, tells how sure it is, and stays small."""

import numpy as np
import pytest

from services.ranker import model
from services.ranker.features import MOST_EFFECTS, NO_ATTRS, Design, design_of, pairs_of, values_of
from services.ranker.model import Floats, Posterior, Rows, fit

VARIANTS, CELLS = 4, ["a=x&b=p", "a=x&b=q", "a=y&b=p", "a=y&b=q"]
EFFECTS = np.array([[0.0, 0.0], [0.4, -0.4], [0.2, 0.2], [-0.5, 0.5]])  # of a variant with a=x, a=y


def rows(design: Design, n: float, themes: list[int] | None = None) -> Rows:
    """Sends of every variant to every cell, clicked exactly as often as the effects say."""
    pairs = [(cell, variant) for cell in range(len(CELLS)) for variant in range(VARIANTS)]
    logits = np.array([-3 + EFFECTS[variant, cell // 2] for cell, variant in pairs])
    return Rows(
        x=design.rows(CELLS),
        cells=np.array([cell for cell, _ in pairs]),
        variants=np.array([variant for _, variant in pairs]),
        n=np.full(len(pairs), n),
        clicks=n / (1 + np.exp(-logits)),
        themes=themes or [-1] * VARIANTS,
    )


def logit(posterior: Posterior, design: Design, cell: str, variant: int) -> float:
    numbers = [one for one in design.rows([cell])[0] if one != design.blank]
    return float(posterior.shared[numbers].sum() + posterior.own[variant][numbers].sum())


def test_known_effects_are_found() -> None:
    design = design_of(dict.fromkeys(CELLS, 1e6))

    posterior = fit(rows(design, 1e6), design, 0)

    for at, cell in enumerate(CELLS):
        for variant in range(VARIANTS):
            assert logit(posterior, design, cell, variant) == pytest.approx(-3 + EFFECTS[variant, at // 2], abs=0.02)


def test_an_attr_that_matters_gets_a_large_variance_and_one_that_does_not_a_small_one() -> None:
    design = design_of(dict.fromkeys(CELLS, 1e5))

    found = fit(rows(design, 1e5), design, 0).variances

    assert found["variant x a"] > 0.05
    assert found["variant x b"] < 0.01


@pytest.mark.parametrize("sends", [115.0, 120.0, 300.0])
def test_taste_that_lies_in_pairs_alone_is_found_in_one_fit(sends: float, monkeypatch: pytest.MonkeyPatch) -> None:
    # Each variant pleases half of the cells, laid out so that neither attr alone tells which.
    cells = [f"a=a{a}&b=b{b}" for a in range(4) for b in range(4)]
    design = design_of(dict.fromkeys(cells, 1e5))
    pairs = [(cell, variant) for cell in range(len(cells)) for variant in range(VARIANTS)]
    logits = np.array([-3 + (0.5 if (cell // 4 + cell % 4 + v) % 2 else -0.5) for cell, v in pairs])
    told = Rows(
        x=design.rows(cells),
        cells=np.array([cell for cell, _ in pairs]),
        variants=np.array([variant for _, variant in pairs]),
        n=np.full(len(pairs), sends),
        clicks=sends / (1 + np.exp(-logits)),
        themes=[-1] * VARIANTS,
    )

    found = fit(told, design, 0).variances["variant x a & b"]

    monkeypatch.setattr(model, "_ROUNDS", 200)
    assert found == pytest.approx(fit(told, design, 0).variances["variant x a & b"], rel=0.1)
    assert found > 0.06


def test_few_facts_move_little() -> None:
    design = design_of(dict.fromkeys(CELLS, 1e5))

    posterior = fit(rows(design, 10), design, 0)

    assert np.abs(posterior.own).max() < 0.1


def dense(posterior_rows: Rows, design: Design, theme_count: int, posterior: Posterior) -> Floats:
    """The same posterior's covariance of what variants are worth at `a=x`, by one inverse of the whole Hessian."""
    size = design.size
    wide = size + theme_count + VARIANTS * size
    named = posterior.variances
    groups = [design.attrs[group] for group in design.groups]
    prior = [4.0, *(named[name] for name in groups), *[named.get("theme", 1.0)] * theme_count]
    prior += [named["variant"], *(named[f"variant x {name}"] for name in groups)] * VARIANTS
    features = np.zeros((len(posterior_rows.n), wide))
    for at, (cell, variant) in enumerate(zip(posterior_rows.cells, posterior_rows.variants, strict=True)):
        numbers = [one for one in posterior_rows.x[cell] if one != design.blank]
        features[at, numbers] = 1
        features[at, [size + theme_count + variant * size + one for one in numbers]] = 1
        if (theme := posterior_rows.themes[variant]) >= 0:
            features[at, size + theme] = 1
    effects = np.concatenate((posterior.shared, posterior.own.reshape(-1)))
    chance = 1 / (1 + np.exp(-features @ effects))
    hessian = features.T @ (features * (posterior_rows.n * chance * (1 - chance))[:, None]) + np.diag(
        1 / np.array(prior)
    )
    ask = np.zeros((VARIANTS, wide))
    for variant in range(VARIANTS):
        start = size + theme_count + variant * size
        ask[variant, [start, start + design.values["a=x"]]] = 1
        if (theme := posterior_rows.themes[variant]) >= 0:
            ask[variant, size + theme] = 1
    found: Floats = ask @ np.linalg.inv(hessian) @ ask.T
    return found


@pytest.mark.parametrize("themes", [[-1] * 4, [0, 0, 1, -1]])
def test_draws_spread_as_the_whole_hessian_says(themes: list[int]) -> None:
    design = design_of(dict.fromkeys(CELLS, 1e5))
    given = rows(design, 2_000, themes)
    posterior = fit(given, design, 2)

    drawn = posterior.draws(40_000, 1.0, np.random.Generator(np.random.PCG64(1)))
    worth = drawn[:, 0] + drawn[:, design.values["a=x"]]

    expected = dense(given, design, 2, posterior)
    assert np.cov(worth) == pytest.approx(expected, abs=0.06 * np.diag(expected).max())


def test_a_tempered_posterior_is_narrower_and_draws_repeat() -> None:
    posterior = fit(rows(NO_ATTRS, 1_000), NO_ATTRS, 0)

    def draws(temper: float) -> Floats:
        return posterior.draws(2_000, temper, np.random.Generator(np.random.PCG64(7)))[:, 0]

    assert draws(0.5).std(axis=1) == pytest.approx(draws(1.0).std(axis=1) / 2)
    assert (draws(0.5) == draws(0.5)).all()


def test_a_cell_is_read_as_the_generator_names_it() -> None:
    assert values_of("plan=pro&tags=a,b") == ("plan=pro", "tags=a", "tags=b")
    assert values_of("") == values_of("~") == ()


def test_a_value_that_hardly_anybody_has_is_no_effect_of_its_own() -> None:
    design = design_of({"plan=pro": 100, "plan=odd": 3})

    assert set(design.values) == {"plan=pro"}
    assert (design.rows(["plan=odd"]) == [[0]]).all()


def test_pairs_of_values_are_known_where_attrs_have_few_and_left_out_where_they_have_many() -> None:
    few = {f"a={a}&b={b}": 100.0 for a in range(3) for b in range(4)}
    many = {f"c={c}&d={d}": 100.0 for c in range(20) for d in range(20)}

    design = design_of({**few, **many})

    assert pairs_of(("a=1", "b=2")) == ["a=1&b=2"]
    assert pairs_of(("tags=x", "tags=y")) == []
    assert sum(name.count("&") for name in design.values) == 12
    assert len(design.rows(["a=1&b=2"])[0]) == 4


def test_a_model_of_many_variants_knows_fewer_values() -> None:
    cells = {f"a=v{number}": 1000.0 - number for number in range(250)}

    assert design_of(cells, 20).size == 251
    assert design_of(cells, 50).size == MOST_EFFECTS // 50 + 1
    assert "a=v0" in design_of(cells, 50).values
