"""The quantities of a result: name, unit, meaning, and the stored quantiles each one comes from."""

import dataclasses

import astropy.units as u

from sfh_cnn.core import DEX_LOG_AGE, FLUX_UNIT, METALLICITY_UNIT

__all__ = ["ARRAY_UNITS", "QUANTILE_KEYS", "QUANTITIES", "REQUIRED_KEYS", "QuantityInfo"]

_NONE = u.dimensionless_unscaled
_MASS_TO_LIGHT = u.M_sun / u.L_sun


def _same(values):
    return values


def _power(values):
    return 10.0**values


def _dex_yr_to_gyr(values):
    return 10.0 ** (values - 9)


@dataclasses.dataclass(frozen=True)
class QuantityInfo:
    """One quantity that a result can give.

    Parameters
    ----------
    unit : `~astropy.units.UnitBase`
        Unit at the public door.
    label : str
        Short name for axes and tables, without the unit.
    description : str
        One sentence.
    key : str, optional
        Stored quantiles it follows from by an increasing function; None if it is computed otherwise.
    from_stored : callable
        That function.
    axis : str
        "" for one number per spectrum, "bin" or "edge" for one per age bin or bin edge.
    needs_distance : bool
        True for masses and star formation rates.
    """

    unit: object
    label: str
    description: str
    key: str | None = None
    from_stored: object = _same
    axis: str = ""
    needs_distance: bool = False


#: Every quantity of `SFHResult`, `SFHDraws` and `SFHMaps`, by name.
QUANTITIES = {
    "mass_fraction": QuantityInfo(
        _NONE, "mass fraction", "share of the mass formed in each age bin", "q_mass_fraction", axis="bin"
    ),
    "light_fraction": QuantityInfo(
        _NONE,
        "light fraction",
        "share of the dust-free light at 5070-5950 Angstrom from each age bin",
        "q_light_fraction",
        axis="bin",
    ),
    "metallicity": QuantityInfo(METALLICITY_UNIT, "[M/H]", "metallicity of each age bin", "q_metallicity", axis="bin"),
    "mass_weighted_log_age": QuantityInfo(
        DEX_LOG_AGE, "mass-weighted log age", "mean of log10(age/yr) weighted by mass formed", "q_mass_weighted_log_age"
    ),
    "light_weighted_log_age": QuantityInfo(
        DEX_LOG_AGE, "light-weighted log age", "mean of log10(age/yr) weighted by V light", "q_light_weighted_log_age"
    ),
    "mass_weighted_age": QuantityInfo(
        u.Gyr,
        "mass-weighted age",
        "10 to the mean of log10(age/yr) weighted by mass formed",
        "q_mass_weighted_log_age",
        _dex_yr_to_gyr,
    ),
    "light_weighted_age": QuantityInfo(
        u.Gyr,
        "light-weighted age",
        "10 to the mean of log10(age/yr) weighted by V light",
        "q_light_weighted_log_age",
        _dex_yr_to_gyr,
    ),
    "mass_weighted_metallicity": QuantityInfo(
        METALLICITY_UNIT, "mass-weighted [M/H]", "mean [M/H] weighted by mass formed", "q_mass_weighted_metallicity"
    ),
    "light_weighted_metallicity": QuantityInfo(
        METALLICITY_UNIT, "light-weighted [M/H]", "mean [M/H] weighted by V light", "q_light_weighted_metallicity"
    ),
    "a_v": QuantityInfo(u.mag, "A_V", "attenuation of the diffuse dust in V", "q_a_v"),
    "mass_to_light": QuantityInfo(
        _MASS_TO_LIGHT,
        "M/L_V",
        "mass formed per dust-free light of 5070-5950 Angstrom in bolometric L_sun",
        "q_log_mass_to_light",
        _power,
    ),
    "mass_to_light_attenuated": QuantityInfo(
        _MASS_TO_LIGHT,
        "attenuated M/L_V",
        "the same per observed (attenuated) light",
        "q_log_mass_to_light_attenuated",
        _power,
    ),
    "recent_fraction": QuantityInfo(
        _NONE,
        "mass fraction < 100 Myr",
        "share of the mass formed in the last 100 Myr",
        "q_log_recent_fraction",
        _power,
    ),
    "mass_formed": QuantityInfo(u.M_sun, "mass formed", "total mass of stars ever formed", needs_distance=True),
    "mass_surviving": QuantityInfo(
        u.M_sun,
        "mass surviving",
        "mass that survives, as the stellar library counts it (BC03: living stars)",
        needs_distance=True,
    ),
    "sfr": QuantityInfo(
        u.M_sun / u.yr,
        "star formation rate",
        "mean star formation rate of each age bin",
        axis="bin",
        needs_distance=True,
    ),
    "recent_sfr": QuantityInfo(
        u.M_sun / u.yr, "SFR (100 Myr)", "mean star formation rate of the last 100 Myr", needs_distance=True
    ),
    "specific_sfr": QuantityInfo(
        u.yr**-1, "specific SFR", "star formation rate of the last 100 Myr per surviving stellar mass"
    ),
    "cumulative_mass": QuantityInfo(
        _NONE, "mass formed before", "share of the mass formed before each bin edge", axis="edge"
    ),
    "t50": QuantityInfo(u.Gyr, "t50", "lookback time at which 50 per cent of the mass had formed"),
    "t80": QuantityInfo(u.Gyr, "t80", "lookback time at which 80 per cent of the mass had formed"),
    "t90": QuantityInfo(u.Gyr, "t90", "lookback time at which 90 per cent of the mass had formed"),
}

