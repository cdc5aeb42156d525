"""Do draws hold what they promise: shares of the truths inside their 68 per cent intervals, as learnt and as raked.

    PYTHONPATH=. OMP_NUM_THREADS=1 python benchmarks/draws.py --emiles PATH [--n 6000] [--write docs/user_guide]

On held-out mocks of each released network, which it was neither trained nor calibrated on; 200 draws of each.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from astropy.table import Table

from sfh_cnn import SFHPredictor
from sfh_cnn.core import history
from sfh_cnn.core.constants import SCALAR_NAMES
from sfh_cnn.diagnostics import sbc_ranks
from sfh_cnn.results import draw_scalars
from sfh_cnn.ssp import SSPLibrary
from sfh_cnn.training import INPUT_NAMES, held_out_mocks, released_mocks

NETWORKS = ("phangs-muse-hst", "phangs-muse-hst-bc03", "phangs-muse-hst-local")
N_DRAW, BATCH = 200, 256
LABELS = {
    "mass_weighted_log_age": "mean log age, by mass",
    "light_weighted_log_age": "mean log age, by light",
    "mass_weighted_metallicity": "mean [M/H], by mass",
    "light_weighted_metallicity": "mean [M/H], by light",
    "a_v": "A_V",
    "log_mass_to_light_attenuated": "M/L, attenuated",
    "log_recent_fraction": "mass share of the last 100 Myr",
}


def quantities(age_grid, values):
    """By label, (n_spec,) of truths or (n_spec, n_draw) of draws; of bins with a last axis more."""
    mass, edges_yr = values["mass_fraction"], age_grid.edges_yr
    scalars = draw_scalars(age_grid, values)
    shares = {f"mass share of the last {t / 1e9:g} Gyr": history.recent_fraction(mass, edges_yr, t) for t in (1e9, 5e9)}
    times = {f"t{100 * s:.0f}": np.log10(history.formation_time(mass, edges_yr, s)) for s in (0.5, 0.9)}
    bins = {"mass fraction of a bin": mass, "[M/H] of a bin": values["metallicity"]}
    return {label: scalars[name] for name, label in LABELS.items()} | shares | times | bins


def coverage(drawn, true):
    """Per cent inside; of bins the mean and the range."""
    inside = 100 * np.mean(np.abs(sbc_ranks(drawn, true) - 0.5) < 0.6827 / 2, axis=0)
    return f"{inside:.0f}" if inside.ndim == 0 else f"{inside.mean():.0f} ({inside.min():.0f}-{inside.max():.0f})"


def measure(name, n, emiles):
    """Coverage by label, as learnt and as raked."""
    predictor = SFHPredictor.pretrained(name)
    engine, contract = predictor.engine, predictor.contract
    paths = {"e-miles": emiles}
    libraries = [SSPLibrary.read(paths.get(library, library)) for library in contract.synthesis["libraries"]]
    mocks = held_out_mocks(released_mocks(contract, libraries), "test", n)
    with torch.inference_mode():
        parts = [[mocks[key][i : i + BATCH] for key in INPUT_NAMES] for i in range(0, n, BATCH)]
        latent = torch.cat([engine.network.encode(*part) for part in parts]).numpy()
    truth = {key: mocks[key].numpy() for key in ("mass_fraction", "light_fraction", "metallicity")}
    truth |= {key: mocks["scalars"][:, i].numpy() for i, key in enumerate(SCALAR_NAMES) if key not in truth}
    true = quantities(contract.age_grid, truth)
    drawn = (
        quantities(contract.age_grid, engine.draw(latent, N_DRAW, seed=0, raked=raked, common=False))
        for raked in (False, True)
    )
    before, after = ({label: coverage(values[label], true[label]) for label in true} for values in drawn)
    return {label: f"{before[label]}, {after[label]}" for label in true}


def main():
    """Measure and print or write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--emiles", required=True, help="folder of E-MILES FITS files")
    parser.add_argument("--n", type=int, default=6000, help="mocks of each network")
    parser.add_argument("--write", help="folder of the documentation to write _draws.csv to")
    args = parser.parse_args()
    columns = {name.removeprefix("phangs-muse-hst").strip("-") or "default": name for name in NETWORKS}
    results = {label: measure(name, args.n, args.emiles) for label, name in columns.items()}
    rows = list(next(iter(results.values())))
    table = Table(
        {"Per cent inside": rows} | {label: [column[row] for row in rows] for label, column in results.items()}
    )
    table.pprint_all(align="<")
    if args.write:
        table.write(Path(args.write) / "_draws.csv", format="ascii.csv", overwrite=True)


if __name__ == "__main__":
    main()
