"""Compare sfh_cnn with pPXF on the two SDSS spectra that ship with pPXF: NGC 3073 and NGC 3522.

Usage:
    python benchmarks/sdss_comparison.py [--network FILE] [--write docs/user_guide/_sdss_comparison.csv]

Both get the same pixels: the spectrum on the network's rest-frame grid, emission lines masked by 400 km/s. pPXF
fits BC03 templates in the network's age bins with Calzetti dust, without polynomials and with multiplicative ones of
order 4. Both quote means as sfh_cnn defines them.
"""

import argparse
import importlib.util
from pathlib import Path

import astropy.units as u
import numpy as np
import torch
from astropy.io import fits
from astropy.nddata import InverseVariance
from astropy.table import Table
from ppxf_fit import Fitter, Templates
from specutils import Spectrum
from threadpoolctl import threadpool_limits

from sfh_cnn import SFHPredictor
from sfh_cnn.ssp import SSPLibrary

GALAXIES = {"NGC 3073": "NGC3073_SDSS_DR18.fits", "NGC 3522": "NGC3522_SDSS_DR18.fits"}
QUANTITIES = {
    "light_weighted_log_age": "log age, light",
    "mass_weighted_log_age": "log age, mass",
    "light_weighted_metallicity": "[M/H], light",
    "mass_weighted_metallicity": "[M/H], mass",
    "a_v": "A_V",
}
#: Multiplicative polynomials of pPXF; 0 for none.
ORDERS = (0, 4)
#: Resolving power of the SDSS spectrograph, roughly: a standard deviation of 69 km/s.
SDSS_SIGMA = 69.0 / 299792.458
UNIT = u.erg / u.s / u.cm**2 / u.AA


def read_sdss(path):
    """A spectrum in vacuum and its redshift."""
    with fits.open(path) as hdus:
        table, redshift = hdus["COADD"].data, float(hdus["SPECOBJ"].data["z"][0])
        spectrum = Spectrum(
            spectral_axis=10 ** table["loglam"].astype(float) * u.AA,
            flux=table["flux"].astype(float) * 1e-17 * UNIT,
            uncertainty=InverseVariance(table["ivar"].astype(float) * 1e34 / UNIT**2),
            mask=table["and_mask"] > 0,
            redshift=redshift,
            meta={"medium": "vacuum"},
        )
    return spectrum, redshift


def main():
    """Fit both galaxies both ways and print, or write, a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", help="file of a released network; by default the one that ships")
    parser.add_argument("--calibration-error", type=float, default=0.01)
    parser.add_argument("--write", type=Path, help="CSV file for the documentation")
    args = parser.parse_args()
    torch.set_num_threads(1)
    threadpool_limits(1)
    predictor = SFHPredictor.from_file(args.network) if args.network else SFHPredictor.pretrained()
    templates = Templates(SSPLibrary.read("bc03-miles"), predictor.contract.age_grid, (-2.0, 0.4))
    folder = Path(importlib.util.find_spec("ppxf").origin).parent / "spectra"
    rows = []
    for name, file in GALAXIES.items():
        spectrum, redshift = read_sdss(folder / file)
        result = predictor.predict(
            spectrum, calibration_error=args.calibration_error, line_mask=400 * u.km / u.s
        ).as_many()
        fitted = result.spectra
        flux, error, mask = (fitted[key][0] for key in ("flux", "flux_err", "mask"))
        unit = np.median(flux[~mask])
        flux, error = flux / unit, np.where(mask, 1.0, error / unit)
        fitter = Fitter(templates, fitted["wave_aa"], redshift, lambda wave_aa: SDSS_SIGMA * wave_aa)
        fits = [fitter.fit("spectrum", flux, error, mask, mdegree=order) for order in ORDERS]
        for key, label in QUANTITIES.items():
            ours = float(getattr(result, key).value[0])
            low, high = (float(bound.value[0]) for bound in result.interval(key))
            theirs = [f"{fit[key]:.2f} ({ours - fit[key]:+.2f})" for fit in fits]
            rows.append((name, label, f"{ours:.2f}", f"{low:.2f} to {high:.2f}", *theirs))
        chi2 = " and ".join(f"{fit['chi2']:.3f}" for fit in fits)
        print(f"reduced chi2 of pPXF by order of polynomials {ORDERS}: {chi2}")
        print(name, "z", round(redshift, 5), "S/N", round(float(result.snr[0]), 1), "flags", result.flag_names(0))
    columns = [f"pPXF, order {order} (ours - pPXF)" for order in ORDERS]
    table = Table(rows=rows, names=["Galaxy", "Quantity", "sfh_cnn", "68 % interval", *columns])
    print(f"network {predictor.contract.name} ({predictor.sha256[:12]}), calibration_error {args.calibration_error:g}")
    table.pprint_all()
    if args.write:
        table.write(args.write, format="ascii.csv", overwrite=True)


if __name__ == "__main__":
    main()
