"""Accuracy of sfh_cnn and of pPXF on the same mocks, in one run and one table.

Usage:
    python benchmarks/accuracy.py                                  BC03 mocks, the default network
    python benchmarks/accuracy.py --network mine.pt --n 4000 --n-ppxf 400
    python benchmarks/accuracy.py --mocks PATH_TO_EMILES --n 2000  mocks of a library that pPXF and, perhaps, the
                                                                   network do not know; ages above 70 Myr
    python benchmarks/accuracy.py --range 4800 7000

Mocks have a broad prior, S/N 10-100 per pixel, five bands with errors of 2-10 per cent, A_V 0-2, the full wavelength
range and no errors but noise. pPXF 9.5 gets the templates of ``--templates`` (BC03) in the same age bins, with the
line spread of the instrument. Each cell is median bias / 1.4826 MAD / standard deviation in dex. One thread.
"""

import argparse
import time

import astropy.units as u
import numpy as np
import torch
from astropy.nddata import StdDevUncertainty
from astropy.table import QTable
from ppxf_fit import MODES, Fitter, Templates, line_spread
from specutils import Spectrum
from threadpoolctl import threadpool_limits

from sfh_cnn import SFHPredictor
from sfh_cnn.core.constants import SCALAR_NAMES
from sfh_cnn.ssp import SSPLibrary
from sfh_cnn.synthesis import DustPrior, MockGenerator, ObservationConfig, SynthesisConfig
from sfh_cnn.training import mad_std

MEANS = (
    "light_weighted_log_age",
    "mass_weighted_log_age",
    "light_weighted_metallicity",
    "mass_weighted_metallicity",
)
OURS = "sfh_cnn"
#: Mocks that share redshift, velocity dispersion and line spread.
GROUP = 64
#: Noise is all that is wrong with these mocks.
OBSERVATION = ObservationConfig(
    snr_range=(10, 100),
    velocity_error_kms=0.0,
    no_calibration_error_share=1.0,
    right_error_share=1.0,
    full_coverage_share=1.0,
    masked_share=0.0,
    emission_share=0.0,
    band_error_range=(0.02, 0.1),
    no_bands_share=0.0,
    some_bands_share=0.0,
    grey_mismatch=0.0,
    zero_point_error=0.0,
)
UNIT = 1e-17 * u.erg / u.s / u.cm**2 / u.AA


def known_populations(mocks, library, age_grid):
    """Which mocks hold no noticeable light of ages or metallicities that a library lacks."""
    light = mocks["light_fraction"]
    young = age_grid.edges_yr[:-1] < 0.99 * library.age_yr[0]
    low, high = library.metallicity_dex[[0, -1]]
    foreign = (mocks["metallicity"] < low) | (mocks["metallicity"] > high) | young
    return np.where(foreign, light, 0.0).sum(axis=1) < 0.02


def make_groups(generator, n, seed_offset=0):
    """Groups of mocks, about n in all, that the library of the mocks can make."""
    library, done, index = generator.libraries[0], 0, seed_offset
    while done < n:
        mocks = generator.chunk(index, GROUP)
        index += 1
        keep = known_populations(mocks, library, generator.config.age_grid)
        if keep.any():
            done += keep.sum()
            yield {name: value[keep] for name, value in mocks.items()}


def run_ours(predictor, mocks, generator):
    """Predict a group through the public interface; answers and CPU seconds per spectrum."""
    wave = generator.config.instrument.wavelength_grid.wave_aa * (1 + mocks["redshift"][0])
    spectrum = Spectrum(
        spectral_axis=wave * u.AA,
        flux=mocks["flux"] * UNIT,
        uncertainty=StdDevUncertainty(mocks["flux_err"] * UNIT),
        mask=mocks["mask"],
        meta={"medium": "air"},
    )
    bands = QTable()
    for i, name in enumerate(generator.config.instrument.bands):
        bands[name], bands[f"{name}_err"] = mocks["band_flux"][:, i] * UNIT, mocks["band_flux_err"][:, i] * UNIT
    start = time.process_time()
    result = predictor.predict(spectrum, bands, redshift=mocks["redshift"], calibration_error=0.0)
    cpu_s = (time.process_time() - start) / len(mocks["flux"])
    answers = {name: getattr(result, name).value for name in MEANS}
    return {**answers, "mass_fraction": result.mass_fraction.value, "cpu_s": np.full(len(mocks["flux"]), cpu_s)}


def run_ppxf(fitter, modes, mocks, rows):
    """Run pPXF in each mode for some rows of a group."""
    answers = {mode: [] for mode in modes}
    for row in rows:
        data = [mocks[name][row].astype(float) for name in ("flux", "flux_err")]
        bands = [mocks[name][row].astype(float) for name in ("band_flux", "band_flux_err")]
        for mode in modes:
            answers[mode].append(fitter.fit(mode, *data, mocks["mask"][row], *bands))
    return {mode: {key: np.array([one[key] for one in many]) for key in many[0]} for mode, many in answers.items()}


