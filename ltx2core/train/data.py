"""The clips of a run: to learn from, held out, references, and those that are to stay as the base makes them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

from ..cache.dataset import DatasetCache
from ..errors import LTX2Error
from .conditioning import ConditioningSettings
from .crepa_teacher import TeacherFeatures
from .reference import References, ReferenceScale


@dataclass(frozen=True)
class RunData:
    """validation: held-out clips. references: of all clips. regularisation: clips whose target is the base's prediction.

    teacher: CREPA's features of all clips to learn from.
    """

    cache: DatasetCache
    validation: DatasetCache | None = None
    references: References | None = None
    regularisation: DatasetCache | None = None
    teacher: TeacherFeatures | None = None

    @cached_property
    def training(self) -> DatasetCache:
        """The clips to learn from, followed by those of ``regularisation``.

        Raises:
            LTX2Error: the two lie in different caches, or references are used with regularisation.
        """
        if self.regularisation is None:
            return self.cache
        if self.references is not None:
            raise LTX2Error("Reference videos and regularisation clips cannot be used in one run; leave one of them out.")
        if self.regularisation.root.resolve() != self.cache.root.resolve():
            raise LTX2Error(f"The regularisation clips are cached in {self.regularisation.root} and the others in {self.cache.root}; cache both in one folder.")
        return replace(self.cache, clips=self.cache.clips + self.regularisation.clips)

    @property
    def held_out(self) -> DatasetCache:
        return self.validation or self.cache

    def facts(self) -> Mapping[str, str]:
        """Content hashes of what the run depends on besides ``cache``."""
        named = {"references": self.references and self.references.cache, "regularisation": self.regularisation}
        return {name: cache.digest for name, cache in named.items() if cache is not None}

    def check(self, settings: ConditioningSettings) -> ReferenceScale | None:
        """The references' scale, None without references. Raises LTX2Error when a clip has none, or they don't fit."""
        if self.references is None:
            return None
        if self.validation is not None:
            self.references.check(self.validation, settings)
        return self.references.check(self.cache, settings)
