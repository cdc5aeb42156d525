"""The package's own exceptions and warnings."""

__all__ = ["ContractError", "CoverageError", "NetworkFileError", "SFHCNNError", "SFHCNNWarning"]


class SFHCNNError(ValueError):
    """Base class of the errors that sfh_cnn raises for bad input."""


class ContractError(SFHCNNError):
    """Input does not fit what the network was trained on."""


class CoverageError(ContractError):
    """A spectrum shares too little wavelength range with the network."""


class NetworkFileError(SFHCNNError):
    """A network file is truncated, foreign, of another version or altered."""


class SFHCNNWarning(UserWarning):
    """Base class of the package's warnings."""