def report(title, answers, truth, rows):
    """Print one line per method for the chosen rows."""
    print(f"\n{title}: {rows.sum()} mocks")
    print(f"{'':32s} {'lw log age':>21s} {'mw log age':>21s} {'lw [M/H]':>21s} {'mw [M/H]':>21s}   MAE of 16  CPU s")
    for method, answer in answers.items():
        cells = []
        for name in MEANS:
            error = (answer[name] - truth[name])[rows]
            cells.append(f"{np.median(error):+6.3f}/{mad_std(error):6.3f}/{np.std(error):6.3f}")
        mae = np.abs(answer["mass_fraction"] - truth["mass_fraction"])[rows].mean()
        print(f"{method:32s} {' '.join(f'{cell:>21s}' for cell in cells)}   {mae:9.4f}  {answer['cpu_s'].mean():.2g}")


def main():
    """Make mocks, fit them both ways, print tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", help="file of a released network, or name of one that ships with the package")
    parser.add_argument("--mocks", default="bc03-miles", help="stellar library of the mocks: name or path")
    parser.add_argument("--templates", default="bc03-miles", help="stellar library that pPXF gets")
    parser.add_argument("--n", type=int, default=2048, help="mocks for sfh_cnn")
    parser.add_argument("--n-ppxf", type=int, default=96, help="of these, mocks for pPXF")
    parser.add_argument("--modes", nargs="*", default=MODES, choices=MODES, help="ways of running pPXF")
    parser.add_argument("--regul", type=float, default=10.0, help="regularisation of pPXF")
    parser.add_argument("--range", type=float, nargs=2, help="rest-frame wavelengths to keep, Angstrom")
    parser.add_argument("--seed", type=int, default=99)
    args = parser.parse_args()
    torch.set_num_threads(1)
    threadpool_limits(1)

    known = SFHPredictor.available() if args.network is None or "." not in args.network else {}
    named = args.network is None or args.network in known
    predictor = SFHPredictor.pretrained(args.network) if named else SFHPredictor.from_file(args.network)
    dust = DustPrior(a_v_range=(0.0, 2.0))
    config = SynthesisConfig(libraries=(args.mocks,), observation=OBSERVATION, dust=dust, seed=args.seed)
    generator = MockGenerator(config)
    instrument, wave_aa = config.instrument, config.instrument.wavelength_grid.wave_aa
    inside = np.ones(len(wave_aa), dtype=bool)
    if args.range:
        inside = (wave_aa >= args.range[0]) & (wave_aa <= args.range[1])
    templates = Templates(SSPLibrary.read(args.templates), config.age_grid, (-2.0, 0.4))

    per_group = int(np.ceil(args.n_ppxf * GROUP / args.n)) if args.modes else 0
    truth, ours, theirs, chosen = [], [], [], []
    for mocks in make_groups(generator, args.n):
        mocks["mask"] |= ~inside
        redshift = float(mocks["redshift"][0])
        ours.append(run_ours(predictor, mocks, generator))
        rows = np.arange(min(per_group, len(mocks["flux"])))
        if len(rows) and sum(map(np.sum, chosen)) < args.n_ppxf:
            cut = {name: mocks[name][:, inside] for name in ("flux", "flux_err", "mask")}
            spread = line_spread(instrument, redshift)
            fitter = Fitter(templates, wave_aa[inside], redshift, spread, instrument.bands, args.regul)
            theirs.append(run_ppxf(fitter, args.modes, {**mocks, **cut}, rows))
            chosen.append(np.arange(len(mocks["flux"])) < len(rows))
        else:
            chosen.append(np.zeros(len(mocks["flux"]), dtype=bool))
        valid = np.where(mocks["mask"], np.nan, mocks["flux"] / mocks["flux_err"])
        scalars = dict(zip(SCALAR_NAMES, mocks["scalars"].T, strict=True))
        kept = {name: mocks[name] for name in ("mass_fraction", "family")}
        truth.append({**kept, **scalars, "snr": np.nanmedian(valid, axis=1)})

    truth, ours = _join(truth), _join(ours)
    chosen = np.concatenate(chosen)
    everything = np.ones(len(chosen), dtype=bool)
    print(f"network {predictor.contract.name} ({predictor.sha256[:12]}), mocks of {args.mocks}, seed {args.seed}")
    _report_groups("all mocks", {OURS: ours}, truth, everything, config)
    if chosen.any():
        answers = {OURS: {name: value[chosen] for name, value in ours.items()}}
        answers |= {f"pPXF {mode}": _join([part[mode] for part in theirs]) for mode in args.modes}
        print(f"\nThe mocks that pPXF fitted too; templates {args.templates}, regul {args.regul:g}")
        truth = {name: value[chosen] for name, value in truth.items()}
        _report_groups("the same mocks", answers, truth, chosen[chosen], config)


def _join(parts):
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _report_groups(title, answers, truth, rows, config):
    """Overall, by S/N tercile, and by family of star formation histories."""
    report(title, answers, truth, rows)
    low, high = np.quantile(truth["snr"], [1 / 3, 2 / 3])
    report(f"S/N < {low:.0f}", answers, truth, rows & (truth["snr"] < low))
    report(f"S/N {low:.0f}-{high:.0f}", answers, truth, rows & (truth["snr"] >= low) & (truth["snr"] < high))
    report(f"S/N > {high:.0f}", answers, truth, rows & (truth["snr"] >= high))
    for i, family in enumerate(config.sfh.families):
        members = rows & (truth["family"] == i)
        if members.any():
            report(family, answers, truth, members)


if __name__ == "__main__":
    main()
