"""The plane of two principal components, and what a picture of it holds."""

import torch

from priorkit.report.layer_projections import layer_projections, principal_plane


def stretched(n, dim, generator):
    """Points whose two widest directions are known: axis 2 (width 5), axis 0 (width 3), the others 0.1."""
    widths = torch.full((dim,), 0.1)
    widths[2], widths[0] = 5.0, 3.0
    return torch.randn(n, dim, generator=generator) * widths + 7.0


def test_the_plane_is_that_of_the_widest_directions():
    points = stretched(4_000, 5, torch.Generator().manual_seed(0))
    mean, axes = principal_plane(points)
    torch.testing.assert_close(mean, points.double().mean(0))
    torch.testing.assert_close(axes.T @ axes, torch.eye(2, dtype=torch.float64))
    # Directions are known to about (3 / 5) / sqrt(4000) = 0.01 radians; 0.05 is five times that.
    assert axes[2, 0] > 1 - 0.05**2
    assert axes[0, 1] > 1 - 0.05**2


def test_principal_directions_are_eigenvectors_of_the_covariance():
    points = torch.randn(50, 6, generator=torch.Generator().manual_seed(1)) * torch.arange(1, 7)
    _, axes = principal_plane(points)
    values, vectors = torch.linalg.eigh(torch.cov(points.double().T))
    cosines = (axes * vectors[:, [-1, -2]]).sum(0).abs()
    torch.testing.assert_close(cosines, torch.ones(2, dtype=torch.float64))
    assert values[-1] > values[-2]


def test_the_plane_does_not_turn_over_with_the_order_of_points():
    points = torch.randn(30, 4, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(principal_plane(points)[1], principal_plane(points.flip(0))[1])


def test_a_panel_a_prior_and_layer_and_every_draw_in_reach_is_counted():
    generator = torch.Generator().manual_seed(3)
    posterior = {"layer 0": torch.randn(100, 2, generator=generator), "layer 1": torch.randn(100, 7, generator=generator)}
    near = [0.1 * torch.randn(300, 2, generator=generator), 0.1 * torch.randn(300, 7, generator=generator)]
    figure = layer_projections(posterior, {"Gaussian prior": near, "learned prior": near})
    titles = [axis.get_title() for axis in figure.axes if axis.get_title()]
    assert titles == [f"{layer}: {prior}" for prior in ("Gaussian prior", "learned prior") for layer in posterior]
    panels = [axis for axis in figure.axes if axis.get_title()]
    cells, points = zip(*(axis.collections for axis in panels), strict=True)
    assert [cell.get_array().sum() for cell in cells] == [300] * 4
    assert [len(scatter.get_offsets()) for scatter in points] == [100] * 4
    # Panels of a layer share its limits, so that two priors can be compared.
    assert panels[0].get_xlim() == panels[2].get_xlim() != panels[1].get_xlim()
