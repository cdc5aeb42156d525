"""What refinement by the exact posterior gives and costs, on mocks.

Usage:
    python benchmarks/refine.py                                  S/N 15, 30, 60 and 100, calibration errors up to 1 %
    python benchmarks/refine.py --write docs/user_guide          the tables of the documentation
    python benchmarks/refine.py --snr 20 --calibration-error 0 --n 40 --seed 3

Mocks of the network's own prior and library with all five bands, the full wavelength range, no emission lines. By S/N:
the effective number of draws (median and least), the share of spectra whose answer was refined, and for these, over the
four means and A_V: refined over network's widths of the 68 per cent intervals and rms errors (medians and means of the
five ratios), and the shares of truths inside the 68 per cent intervals of both. Seconds are processor time, one thread.

Then, at the first S/N, how often each flag is raised: on these spectra, when the network's quantiles are shifted, and
when the spectra have smooth errors of 3 per cent of which nobody was told.
"""

import argparse
import dataclasses
import time
from pathlib import Path

import astropy.units as u
import numpy as np
import torch
from astropy.nddata import StdDevUncertainty
from astropy.table import QTable, Table
from specutils import Spectrum
from threadpoolctl import threadpool_limits

from sfh_cnn import SFHPredictor, SFHResult
from sfh_cnn.core import Flag
from sfh_cnn.core.constants import SCALAR_NAMES
from sfh_cnn.prediction.refine import Refiner, disagree
from sfh_cnn.synthesis import MockGenerator

QUANTITIES = (*SCALAR_NAMES[:4], "a_v")
UNIT = 1e-17 * u.erg / u.s / u.cm**2 / u.AA


def observation(config, snr, calibration_error):
    """Complete spectra of one S/N with all bands."""
    per_pixel = snr * (config.instrument.wave_step_aa / 1.25) ** 0.5
    return dataclasses.replace(
        config.observation,
        snr_range=(per_pixel, per_pixel),
        calibration_error_max=max(calibration_error, 1e-6),
        no_calibration_error_share=float(calibration_error == 0),
        full_coverage_share=1.0,
        masked_share=0.0,
        emission_share=0.0,
        no_bands_share=0.0,
        some_bands_share=0.0,
    )


def make_mocks(generator, n):
    """Mocks that each have a redshift and a velocity dispersion of their own."""
    parts = [generator.chunk(index, 1) for index in range(n)]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def predict(predictor, config, mocks):
    """The network's answer through the public interface."""
    wave = config.instrument.wavelength_grid.wave_aa
    rows = zip(mocks["flux"], mocks["flux_err"], mocks["mask"], mocks["redshift"], strict=True)
    spectra = [
        Spectrum(
            spectral_axis=wave * (1 + float(z)) * u.AA,
            flux=flux * UNIT,
            uncertainty=StdDevUncertainty(err * UNIT),
            mask=mask,
            meta={"medium": "air"},
        )
        for flux, err, mask, z in rows
    ]
    bands = QTable()
    for i, name in enumerate(config.instrument.bands):
        bands[name], bands[f"{name}_err"] = mocks["band_flux"][:, i] * UNIT, mocks["band_flux_err"][:, i] * UNIT
    return predictor.predict(spectra, bands, redshift=mocks["redshift"], calibration_error=mocks["calibration_error"])


def refine_all(refiner, network, progress):
    """Refine one spectrum after the other: results with a leading axis of 1, and seconds."""
    out = []
    for i in range(len(network)):
        start = time.process_time()
        one = refiner.refine(network[[i]])
        out.append((one, time.process_time() - start))
        size = one.effective_sample_size[0]
        print(f"{progress}: {i + 1} of {len(network)}, {size:.0f} draws, {out[-1][1]:.1f} s", flush=True)
    return SFHResult.concatenate([one for one, _ in out]), np.mean([cpu_s for _, cpu_s in out])


def row_of(snr, network, refined, truth, cpu_s):
    """One row of the table; ``truth`` (n, n_quantity)."""
    good = (refined.flags & (Flag.LOW_SAMPLE_SIZE | Flag.POOR_RECONSTRUCTION)) == 0
    size = refined.effective_sample_size
    width, error, inside = [], [], []
    for result in (network, refined):
        q = np.stack([result.arrays[f"q_{name}"][good] for name in QUANTITIES], axis=1)  # (n, n_quantity, n_level)
        width.append(q[..., 5] - q[..., 1])
        error.append(np.sqrt(np.mean((q[..., 3] - truth[good]) ** 2, axis=0)))
        inside.append(np.mean((truth[good] >= q[..., 1]) & (truth[good] <= q[..., 5])))
    return {
        "S/N": f"{snr:g}",
        "Mocks": len(good),
        "Effective draws": f"{np.median(size):.0f} ({size.min():.0f})",
        "Refined, %": f"{100 * good.mean():.0f}",
        "Width": f"{np.median(width[1] / width[0]):.2f}",
        "Error": f"{np.mean(error[1] / error[0]):.2f}",
        "In 68 %, network": f"{100 * inside[0]:.0f}",
        "In 68 %, refined": f"{100 * inside[1]:.0f}",
        "Seconds": f"{cpu_s:.1f}",
    }


