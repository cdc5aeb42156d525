"""Limits beyond which a prediction is flagged, from the card of its network."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

__all__ = ["band_limit", "chi2_limit", "doubtful_velocity", "effective_snr"]

#: For a card that says nothing.
_CHI2_LIMIT = 3.0
#: A velocity counts as beyond the trained range from this multiple of it on: the median is uncertain too.
_VELOCITY_MARGIN = 1.1


def effective_snr(snr: np.ndarray, calibration_error: np.ndarray) -> np.ndarray:
    """S/N per pixel of noise and calibration error together.

    Parameters
    ----------
    snr, calibration_error : ndarray

    Returns
    -------
    ndarray
    """
    return 1.0 / np.hypot(1.0 / np.maximum(snr, 1e-3), calibration_error)


def chi2_limit(contract, snr, calibration_error):
    """Reduced chi2 that few spectra of the trained kind exceed, by effective S/N.

    What models lack shows where the noise is low: one limit for all would see nothing where it is high.

    Parameters
    ----------
    contract : `~sfh_cnn.core.ModelContract`
        Card of the network.
    snr, calibration_error : ndarray, shape (n_spec,)

    Returns
    -------
    ndarray or float
    """
    limit = contract.accuracy.get("reduced_chi2_limit", _CHI2_LIMIT)
    return _by_snr(limit, snr, calibration_error) if isinstance(limit, Mapping) else limit


def band_limit(contract, snr, calibration_error):
    """Mismatch of bands and spectrum that few spectra of the trained kind exceed, by effective S/N.

    Parameters
    ----------
    contract : `~sfh_cnn.core.ModelContract`
        Card of the network.
    snr, calibration_error : ndarray, shape (n_spec,)

    Returns
    -------
    ndarray or float
        Infinite where the card says nothing: cards of earlier versions.
    """
    limit = contract.accuracy.get("band_mismatch_limit")
    return _by_snr(limit, snr, calibration_error) if limit else np.inf


def _by_snr(limit, snr, calibration_error):
    return np.interp(effective_snr(snr, calibration_error), limit["snr"], limit["limit"])


def doubtful_velocity(contract, quantiles_kms, snr, calibration_error, valid_share):
    """Whether the redshift that was given does not fit the stars.

    Either they move against it by more than any mock's did, or, farther off, the velocity is as uncertain as if the
    spectrum had no lines.

    Parameters
    ----------
    contract : `~sfh_cnn.core.ModelContract`
    quantiles_kms : ndarray, shape (n_spec, n_level)
        Predicted velocity relative to the given redshift.
    snr, calibration_error, valid_share : ndarray, shape (n_spec,)

    Returns
    -------
    ndarray of bool, shape (n_spec,)
    """
    trained = contract.synthesis.get("observation", {}).get("velocity_error_kms", np.inf)
    doubtful = np.abs(quantiles_kms[:, quantiles_kms.shape[1] // 2]) > _VELOCITY_MARGIN * trained
    if limit := contract.accuracy.get("velocity_width_limit"):
        information = effective_snr(snr, calibration_error) * np.sqrt(valid_share)
        width = quantiles_kms[:, -1] - quantiles_kms[:, 0]
        doubtful |= width > np.interp(information, limit["information"], limit["limit"])
    return doubtful
