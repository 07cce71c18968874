"""Errors that the person who started the run can mend: a cause and a remedy, exit code 2."""

from __future__ import annotations

EXIT_OK = 0
EXIT_PROGRAM_ERROR = 1
EXIT_BAD_INPUT = 2
EXIT_STOPPED_SAVED = 75
EXIT_STOPPED_NOT_SAVED = 76


class InputError(Exception):
    """Something given to the trainer is wrong: the configuration, a path, the data, a checkpoint.

    `cause` says what is wrong and where; `remedy` what to do about it. Both are single sentences or short lists.
    """

    def __init__(self, cause: str, remedy: str) -> None:
        super().__init__(f"{cause}\n  -> {remedy}")
        self.cause = cause
        self.remedy = remedy


class ConfigError(InputError):
    """The configuration file or an override is invalid."""


class DataError(InputError):
    """A data file is missing, malformed, or has nothing to train on."""


class ModelError(InputError):
    """A model or critic directory is missing, incomplete, a pickle, or does not fit the others."""


class DriverError(InputError):
    """The machine's NVIDIA driver is missing, or older than torch needs."""


class TrackerError(InputError):
    """The MLflow server cannot be reached or refuses us."""


class NonFiniteLoss(Exception):
    """Loss or gradient became NaN or infinite: a program error (exit code 1), never silently trained through."""


class Stopped(Exception):
    """SIGTERM arrived; `saved` says whether a checkpoint of the last finished step is on disk."""

    def __init__(self, step: int, saved: bool) -> None:
        super().__init__(f"stopped by SIGTERM after step {step}, checkpoint {'saved' if saved else 'not saved'}")
        self.step = step
        self.saved = saved

    @property
    def exit_code(self) -> int:
        return EXIT_STOPPED_SAVED if self.saved else EXIT_STOPPED_NOT_SAVED
