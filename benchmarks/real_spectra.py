"""Compare sfh_cnn with pPXF on real spectra that come with other packages.

Usage:
    python benchmarks/real_spectra.py [--network FILE] [--write docs/user_guide/_real_spectra.csv]

NGC 3073 and NGC 3522 from SDSS (ppxf wheel) and the five good spectra of MaNGA among the test data of the sdss-mangadap
wheel, if that is installed. Both methods get the same pixels: the spectrum on the network's rest-frame grid, emission
lines masked by 400 km/s. pPXF fits BC03 templates in the network's age bins with Calzetti dust, without polynomials
and with multiplicative ones of order 4. Both quote means as sfh_cnn defines them.
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

QUANTITIES = {
    "light_weighted_log_age": "Log age, light",
    "mass_weighted_log_age": "Log age, mass",
    "light_weighted_metallicity": "[M/H], light",
    "mass_weighted_metallicity": "[M/H], mass",
    "a_v": "A_V",
}
#: Multiplicative polynomials of pPXF; 0 for none.
ORDERS = (0, 4)
#: Resolving power of both spectrographs, roughly: a standard deviation of 69 km/s.
SIGMA = 69.0 / 299792.458
UNIT = u.erg / u.s / u.cm**2 / u.AA
#: Spectra of the MaNGA file with a good S/N.
GOOD_MANGA = range(5)


def read_sdss():
    """Name and spectrum of each SDSS galaxy."""
    folder = Path(importlib.util.find_spec("ppxf").origin).parent / "spectra"
    for name, file in {"NGC 3073": "NGC3073_SDSS_DR18.fits", "NGC 3522": "NGC3522_SDSS_DR18.fits"}.items():
        with fits.open(folder / file) as hdus:
            table, redshift = hdus["COADD"].data, float(hdus["SPECOBJ"].data["z"][0])
            columns = [table[key].astype(float) for key in ("flux", "ivar")]
            yield name, _spectrum(10 ** table["loglam"].astype(float), *columns, table["and_mask"] > 0, redshift)


def read_manga():
    """Name and spectrum of each MaNGA spectrum; none without sdss-mangadap, which is not imported."""
    spec = importlib.util.find_spec("mangadap")
    if spec is None:
        return
    folder = Path(spec.submodule_search_locations[0]) / "data" / "tests"
    with fits.open(folder / "MaNGA_test_spectra.fits.gz") as hdus:
        for i in GOOD_MANGA:
            flux, ivar = (hdus[key].data[i].astype(float) for key in ("FLUX", "IVAR"))
            bad = (hdus["MASK"].data[i] > 0) | (ivar <= 0)
            yield f"MaNGA {i}", _spectrum(hdus["WAVE"].data.astype(float), flux, ivar, bad, float(hdus["Z"].data[i]))


def _spectrum(wave_aa, flux, ivar, mask, redshift):
    return Spectrum(
        spectral_axis=wave_aa * u.AA,
        flux=flux * 1e-17 * UNIT,
        uncertainty=InverseVariance(ivar * 1e34 / UNIT**2),
        mask=mask,
        redshift=redshift,
        meta={"medium": "vacuum"},
    )


def compare(name, spectrum, predictor, templates, calibration_error):
    """Rows of the table for one galaxy, and the differences from each way of running pPXF."""
    result = predictor.predict(spectrum, calibration_error=calibration_error, line_mask=400 * u.km / u.s).as_many()
    fitted = result.spectra
    flux, error, mask = (fitted[key][0] for key in ("flux", "flux_err", "mask"))
    unit = np.median(flux[~mask])
    flux, error = flux / unit, np.where(mask, 1.0, error / unit)
    fitter = Fitter(templates, fitted["wave_aa"], result.redshift[0], lambda wave_aa: SIGMA * wave_aa)
    fits_by_order = {order: fitter.fit("spectrum", flux, error, mask, mdegree=order) for order in ORDERS}
    ours = {"Spectrum": f"{name} (S/N {result.snr[0]:.0f})", "Method": predictor.contract.name}
    for key, label in QUANTITIES.items():
        value, (low, high) = getattr(result, key).value[0], (bound.value[0] for bound in result.interval(key))
        ours[label] = f"{value:.2f} ({low:.2f} to {high:.2f})"
    theirs = [
        {"Spectrum": "", "Method": f"pPXF, order {order}"}
        | {label: f"{fit[key]:.2f}" for key, label in QUANTITIES.items()}
        for order, fit in fits_by_order.items()
    ]
    chi2 = ", ".join(f"{order}: {fit['chi2']:.2f}" for order, fit in fits_by_order.items())
    print(name, "z", round(float(result.redshift[0]), 4), "flags", result.flag_names(0), "chi2 of pPXF", chi2)
    differences = [[getattr(result, key).value[0] - fit[key] for key in QUANTITIES] for fit in fits_by_order.values()]
    return [ours, *theirs], differences


def main():
    """Fit all spectra both ways and print, or write, a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", help="file of a released network; by default the one that ships")
    parser.add_argument("--calibration-error", type=float, default=0.01)
    parser.add_argument("--write", type=Path, help="CSV file for the documentation")
    args = parser.parse_args()
    torch.set_num_threads(1)
    threadpool_limits(1)
    predictor = SFHPredictor.from_file(args.network) if args.network else SFHPredictor.pretrained()
    print(f"network {predictor.contract.name} ({predictor.sha256[:12]}), calibration_error {args.calibration_error:g}")
    templates = Templates(SSPLibrary.read("bc03-miles"), predictor.contract.age_grid, (-2.0, 0.4))
    rows, differences = [], []
    for name, spectrum in [*read_sdss(), *read_manga()]:
        more, difference = compare(name, spectrum, predictor, templates, args.calibration_error)
        rows += more
        differences.append(difference)
    for order, middle in zip(ORDERS, np.median(differences, axis=0), strict=True):
        values = {label: f"{value:+.2f}" for label, value in zip(QUANTITIES.values(), middle, strict=True)}
        rows.append({"Spectrum": "Median difference", "Method": f"network - pPXF, order {order}"} | values)
    table = Table(rows)
    table.pprint_all()
    if args.write:
        table.write(args.write, format="ascii.csv", overwrite=True)


if __name__ == "__main__":
    main()
