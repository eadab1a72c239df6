"""What is loaded, stated once: for Python, the command line, lm-evaluation-harness and processes of their own.

To add an option: a field here with its help, and its keyword in `maskkv.load`. All commands, the processes of
`maskkv eval` and `--model_args` then have it, and a loaded model holds it as `LanguageModel.loading`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from maskkv.checks import check_kv_dtype, check_parts, check_quantize, check_rope_scale, quoted
from maskkv.errors import InputError
from maskkv.eviction.profile import LayerProfile


@dataclass(frozen=True)
class Loading:
    """Say which model is loaded, and how; beside a field's type stand its help and what its value is called.

    Raises:
        InputError: An option is unusable on any machine. What depends on devices, files or libraries is refused later.
    """

    model: Annotated[str | Path | None, "Hub id or local folder; default: the bundled dLLM.", "ID"] = None
    device: Annotated[str, "auto, cpu, cuda, cuda:N, or mps (untested)."] = "auto"
    dtype: Annotated[
        str,
        "auto (the checkpoint's own; float32 on a CPU that would emulate it, if memory allows), float32, bfloat16 or "
        "float16.",
    ] = "auto"
    rope_scale: Annotated[float | None, "Stretch RoPE by this factor; default: as the length needs."] = None
    profile: Annotated[
        Path | str | LayerProfile | None,
        "Layer importance from `maskkv calibrate`; default: the shipped one, else each prompt's own.",
        "FILE",
    ] = None
    kv_dtype: Annotated[str, "What kept prompt pairs are stored in: auto (the model's dtype), int8 or fp8."] = "auto"
    quantize: Annotated[
        str | None, "int8 or int4: store the layers' weights in 8 or 4 bits (needs `maskkv[quantize]`).", "DTYPE"
    ] = None
    compile: Annotated[bool, "Compile what the layers do to each row: slower to start, faster steps."] = False
    tensor_parallel: Annotated[int, "Split the model over this many devices of the machine."] = 1

    def __post_init__(self) -> None:
        """Refuse what can be refused before gigabytes are read."""
        check_kv_dtype(self.kv_dtype)
        check_quantize(self.quantize)
        if self.rope_scale is not None:
            check_rope_scale(self.rope_scale)
        if not isinstance(self.profile, Path | str | LayerProfile | None):
            raise InputError(f"profile {quoted(self.profile)}: expected a LayerProfile or its file")
        if not isinstance(self.compile, bool):
            raise InputError(f"compile {quoted(self.compile)}: expected True or False")
        check_parts(self.tensor_parallel, compiled=self.compile)

    @property
    def name(self) -> str:
        """Return what records call the model: a hub id as it is, a folder by its own name, `mini` if it is bundled."""
        if self.model is None:
            return "mini"
        folder = Path(self.model).expanduser()
        return folder.resolve().name if folder.is_dir() else str(self.model)
