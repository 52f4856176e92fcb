"""pca_project, Pca and fit_pca: projection and what is learnt, against float64 and singular values."""

from __future__ import annotations

import numpy as np
import pytest
import tailrace as tr
from tailrace.kernels import Pca, fit_pca, pca_project
from tailrace.kernels.ops.pca_project import reference


def table(rng, rows, features):
    return (rng.normal(size=(rows, features)) @ rng.normal(size=(features, features)) + 50).astype(np.float32)


@pytest.mark.parametrize("count", [1, 5, 16, 17, 48, 49, 100])
@pytest.mark.parametrize("features", [1, 31, 130])
def test_rows_are_projected_as_in_float64(isa, rng, features, count):
    components = rng.normal(size=(count, features)).astype(np.float32)
    mean = rng.normal(size=features, scale=100).astype(np.float32)
    pca = Pca(components, mean)
    for rows in (0, 1, 7, 8, 63, 64, 65, 150):
        x = (mean + rng.normal(size=(rows, features))).astype(np.float32)
        out = np.full((rows, count), np.nan, np.float32)
        assert pca(x, out=out) is out
        truth = reference.pca_project(x, components, mean)
        assert np.abs(out - truth).max(initial=0) <= 1e-5 * np.sqrt(features)


@pytest.mark.parametrize("whiten", [False, True])
@pytest.mark.parametrize(("rows", "features"), [(200, 12), (9, 40), (13, 12)])
def test_what_is_learnt_are_the_singular_vectors_of_the_centred_table(rng, rows, features, whiten):
    data = table(rng, rows, features)
    pca = fit_pca(data, 5, whiten=whiten)
    components, mean, variance = reference.fit_pca(data, 5)
    np.testing.assert_allclose(pca.components, components, atol=1e-5)
    np.testing.assert_allclose(pca.mean, mean, rtol=1e-6)
    np.testing.assert_allclose(pca.explained_variance, variance, rtol=1e-5)
    spread = pca(data).std(axis=0, ddof=1)
    np.testing.assert_allclose(spread, 1 if whiten else np.sqrt(variance), rtol=1e-4)


def test_a_share_of_the_variance_takes_as_many_components_as_it_needs(rng):
    data = (rng.normal(size=(500, 4)) * [10, 5, 1, 0.1]).astype(np.float64)
    share = np.cumsum(reference.fit_pca(data, 4)[2]) / reference.fit_pca(data, 4)[2].sum()
    for wanted in (share[0] - 1e-3, share[0] + 1e-3, share[1] + 1e-6, 0.9999999):
        found = len(fit_pca(data, float(wanted)).components)
        assert share[found - 1] >= wanted
        assert found == 1 or share[found - 2] < wanted


def test_other_libraries_learn_the_same(rng):
    decomposition = pytest.importorskip("sklearn.decomposition")
    data = table(rng, 150, 9).astype(np.float64)
    theirs = decomposition.PCA(4, whiten=True).fit(data)
    mine = fit_pca(data, 4, whiten=True)
    signs = np.sign((theirs.components_ * mine.components).sum(axis=1))
    np.testing.assert_allclose(mine(data.astype(np.float32)) * signs, theirs.transform(data), atol=1e-4)


def test_a_native_step_projects_rows(rng):
    data = table(rng, 30, 6)
    pca = fit_pca(data, 2)
    step = tr.native_step(pca.native(30))

    @tr.workflow
    def projected(x):
        return step(x=x)

    assert np.array_equal(projected(data)["y"], pca(data))


@pytest.mark.parametrize(
    ("error", "message", "call"),
    [
        (TypeError, r"x must be float32 \[batch, 3\]", lambda x, c, m: pca_project(x.astype("d"), c, m)),
        (ValueError, r"got float32 \[4, 2\]", lambda x, c, m: pca_project(x[:, :2].copy(), c, m)),
        (ValueError, r"mean must be float32 \[3\]", lambda x, c, m: pca_project(x, c, m[:2])),
        (ValueError, r"out must be float32 \[4, 2\]", lambda x, c, m: pca_project(x, c, m, out=x)),
        (ValueError, "variances above 0; component 1", lambda x, c, m: pca_project(x, c, m, whiten=m[1:])),
        (ValueError, "at least 1 components", lambda x, c, m: Pca(c[:0], m)),
        (ValueError, "whole number of 1 to 3", lambda x, c, m: fit_pca(x, float("nan"))),
        (ValueError, "whole number of 1 to 3", lambda x, c, m: fit_pca(x, None)),
        (ValueError, "out", lambda x, c, m: Pca(c, m)(x, out=x.reshape(-1)[:8].reshape(4, 2))),
        (ValueError, "whole number of 1 to 3", lambda x, c, m: fit_pca(x, 4)),
        (ValueError, "not finite", lambda x, c, m: fit_pca(x * np.inf, 1)),
        (ValueError, "at least 2 rows", lambda x, c, m: fit_pca(x[:1], 1)),
        (TypeError, "x must be float32", lambda x, c, m: Pca(c, m)(3)),
    ],
)  # fmt: skip
def test_a_wrong_call_says_what_is_wanted(error, message, call):
    components = np.array([[1, 0, 0], [0, 1, 0]], np.float32)
    with pytest.raises(error, match=message):
        call(np.ones((4, 3), np.float32), components, np.array([0, 2, 0], np.float32))
