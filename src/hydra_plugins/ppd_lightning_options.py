"""Where Hydra takes the options in the folder of `--config-dir` from: their files are read as all YAML here is.

Hydra takes plugins from this namespace only.
"""

from __future__ import annotations

from pathlib import Path

from hydra._internal.core_plugins.file_config_source import FileConfigSource
from hydra.plugins.config_source import ConfigLoadError, ConfigResult, ConfigSource
from omegaconf import DictConfig

from ppd_lightning.errors import UserError
from ppd_lightning.storage.yaml_files import read_yaml, yaml_text


class OptionFiles(FileConfigSource):
    """A folder of options laid out like `conf/`, whose files may be anything."""

    @staticmethod
    def scheme() -> str:
        """What its places in Hydra's search path begin with."""
        return "ppd"

    def is_config(self, config_path: str) -> bool:
        """Whether an option is there, also a link to nothing, for reading it says so."""
        path = Path(self.path) / self._normalize_file_name(config_path)
        return (path.exists() or path.is_symlink()) and not path.is_dir()

    def load_config(self, config_path: str) -> ConfigResult:
        """An option's file.

        Raises:
            ConfigLoadError: with one sentence, that names file and line.
        """
        path = Path(self.path) / self._normalize_file_name(config_path)
        try:
            values = read_yaml(path)
            header = ConfigSource._get_header_dict(yaml_text(path)[:512])
        except UserError as error:
            raise ConfigLoadError(str(error)) from error
        except ValueError as error:
            raise ConfigLoadError(
                f"{path}: its first lines are faulty ({error}); such as `# @package _global_`"
            ) from error
        if not isinstance(values, DictConfig):
            raise ConfigLoadError(f"{path}: holds a list; a mapping of keys to values was expected")
        return ConfigResult(config=values, path=f"ppd://{self.path}", provider=self.provider, header=header)
