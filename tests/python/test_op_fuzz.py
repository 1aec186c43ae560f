"""Drawn cases of every op, chains of ops, and runs that must fail, against TensorFlow itself. Seeded: the same cases in
every run; `make fuzz-ops SEED=.. CASES=..` draws more."""

import os

import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
pytest.importorskip("tensorflow")
from op_fuzz import chains, draw, errors, runner, specs  # noqa: E402

CASES_AN_OP = 50
GROUPS = 16


@pytest.mark.parametrize("group", range(GROUPS))
def test_ops(group):
    failures = []
    d = draw.Draw([7, group])
    cases = [specs.SPECS[op].case(d) for op in list(specs.SPECS)[group::GROUPS] for _ in range(CASES_AN_OP)]
    found, built = runner.run(cases, lambda: d.chance(0.3))
    failures = [f"{case}: {sentence}" for case, sentence in found]
    assert built > 0.9 * len(cases), "TensorFlow refused to build too many cases"
    assert not failures, f"{len(failures)} of {built}:\n" + "\n".join(failures[:40])


@pytest.mark.parametrize("seed", range(4))
def test_chains(seed):
    failures = chains.run(seed, 25)
    assert not failures, "\n".join(failures)


def test_errors():
    failures = errors.run(1)
    assert not failures, "\n".join(failures)
