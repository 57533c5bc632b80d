"""The options of commands; what is wrong with them is told in one line, as everything else is."""

import argparse
from typing import NoReturn

from fmri2img.project.exceptions import ConfigError


class Parser(argparse.ArgumentParser):
    """A parser that raises what is wrong, where Python's would print its usage in several lines."""

    def error(self, message: str) -> NoReturn:
        """Refuse the arguments.

        Raises
        ------
        ConfigError
            Always.
        """
        raise ConfigError(f"{self.prog}: {message}; run: {self.prog} --help")
