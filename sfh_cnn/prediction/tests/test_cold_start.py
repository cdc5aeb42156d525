"""What the first answer of a fresh process does not wait for."""

import subprocess
import sys

#: Each takes 0.1 to 2 seconds to import.
HEAVY = ("torch._dynamo", "sympy", "specutils", "matplotlib", "scipy.interpolate", "astropy.cosmology", "dask")

CODE = f"""
import sys
import torch

def loaded():
    return {{name for name in {HEAVY} if name in sys.modules}}

torch.nn.Linear(1, 1, device="meta")
before = loaded()  # torch 2.6 loads sympy for any layer without data

from sfh_cnn.cli.main import main

main(["predict", "example"], standalone_mode=False)
print("loaded:", sorted(loaded() - before))
"""


def test_the_first_answer_imports_nothing_that_it_does_not_need():
    """Reading a spectrum, loading the network, predicting and printing, as ``sfh-cnn predict example`` does."""
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    assert "mass-weighted age" in done.stdout
    assert "loaded: []" in done.stdout
