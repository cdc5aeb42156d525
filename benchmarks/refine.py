"""What refinement by the exact posterior gives and costs, on mocks.

Usage:
    python benchmarks/refine.py                                  S/N 30 and 100, calibration error 1 per cent
    python benchmarks/refine.py --snr 20 --calibration-error 0 --n 40 --seed 3

Mocks of the network's own prior and library with all five bands, the full wavelength range, no emission lines. For
the network and for the refined posterior: 1.4826 MAD and rms of the error, median half width of the 68 per cent
intervals, and the shares of truths in the 68 and 95 per cent intervals; refined spectra only (enough effective draws).
Seconds are processor time; one thread.
"""

import argparse
import dataclasses
import time

import astropy.units as u
import numpy as np
import torch
from astropy.nddata import StdDevUncertainty
from astropy.table import QTable
from specutils import Spectrum
from threadpoolctl import threadpool_limits

from sfh_cnn import SFHPredictor
from sfh_cnn.core import Flag
from sfh_cnn.core.constants import SCALAR_NAMES
from sfh_cnn.prediction.refine import Refiner
from sfh_cnn.synthesis import MockGenerator
from sfh_cnn.training import mad_std

QUANTITIES = (*SCALAR_NAMES[:4], "a_v")
UNIT = 1e-17 * u.erg / u.s / u.cm**2 / u.AA


def observation(prior, snr, calibration_error):
    """Complete spectra of one S/N with all bands."""
    return dataclasses.replace(
        prior,
        snr_range=(snr, snr),
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


def main():
    """Make mocks, predict, refine, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", default="phangs-muse-hst-bc03", help="released network")
    parser.add_argument("--snr", type=float, nargs="*", default=[30.0, 100.0])
    parser.add_argument("--calibration-error", type=float, default=0.01, help="largest rms of smooth errors")
    parser.add_argument("--n", type=int, default=20, help="mocks of each S/N")
    parser.add_argument("--seed", type=int, default=777)
    args = parser.parse_args()
    torch.set_num_threads(1)
    threadpool_limits(1)
    predictor = SFHPredictor.pretrained(args.network)
    refiner = Refiner(predictor.contract)
    config, libraries = refiner.generator.config, refiner.generator.libraries
    for snr in args.snr:
        seen = observation(config.observation, snr, args.calibration_error)
        mocks = make_mocks(
            MockGenerator(dataclasses.replace(config, observation=seen, seed=args.seed), libraries), args.n
        )
        network = predict(predictor, config, mocks)
        start = time.process_time()
        refined = refiner.refine(network)
        cpu_s = (time.process_time() - start) / args.n
        rows = (refined.flags & Flag.LOW_SAMPLE_SIZE) == 0
        size = refined.effective_sample_size
        print(f"\nS/N {snr:g}: {rows.sum()} of {args.n} refined, {cpu_s:.1f} s per spectrum")
        print(f"effective sample size: median {np.median(size):.0f}, from {size.min():.0f} to {size.max():.0f}")
        print(f"{'':30s} {'network':>32s} {'refined':>32s}")
        for name in QUANTITIES if rows.any() else ():
            truth = mocks["scalars"][rows, SCALAR_NAMES.index(name)]
            cells = []
            for result in (network, refined):
                q = result.arrays[f"q_{name}"][rows]
                error = q[:, 3] - truth
                inside = [np.mean((truth >= q[:, i]) & (truth <= q[:, -1 - i])) for i in (1, 0)]
                width = np.median(q[:, 5] - q[:, 1]) / 2
                cells.append(
                    f"{mad_std(error):.3f} {np.sqrt(np.mean(error**2)):.3f} {width:.3f} {inside[0]:.2f} {inside[1]:.2f}"
                )
            print(f"{name:30s} {cells[0]:>32s} {cells[1]:>32s}")


if __name__ == "__main__":
    main()
