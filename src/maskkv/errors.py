"""The exceptions a user of maskkv may meet.

::

    MaskKVError                 anything below: one line that says what is wrong and what would be right
    ├── InputError (ValueError) an argument, a prompt, a document or a policy name is not usable
    ├── CheckpointError         a model folder, shard, tensor, tokenizer or config is not usable
    ├── DeviceLostError         a process that held a part of a model ended or does not answer
    └── ProfileError            a layer profile is malformed or belongs to another model
"""


class MaskKVError(Exception):
    """Base of every error that maskkv raises on purpose."""


class InputError(MaskKVError, ValueError):
    """Report an argument, prompt or document that cannot be used."""


class CheckpointError(MaskKVError):
    """Report a model folder whose files cannot be used."""


class DeviceLostError(MaskKVError):
    """Report that a part of a model that is split over devices is lost, and the model with it."""


class ProfileError(MaskKVError):
    """Report a layer profile that is malformed or belongs to another model."""
