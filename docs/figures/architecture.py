"""The network as boxes and arrows, with the widths that the released network has."""

import matplotlib.pyplot as plt
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from sfh_cnn.network import NetworkConfig
from sfh_cnn.plotting import COLORS

size = NetworkConfig()
fig, ax = plt.subplots(figsize=(8.6, 4.6))
ax.set(xlim=(0, 101), ylim=(0, 56))
ax.axis("off")
boxes = {}


def box(name, x, y, width, height, text, color):
    """A rounded box with its text; (x, y) is its middle."""
    boxes[name] = (x, y, width, height)
    outline = {"boxstyle": "round,pad=0,rounding_size=1.2", "facecolor": (*plt.matplotlib.colors.to_rgb(color), 0.18)}
    ax.add_patch(FancyBboxPatch((x - width / 2, y - height / 2), width, height, edgecolor=color, **outline))
    ax.text(x, y, text, ha="center", va="center", fontsize=8, linespacing=1.35)


def arrow(start, end):
    """From the right side of one box to the left side of another, level where the other is tall enough."""
    x0, y0, width0, _ = boxes[start]
    x1, y1, width1, height1 = boxes[end]
    y1 = min(max(y0, y1 - 0.4 * height1), y1 + 0.4 * height1)
    style = {"arrowstyle": "-|>", "mutation_scale": 9, "color": "0.35", "linewidth": 0.9, "shrinkA": 1, "shrinkB": 1}
    ax.add_patch(FancyArrowPatch((x0 + width0 / 2, y0), (x1 - width1 / 2, y1), **style))


data, encoder, latent, head = (COLORS[role] for role in ("data", "history", "model", "metallicity"))
box("spectrum", 9, 38, 17, 14, "spectrum\nerrors, mask\n(rest-frame pixels)", data)
box("condition", 9, 18, 17, 9, "redshift\ncalibration error", data)
box("bands", 9, 6, 17, 8, "band fluxes\nerrors", data)
box("features", 28, 38, 15, 14, "scaling:\ncontinuum, fine\nstructure, noise", data)
box("projection", 49, 49, 20, 9, f"projection, {size.n_projection}\n(starts from PCA)", encoder)
box("attention", 49, 38, 20, 9, f"convolutions, then\nself-attention, {size.n_head} heads", encoder)
box("shape", 49, 27, 20, 9, "continuum and noise\nby blocks", encoder)
box("photometry", 49, 6, 20, 8, f"photometry\nencoder, {size.n_photometry}", encoder)
box("latent", 71, 28, 13, 28, f"shared\nlatent\nspace\n{size.n_latent}", latent)
box("fractions", 91, 49, 18, 9, "mass and light\nfractions (means)", head)
box("quantiles", 91, 35, 18, 11, "quantiles of bins,\nmeans, $A_V$, M/L", head)
box("posterior", 91, 21, 18, 9, "joint posterior\n(draws)", head)
box("unusual", 91, 7, 18, 9, "how unusual\nthe input is", head)
for start, end in (
    ("spectrum", "features"),
    ("features", "projection"),
    ("features", "attention"),
    ("features", "shape"),
    ("bands", "photometry"),
    ("condition", "photometry"),
    ("projection", "latent"),
    ("attention", "latent"),
    ("shape", "latent"),
    ("photometry", "latent"),
    ("condition", "latent"),
    ("latent", "fractions"),
    ("latent", "quantiles"),
    ("latent", "posterior"),
    ("latent", "unusual"),
):
    arrow(start, end)
