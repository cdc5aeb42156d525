"""What to cite: the method, this software, the stellar libraries and the packages underneath."""

from __future__ import annotations

__all__ = ["citation"]

_BIBTEX = r"""@article{galceran2026,
  author = {Galceran, Enrique and S{\'a}nchez-Bl{\'a}zquez, Patricia and Camps-Fari{\~n}a, Artemi and
            Boquien, M{\'e}d{\'e}ric and Klessen, Ralf S. and Belfiore, Francesco and Dale, Daniel A. and
            Pinna, Francesca and Gerasimov, Ivan S. and Williams, Thomas G. and Pan, Hsi-An},
  title = {Determining star formation histories and age-metallicity relations with convolutional neural networks},
  year = {2026},
  eprint = {2605.13973},
  archivePrefix = {arXiv},
}

@software{sfh_cnn,
  author = {{sfh\_cnn developers}},
  title = {sfh\_cnn: star formation and chemical enrichment histories from galaxy spectra and photometry},
  version = {VERSION},
}

@article{bruzual2003,
  author = {Bruzual, G. and Charlot, S.},
  title = {Stellar population synthesis at the resolution of 2003},
  journal = {MNRAS},
  year = {2003},
  volume = {344},
  pages = {1000},
  doi = {10.1046/j.1365-8711.2003.06897.x},
}

@article{falconbarroso2011,
  author = {Falc{\'o}n-Barroso, J. and others},
  title = {An updated {MILES} stellar library and stellar population models},
  journal = {A\&A},
  year = {2011},
  volume = {532},
  pages = {A95},
  doi = {10.1051/0004-6361/201116842},
}

@article{vazdekis2016,
  author = {Vazdekis, A. and others},
  title = {{UV}-extended {E-MILES} stellar population models: young components in massive early-type galaxies},
  journal = {MNRAS},
  year = {2016},
  volume = {463},
  pages = {3409},
  doi = {10.1093/mnras/stw2231},
}

@article{carnall2018,
  author = {Carnall, A. C. and others},
  title = {Inferring the star formation histories of massive quiescent galaxies with {BAGPIPES}},
  journal = {MNRAS},
  year = {2018},
  volume = {480},
  pages = {4379},
  doi = {10.1093/mnras/sty2169},
}

@article{astropy2022,
  author = {{Astropy Collaboration}},
  title = {The {Astropy} Project: sustaining and growing a community-oriented open-source project},
  journal = {ApJ},
  year = {2022},
  volume = {935},
  pages = {167},
  doi = {10.3847/1538-4357/ac7c74},
}

@inproceedings{paszke2019,
  author = {Paszke, Adam and others},
  title = {{PyTorch}: an imperative style, high-performance deep learning library},
  booktitle = {Advances in Neural Information Processing Systems},
  year = {2019},
  volume = {32},
  eprint = {1912.01703},
  archivePrefix = {arXiv},
}
"""


def citation() -> str:
    """BibTeX of the method, this software, the stellar libraries of the released networks, and main packages.

    The grid of Bruzual & Charlot comes with bagpipes (Carnall et al.) and uses the stars of MILES (Falcon-Barroso
    et al.); E-MILES is that of Vazdekis et al. A network of other libraries names theirs in its model card.

    Returns
    -------
    str

    Examples
    --------
    >>> import sfh_cnn
    >>> [line for line in sfh_cnn.citation().splitlines() if line.startswith("@")][:2]
    ['@article{galceran2026,', '@software{sfh_cnn,']
    """
    from sfh_cnn import __version__

    return _BIBTEX.replace("VERSION", __version__.replace("_", r"\_"))
