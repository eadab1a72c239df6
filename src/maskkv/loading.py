"""What is loaded, stated once: for Python, the command line, lm-evaluation-harness and processes of their own.

To add an option: a field here, its flag in `cli.flags.LOADING_FLAGS`, its keyword in `maskkv.load`. All commands, the
processes of `maskkv eval` and `--model_args` then have it, and a loaded model holds it as `LanguageModel.loading`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from maskkv.checks import check_kv_dtype, check_rope_scale, quoted
from maskkv.errors import InputError
from maskkv.eviction.profile import LayerProfile


@dataclass(frozen=True)
class Loading:
    """Say which model is loaded, and how; `maskkv.load` explains each option.

    Raises:
        InputError: An option is unusable on any machine. What depends on devices, files or libraries is refused later.
    """

    model: str | Path | None = None
    device: str = "auto"
    dtype: str = "auto"
    rope_scale: float | None = None
    profile: Path | str | LayerProfile | None = None
    kv_dtype: str = "auto"
    quantize: str | None = None
    compile: bool = False

    def __post_init__(self) -> None:
        """Refuse what can be refused before gigabytes are read."""
        check_kv_dtype(self.kv_dtype)
        if self.rope_scale is not None:
            check_rope_scale(self.rope_scale)
        if not isinstance(self.profile, Path | str | LayerProfile | None):
            raise InputError(f"profile {quoted(self.profile)}: expected a LayerProfile or its file")
        if not isinstance(self.compile, bool):
            raise InputError(f"compile {quoted(self.compile)}: expected True or False")

    @property
    def name(self) -> str:
        """Return what records call the model: a hub id as it is, a folder by its own name, `mini` if it is bundled."""
        if self.model is None:
            return "mini"
        folder = Path(self.model).expanduser()
        return folder.resolve().name if folder.is_dir() else str(self.model)
