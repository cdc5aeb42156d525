"""conf: settings of a user's machine, from astropy's configuration system."""

from astropy import config

__all__ = ["Conf", "conf"]


class Conf(config.ConfigNamespace):
    """Settings that hold until an argument or a command-line option says otherwise.

    They come from the file ``sfh_cnn.cfg`` in astropy's folder of configurations, if there is one, and can be changed
    in a session: ``sfh_cnn.conf.device = "cuda"``. ``astropy.config.create_config_file("sfh_cnn", "sfh_cnn")`` writes
    a file with the defaults. The file is read when the first setting is asked for.

    Examples
    --------
    >>> from sfh_cnn import conf
    >>> conf.device, conf.batch_size
    ('cpu', 512)
    >>> with conf.set_temp("threads", 1):
    ...     conf.threads
    1
    """

    rootname = "sfh_cnn"
    device = config.ConfigItem(
        "cpu", "Device of PyTorch that networks are loaded onto, such as cpu, cuda or cuda:1.", module="sfh_cnn"
    )
    threads = config.ConfigItem(
        0,
        "Processor cores that PyTorch may use, set when a network is loaded; 0 leaves it to PyTorch.",
        "integer(min=0)",
        module="sfh_cnn",
    )
    batch_size = config.ConfigItem(
        512,
        "Spectra that go through the network at a time. 512 suits most; on a GPU some thousands can save a tenth.",
        "integer(min=1)",
        module="sfh_cnn",
    )
    precision = config.ConfigItem(
        ["float32", "bfloat16"],
        "Number format of the network's large products. bfloat16 is faster on processors with AVX512-BF16.",
        module="sfh_cnn",
    )
    network = config.ConfigItem(
        "", "Released network that is used where none is named; empty for the first one.", module="sfh_cnn"
    )


for _item in Conf().values():
    _item.rootname = Conf.rootname  # astropy's own folder otherwise

conf = Conf()
