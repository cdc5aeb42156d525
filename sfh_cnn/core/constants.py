"""Numbers that nature or convention fixes, each with its source."""

#: Speed of light in km/s (CODATA, exact).
C_KMS = 299792.458

#: Luminosity of the Sun in erg/s (IAU 2015 Resolution B3, nominal).
L_SUN_ERG_S = 3.828e33

#: Most negative redshift that is a galaxy and not a mistake: -900 km/s, beyond the fastest approaching ones of Virgo.
LOWEST_REDSHIFT = -0.003

#: Rest-frame V-band window in Angstrom: light fractions, light-weighted means and
#: mass-to-light ratios use the mean L_lambda over it.
V_WINDOW_AA = (5070.0, 5950.0)

#: Edges of the default 16 age bins in yr: 0, then 16 log-spaced edges from 10 Myr to 13.8 Gyr.
DEFAULT_AGE_RANGE_YR = (1.0e7, 1.38e10)
DEFAULT_N_AGE = 16

#: 1 FWHM of a Gaussian in units of its standard deviation, 2 sqrt(2 ln 2).
FWHM_PER_SIGMA = 2.3548200450309493

#: Quantile levels that the network predicts for every quantity; 0.5 is the point estimate
#: and the others bound the central 50, 68.27 and 95.45 per cent intervals.
QUANTILE_LEVELS = (0.022750, 0.158655, 0.25, 0.5, 0.75, 0.841345, 0.977250)

#: Version of the released-network file format (see ``network/artifact.py``).
NETWORK_FORMAT_VERSION = 1

#: Version of the result file format (see ``results/fits_io.py``).
RESULT_FORMAT_VERSION = 1

#: "Recent" in log_recent_fraction, yr.
RECENT_YR = 1.0e8
#: Floor of log_recent_fraction, dex, of truths, quantiles and draws alike.
LOG_RECENT_FLOOR = -5.0

#: Derived quantities for which the network predicts quantiles of their own, in the order of its output:
#: mean log10(age/yr) and [M/H] weighted by mass and by light; A_V (mag); log10 of M_sun formed per L_sun
#: in the V window, without and with dust; log10 of the mass share formed in the last RECENT_YR;
#: velocity dispersion and velocity relative to the given redshift (km/s).
SCALAR_NAMES = (
    "mass_weighted_log_age",
    "light_weighted_log_age",
    "mass_weighted_metallicity",
    "light_weighted_metallicity",
    "a_v",
    "log_mass_to_light",
    "log_mass_to_light_attenuated",
    "log_recent_fraction",
    "velocity_dispersion",
    "velocity",
)
