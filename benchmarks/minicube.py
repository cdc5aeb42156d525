"""A real galaxy the whole way: the brightest one of Abell 478, MUSE and HST, from the data of the package mpdaf.

python benchmarks/minicube.py --figure docs/_static/minicube.png > docs/user_guide/_minicube.txt
"""

import argparse
import importlib.util
from pathlib import Path

import astropy.units as u
import numpy as np
import torch

from sfh_cnn import SFHPredictor
from sfh_cnn.photometry import match_images
from sfh_cnn.plotting import plot_maps, write_viewer
from sfh_cnn.prediction import attach_spectra, register_images, zero_point_ratios
from sfh_cnn.spectra import open_cube

#: Redshift of the lines; foreground of the Milky Way, mag; luminosity distance for H0 = 70 km/s/Mpc.
REDSHIFT, E_BV, DISTANCE = 0.0857, 0.45, 390 * u.Mpc
#: Resolution of the cube and of WFPC2, arcsec.
SEEING, IMAGE_FWHM = 0.9 * u.arcsec, 0.15 * u.arcsec
#: Resampling makes neighbouring spaxels share noise.
NOISE_CORRELATION = 1.5
#: The gas of the cooling flow shines in broad lines.
LINE_MASK = 500 * u.km / u.s
MEANS = ("light_weighted_log_age", "mass_weighted_log_age", "light_weighted_metallicity", "a_v")


def main():
    """Compare the image with the cube, predict with and without it, print and draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--figure", help="picture of the maps")
    parser.add_argument("--html", help="page of the maps")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    folder = Path(importlib.util.find_spec("mpdaf").origin).parent / "data" / "sdetect"
    path, source = folder / "minicube.fits", {"F814W": folder / "a478hst-cutout.fits"}
    cube = open_cube(path)
    options = {"cube_fwhm": SEEING, "image_fwhm": IMAGE_FWHM, "calibration_error": 0.05}
    images = match_images(source, cube.wcs, cube.shape[1:], **options)
    ratio, scatter, _ = zero_point_ratios(cube, images)["F814W"]
    print(f"image over cube as they are: {ratio:.2f}, scatter {scatter:.2f}")
    found = register_images(cube, images)["F814W"]
    print(f"coordinates of the image off by {-found.east:.2f} to the east, {-found.north:.2f} to the north")
    print(f"background of the image {found.background:.3g} per spaxel")
    print(f"image over cube after both: {found.ratio:.3f}, scatter {found.scatter:.3f}")
    images = match_images(source, cube.wcs, cube.shape[1:], shifts={"F814W": (found.east, found.north)}, **options)
    flux, error = images["F814W"]
    images = {"F814W": (flux - found.background, error)}
    predictor = SFHPredictor.pretrained()
    print(f"network {predictor.contract.name} ({predictor.sha256[:12]})")
    for label, bands in (("cube alone", None), ("cube and F814W", images)):
        maps = predictor.predict_cube(
            path, images=bands, redshift=REDSHIFT, ebv=E_BV, distance=DISTANCE, target_snr=15,
            noise_correlation=NOISE_CORRELATION, line_mask=LINE_MASK, progress_bar=False,
        )  # fmt: skip
        print(f"{label}: {maps.result.n_spec} bins")
        for i, one in enumerate(maps.result):
            cells = []
            for name in MEANS:
                low, high = (end.value for end in one.interval(name))
                cells.append(f"{getattr(one, name).value:6.2f} ({low:.2f} to {high:.2f})")
            flags = ", ".join(one.flag_names()) or "-"
            print(f"  bin {i}, {np.sum(maps.bin_id == i):4d} spaxels, S/N {one.snr:3.0f}: {'  '.join(cells)}  {flags}")
    if arguments.figure:
        plot_maps(maps).savefig(arguments.figure, dpi=80)
    if arguments.html:
        seen = attach_spectra(predictor, maps, path, ebv=E_BV, line_mask=LINE_MASK, noise_correlation=NOISE_CORRELATION)
        write_viewer(seen, arguments.html, title="Abell 478, brightest galaxy", overwrite=True)


if __name__ == "__main__":
    main()
