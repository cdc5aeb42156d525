"""
Maps from a cube
================

A small galaxy with an old bulge and a young, metal-poor disc, observed by something like MUSE: bins, maps, profiles,
masses. Since we make it ourselves we know what should come out. A real cube goes the same way, as a file:
``predictor.predict_cube("DATACUBE.fits", ...)``.
"""

# %%
# The galaxy
# ----------
# Two populations of the BC03-MILES library (extra ``synthesis``) and two exponentials on the sky.

import astropy.units as u
import matplotlib.pyplot as plt
import numpy as np
from astropy.wcs import WCS
from scipy.ndimage import gaussian_filter1d

from sfh_cnn import SFHMaps, SFHPredictor, SSPLibrary
from sfh_cnn.plotting import plot_map, plot_maps, plot_profile, plot_sfh

library = SSPLibrary.read("bc03-miles")
redshift, distance = 0.0024, 10 * u.Mpc
wave_aa = np.arange(4750.0, 8800.0, 1.25)  # observed, air


def observed_spectrum(age_yr, weights, metallicity):
    """Light of a population (erg/s/cm2/Angstrom per M_sun formed) at 10 Mpc, lines as wide as 90 km/s."""
    flux = weights @ library.interpolate(age_yr, metallicity) * (u.L_sun / u.AA)
    flux = (flux / (4 * np.pi * distance**2)).to_value("erg / (s cm2 Angstrom)")
    rest_aa = library.wavelength.to_value(u.AA)
    log_aa = np.arange(np.log(4700), np.log(8900), 2e-5)
    broad = gaussian_filter1d(np.interp(np.exp(log_aa), rest_aa, flux), 90 / 299792 / 2e-5)
    return np.interp(wave_aa / (1 + redshift), np.exp(log_aa), broad) / (1 + redshift)


age = np.linspace(0.05e9, 13e9, 200)
old = observed_spectrum(age, np.exp(-0.5 * ((age - 10e9) / 1e9) ** 2) / 3.86e1, 0.1)
young = observed_spectrum(age[age < 8e9], np.full((age < 8e9).sum(), 1 / (age < 8e9).sum()), -0.3)

n = 26
y, x = np.indices((n, n)) - (n - 1) / 2
radius = np.hypot(x, y / 0.8)
mass = {"old": 4e5 * np.exp(-radius / 3), "young": 1.0e5 * np.exp(-radius / 9)}  # M_sun formed per spaxel
flux = mass["old"] * old[:, None, None] + mass["young"] * young[:, None, None]

# %%
# A cube for specutils, with noise and coordinates:

rng = np.random.default_rng(0)
error = np.sqrt(flux * flux.max()) / 60  # photon noise, S/N 60 in the middle
wcs = WCS(naxis=3)
wcs.wcs.ctype = ["RA---TAN", "DEC--TAN", "AWAV"]
wcs.wcs.cunit = ["deg", "deg", "Angstrom"]
wcs.wcs.crval, wcs.wcs.crpix = [40.0, -10.0, wave_aa[0]], [(n + 1) / 2, (n + 1) / 2, 1]
wcs.wcs.cdelt = [-0.5 / 3600, 0.5 / 3600, 1.25]
unit = u.Unit("erg / (s cm2 Angstrom)")
cube = ((flux + error * rng.standard_normal(flux.shape)) * unit, wcs)

# %%
# From cube to maps
# -----------------
# Bins of S/N 50; each spaxel of a bin shows the bin's history.

predictor = SFHPredictor.pretrained()
maps = predictor.predict_cube(
    cube, variance=error**2, redshift=redshift, distance=distance, target_snr=50, calibration_error=0
)
maps

# %%
plot_maps(maps)

# %%
# Masses need a distance; per area they also need the size of a spaxel, which the WCS knows.

density = maps.surface_density("mass_surviving").to("M_sun / pc2")
print(f"surface density in the centre: {density[n // 2, n // 2]:.0f}")
print(f"all stars formed: {maps.sum().mass_formed:.3g}; truth: {(mass['old'] + mass['young']).sum() * u.M_sun:.3g}")
plot_map(maps, "mass_formed")

# %%
# Profiles
# --------
# The stars of each annulus are stacked, weighted by mass or light as the quantity asks for. Two populations of one
# metallicity each are not what the smooth enrichment histories of the prior expect; the gradient is found, and the
# offset from the truth is of the size that ``sfh-cnn info`` quotes as scatter. The error bars are much smaller: a sum
# takes the errors of its bins to be independent, and what the prior does to all of them alike is not in them.

profile = maps.radial_profile(((n - 1) / 2, (n - 1) / 2), step=1.5 * u.arcsec)
share = np.array(
    [
        mass["old"][ring].sum() / (mass["old"] + mass["young"])[ring].sum()
        for low, high in zip(profile.inner.value, profile.outer.value)
        for ring in [(np.hypot(x, y) * 0.5 >= low) & (np.hypot(x, y) * 0.5 < high)]
    ]
)
figure, axes = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
axes[0].set_title("Metallicity")
axes[1].set_title("Mass formed")
plot_profile(profile, "mass_weighted_metallicity", axes[0])
axes[0].plot(profile.radius.value, share * 0.1 + (1 - share) * -0.3, color="#4D4D4D", label="truth")
axes[0].legend()
for i, color in ((0, "#D55E00"), (len(profile.result) - 1, "#0072B2")):
    plot_sfh(profile.result[i], axes[1], kind="cumulative", time="linear", color=color, label=f"annulus {i + 1}")
axes[1].legend()

# %%
# Regions, places and files
# -------------------------
# ``maps[y, x]`` and ``maps.at(SkyCoord)`` give the history of one place, ``maps.sum(region)`` that of a region.

centre = maps[n // 2, n // 2]
centre

# %%
maps.write("maps.fits", overwrite=True)
print(SFHMaps.read("maps.fits"))