def widths_of(snr, network, refined, truth):
    """Rows: for each quantity the median half width of the 68 per cent intervals and the rms error of both answers."""
    good = (refined.flags & (Flag.LOW_SAMPLE_SIZE | Flag.POOR_RECONSTRUCTION)) == 0
    rows = []
    for i, name in enumerate(QUANTITIES):
        row = {"S/N": f"{snr:g}", "Quantity": name}
        for label, result in (("network", network), ("refined", refined)):
            q = result.arrays[f"q_{name}"][good]
            row[f"Half width, {label}"] = f"{np.median(q[:, 5] - q[:, 1]) / 2:.3f}"
            row[f"Error, {label}"] = f"{np.sqrt(np.mean((q[:, 3] - truth[good, i]) ** 2)):.3f}"
        rows.append(row)
    return rows


def flags_of(name, result):
    """One row: how often each flag is raised, per cent."""
    flags = (Flag.NETWORK_OFF, Flag.LOW_SAMPLE_SIZE, Flag.POOR_RECONSTRUCTION)
    return {"Case": name} | {flag.name: f"{100 * np.mean((result.flags & flag) != 0):.0f}" for flag in flags}


def shifted(network, refined, by):
    """Flags of a network whose quantiles are off by so many half widths; the exact posterior is the same."""
    off = SFHResult.concatenate([refined])
    for i in range(len(refined)):
        off.arrays["flags"][i] &= ~int(Flag.NETWORK_OFF)
        if off.arrays["flags"][i] & (Flag.LOW_SAMPLE_SIZE | Flag.POOR_RECONSTRUCTION):
            continue
        wrong = {
            key: network.arrays[key][i] + by * (network.arrays[key][i, 5] - network.arrays[key][i, 1]) / 2
            for key in (f"q_{name}" for name in QUANTITIES)
        }
        if disagree(wrong, {key: refined.arrays[key][i] for key in wrong}):
            off.arrays["flags"][i] |= int(Flag.NETWORK_OFF)
    return off


def show(folder, **tables):
    """Print tables so far and write them."""
    for name, rows in tables.items():
        table = Table(rows)
        table.pprint_all()
        if folder:
            table.write(folder / f"_{name}.csv", format="ascii.csv", overwrite=True)


def main():
    """Make mocks, predict, refine, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", default="phangs-muse-hst-bc03", help="released network")
    parser.add_argument("--snr", type=float, nargs="*", default=[30.0, 15.0, 60.0, 100.0], help="per 1.25 Angstrom")
    parser.add_argument("--calibration-error", type=float, default=0.01, help="largest rms of smooth errors")
    parser.add_argument("--n", type=int, default=50, help="mocks of each S/N")
    parser.add_argument("--n-wrong", type=int, default=8, help="mocks with smooth errors that nobody was told of")
    parser.add_argument("--seed", type=int, default=777)
    parser.add_argument("--write", type=Path, help="folder for the CSV files of the documentation")
    args = parser.parse_args()
    torch.set_num_threads(1)
    threadpool_limits(1)
    predictor = SFHPredictor.pretrained(args.network)
    refiner = Refiner(predictor.contract)
    config, libraries = refiner.generator.config, refiner.generator.libraries

    def mocks_of(snr, calibration_error, n):
        seen = observation(config, snr, calibration_error)
        return make_mocks(MockGenerator(dataclasses.replace(config, observation=seen, seed=args.seed), libraries), n)

    rows, flags, widths = [], [], []
    for snr in args.snr:
        mocks = mocks_of(snr, args.calibration_error, args.n)
        network = predict(predictor, config, mocks)
        refined, cpu_s = refine_all(refiner, network, f"S/N {snr:g}")
        truth = mocks["scalars"][:, [SCALAR_NAMES.index(name) for name in QUANTITIES]]
        rows.append(row_of(snr, network, refined, truth, cpu_s))
        widths += widths_of(snr, network, refined, truth)
        if not flags:
            flags.append(flags_of("as trained", refined))
            flags += [flags_of(f"network shifted by {by} half widths", shifted(network, refined, by)) for by in (2, 4)]
        rows.sort(key=lambda row: float(row["S/N"]))
        show(
            args.write, refine=rows, refine_flags=flags, refine_widths=sorted(widths, key=lambda row: float(row["S/N"]))
        )
    if args.n_wrong:
        snr = args.snr[0]
        wrong = mocks_of(snr, 0.03, args.n_wrong)
        wrong["calibration_error"][:] = 0.0
        refined, _ = refine_all(refiner, predict(predictor, config, wrong), "errors of 3 %")
        flags.append(flags_of("smooth errors up to 3 %, stated as 0", refined))
        show(args.write, refine_flags=flags)


if __name__ == "__main__":
    main()