#: Stored quantiles: 7 levels on the last axis.
QUANTILE_KEYS = (
    "q_mass_fraction",
    "q_light_fraction",
    "q_metallicity",
    "q_mass_weighted_log_age",
    "q_light_weighted_log_age",
    "q_mass_weighted_metallicity",
    "q_light_weighted_metallicity",
    "q_a_v",
    "q_log_mass_to_light",
    "q_log_mass_to_light_attenuated",
    "q_log_recent_fraction",
)

#: Everything a result must be made with.
REQUIRED_KEYS = (
    "mass_fraction",
    "light_fraction",
    *QUANTILE_KEYS,
    "flags",
    "snr",
    "redshift",
    "calibration_error",
    "reduced_chi2",
    "unusualness",
    "v_flux",
    "distance_mpc",
    "surviving_fraction",
    "latent",
)

#: Unit of each stored array that has one.
ARRAY_UNITS = {
    "q_metallicity": METALLICITY_UNIT,
    "q_mass_weighted_log_age": DEX_LOG_AGE,
    "q_light_weighted_log_age": DEX_LOG_AGE,
    "q_mass_weighted_metallicity": METALLICITY_UNIT,
    "q_light_weighted_metallicity": METALLICITY_UNIT,
    "q_a_v": u.mag,
    "q_log_mass_to_light": u.dex(_MASS_TO_LIGHT),
    "q_log_mass_to_light_attenuated": u.dex(_MASS_TO_LIGHT),
    "q_log_recent_fraction": u.dex,
    "v_flux": FLUX_UNIT,
    "distance_mpc": u.Mpc,
    "draw_metallicity": METALLICITY_UNIT,
    "draw_a_v": u.mag,
    "draw_log_mass_to_light": u.dex(_MASS_TO_LIGHT),
    "draw_log_mass_to_light_attenuated": u.dex(_MASS_TO_LIGHT),
    "wave_aa": u.AA,
    "flux": FLUX_UNIT,
    "flux_err": FLUX_UNIT,
    "band_flux": FLUX_UNIT,
    "band_flux_err": FLUX_UNIT,
    "model_flux": FLUX_UNIT,
    "model_band_flux": FLUX_UNIT,
}
