"""How fast a GPU is, against the cores of the same machine: prediction, draws, training steps.

    cd benchmarks
    PYTHONPATH=.. OMP_NUM_THREADS=1 python gpu.py --csv ../docs/development/_gpu.csv

Wall time: what one waits for. Medians and ranges of repeated runs.
"""

import argparse
import os
import platform
from pathlib import Path

import numpy as np
import torch
from speed import Report, _processor, as_spectrum, intervals, make_mocks, observed, wall_times

import sfh_cnn
from sfh_cnn import SFHPredictor
from sfh_cnn.network import SFHNet
from sfh_cnn.synthesis import MockGenerator
from sfh_cnn.training import joint_loss, load_run_config, to_tensors
from sfh_cnn.training.soap import SOAP

#: Spectra that go through the network at a time.
BLOCKS = (512, 4096)
TRAINING_BATCHES = (512, 4096)


def waited(function, repeat):
    """Wall times of calls until the GPU is done, too."""

    def run():
        function()
        torch.cuda.synchronize()

    return wall_times(run, repeat)


def predictions(report, data, sizes, threads):
    """The whole of predict with intervals, on the processor and on the GPU, in microseconds per spectrum."""
    wave, flux, err, redshift, bands = data
    for device, blocks in (("cpu", BLOCKS[:1]), ("cuda", BLOCKS)):
        predictor = SFHPredictor.pretrained(device=device)
        for size in sizes:
            spectrum, table = as_spectrum(wave, flux[:size], err[:size], redshift), bands[:size]
            for n_thread in [n for n in threads if device == "cpu" or n <= 4]:  # no more are used
                torch.set_num_threads(n_thread)
                for block in blocks:

                    def run(predictor=predictor, spectrum=spectrum, table=table, block=block):
                        intervals(predictor.predict(spectrum, table, progress_bar=False, batch_size=block))

                    times = waited(run, 3 if size > 10_000 else 5) / size * 1e6
                    report.add(f"predict, {device}, blocks of {block}", times, "us", size, n_thread)
    torch.set_num_threads(1)


def network_alone(report, n=16384):
    """The network, from tensors that the GPU has already, and with the way there and back."""
    network = SFHPredictor.pretrained(device="cuda").engine.network
    contract = SFHPredictor.pretrained().contract
    on_cpu = [torch.rand(n, contract.n_wave) + 1.0, torch.full((n, contract.n_wave), 0.05)]
    on_cpu += [torch.zeros(n, contract.n_wave, dtype=torch.bool)]
    on_cpu += [torch.rand(n, contract.n_band), torch.full((n, contract.n_band), 0.05)]
    on_cpu += [torch.full((n,), 0.01), torch.full((n,), 0.01)]
    on_gpu = [value.cuda() for value in on_cpu]
    with torch.inference_mode():
        report.add("network alone, cuda", waited(lambda: network(*on_gpu), 20) / n * 1e6, "us", n)

        def there_and_back():
            outputs = network(*[value.cuda() for value in on_cpu])
            return [value.cpu() for value in outputs.values()]

        report.add("network and both ways, cuda", waited(there_and_back, 10) / n * 1e6, "us", n)


def draws(report, data, n=64):
    """200 joint draws of each spectrum."""
    wave, flux, err, redshift, bands = data
    for device in ("cpu", "cuda"):
        result = SFHPredictor.pretrained(device=device).predict(
            as_spectrum(wave, flux[:n], err[:n], redshift), bands[:n]
        )
        report.add(f"200 draws, {device}", waited(lambda result=result: result.draws(200), 3) / n * 1e3, "ms", n)


def training(report):
    """Steps of the default network without the making of mocks: forward, loss, backward, optimiser."""
    config = load_run_config("phangs-muse-hst-bc03")
    generator = MockGenerator(config.synthesis)
    network = SFHNet(generator.contract(), load_run_config("phangs-muse-hst").network)
    mocks = to_tensors(generator.chunk(1, max(TRAINING_BATCHES)))
    for device, sizes in (("cpu", TRAINING_BATCHES[:1]), ("cuda", TRAINING_BATCHES)):
        network.to(device)
        optimizer = SOAP(network.parameters(), 1e-4)
        for size in sizes:
            batch = {name: value[:size].to(device) for name, value in mocks.items()}

            def step(batch=batch, optimizer=optimizer):
                joint_loss(network, batch, config.training.loss)[0].backward()
                optimizer.step()
                optimizer.zero_grad()

            # Twenty at a time: the optimiser renews its bases every twenty steps.
            times = waited(lambda step=step: [step() for _ in range(20)], 3)
            report.add(f"training samples, {device}", 20 * size / times, "/s", size, torch.get_num_threads())


def main():
    """Run all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="*", default=[64, 1024, 16384], help="spectra in a call")
    parser.add_argument("--threads", type=int, nargs="*", help="of the processor, by default 1, 4 and all")
    parser.add_argument("--csv", type=Path, help="file to write")
    args = parser.parse_args()
    threads = args.threads or sorted({1, 4, os.cpu_count()})
    torch.set_num_threads(1)
    machine = (
        f"{torch.cuda.get_device_name()}; {_processor()}, {os.cpu_count()} cores; Python {platform.python_version()}, "
        f"sfh_cnn {sfh_cnn.__version__.split('+')[0]}, torch {torch.__version__}, numpy {np.__version__}"
    )
    print(machine)
    report = Report()
    mocks, generator = make_mocks()
    data = observed(mocks, generator.config, max(args.sizes))
    predictions(report, data, args.sizes, threads)
    network_alone(report)
    draws(report, data)
    training(report)
    if args.csv:
        report.write(args.csv, machine)


if __name__ == "__main__":
    main()
