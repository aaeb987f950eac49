"""The reader of a study file: strict, and complete in what it finds wrong."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from optuna.distributions import BaseDistribution, IntDistribution

from hpo.objective import Metric, Value, Vocabulary
from hpo.quick import shortened
from hpo.schedule import Validation
from hpo.strict_yaml import SIZE_LIMIT, Mistakes, Node, Section, StudyError, parse, shown
from hpo.study import NAME, NAME_RULE, Budget, Folds, Promotion, Resolve, Spec, Study
from hpo.study_parameters import Parameters
from hpo.study_targets import Targets, measured

KEYS = (
    *("study", "objective", "data", "metric", "seed", "folds", "budget", "sampler", "pruner"),
    *("validation", "fixed", "space", "configurations", "targets", "promotion", "checkpoints", "quick"),
)

#: Options of each sampler with their defaults, which are written out here so that they are on record.
SAMPLERS: Mapping[str, Mapping[str, Value]] = {
    "tpe": {"startup_trials": 10, "candidates": 24, "multivariate": True, "constant_liar": True},
    "random": {},
    "gp": {"startup_trials": 10},
}
#: Options of each pruner. `min_resource` is the first epoch at which a trial may be pruned; 0 stands for
#: `stopping.min_epochs`.
PRUNERS: Mapping[str, Mapping[str, Value]] = {
    "none": {},
    "median": {"min_resource": 0, "startup_trials": 5, "interval": 1, "min_trials": 1},
    "percentile": {"min_resource": 0, "percentile": 50.0, "startup_trials": 5, "interval": 1, "min_trials": 1},
    "asha": {"min_resource": 0, "reduction_factor": 3, "early_stopping_rate": 0},
    "hyperband": {"min_resource": 0, "reduction_factor": 3},
}
OPTION_MINIMUM = {"reduction_factor": 2, "startup_trials": 0, "early_stopping_rate": 0}


def text_of(path: Path) -> str:
    """The content of a study file, as far as one may be long.

    Raises:
        StudyError: when it cannot be read or is not UTF-8.
    """
    try:
        with path.open("rb") as file:
            return file.read(SIZE_LIMIT + 4).decode("utf-8-sig")
    except OSError as error:
        raise StudyError(str(path), [f"cannot be read: {error.strerror or error}"]) from None
    except UnicodeDecodeError as error:
        raise StudyError(str(path), [f"byte {error.start} is not UTF-8: save the file as UTF-8"]) from None


def name_of(root: Section) -> str:
    """The study's name; a stand-in where a mistake was added."""
    root.require("study")
    name = root.text("study", "unnamed")
    if not NAME.fullmatch(name):
        root.fail("study", f"is {shown(name)}: {NAME_RULE}")
    return name


class Reader:
    """Reads one file. Checks go on after a mistake, with a harmless value in the place of the bad one.

    Args:
        text: of the file.
        source: its absolute path; paths in it are relative to its folder.
        shown_as: names the file in messages.
        resolve: finds the objective; whatever it raises becomes a mistake.
    """

    def __init__(self, text: str, source: str, shown_as: str, resolve: Resolve) -> None:
        self.text, self.source = text, source
        self.mistakes = Mistakes(shown_as)
        self.root = Section(parse(text, shown_as, self.mistakes), "", self.mistakes, KEYS)
        self.root.require("objective", "metric", "budget", "space")
        self.reference = self._reference()
        self.objective = self._resolve(resolve)

    def study(self) -> Study:
        """The study.

        Raises:
            StudyError: with all mistakes of the file.
        """
        name = name_of(self.root)
        metric = self._metric()
        budget = self._budget()
        parameters = Parameters(self.root, self.mistakes, self.objective, self._path)
        written = dict(parameters.fixed())
        space = parameters.space()
        fixed = {key: value for key, value in parameters.defaults.items() if key not in parameters.searched} | written
        parameters.check_min_epochs(fixed, set(written), space, budget)
        configurations = parameters.configurations(space, fixed, budget)
        parameters.check_metric(metric, fixed, configurations)
        validation = self._validation(budget)
        study = Study(
            name=name,
            objective=self.reference,
            data=self._data(),
            metric=metric,
            seed=self.root.integer("seed", 0, 0),
            space=MappingProxyType(space),
            fixed=MappingProxyType(fixed),
            configurations=MappingProxyType(configurations),
            sampler_spec=self._spec("sampler", "tpe", SAMPLERS),
            pruner_spec=self._pruner(fixed, space, budget),
            budget=budget,
            folds=self._folds(),
            validation=validation,
            targets=Targets(self.root, self.mistakes, self.objective, budget, validation).read(),
            promotion=self._promotion(),
            keep_checkpoints=self.root.section("checkpoints", ("keep",)).integer("keep", 0, 0),
            text=self.text,
            source=self.source,
        )
        quick = self.root.flag("quick", False)
        self.mistakes.raise_any()
        return shortened(study) if quick else study

    # -- the objective and what it knows

    def _reference(self) -> str:
        written = self.root.text("objective", "")
        head, colon, name = written.rpartition(":")
        if written.endswith(".py") or (colon and not name.isidentifier()):
            self.root.fail("objective", f"is {shown(written)}: name the class after a colon, path/to/file.py:Class")
            return ""
        return f"{self._path(head)}:{name}" if head.endswith(".py") else written

    def _path(self, written: str) -> str:
        """Relative to the folder of the file, so that it does not matter where the command is started."""
        return str((Path(self.source).parent / Path(written).expanduser()).resolve())

    def _resolve(self, resolve: Resolve) -> Vocabulary | None:
        if not self.reference:
            return None
        try:
            return resolve(self.reference)
        except Exception as error:  # the user's own file may raise anything while it is imported
            reason = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
            ours = "" if isinstance(error, LookupError) else f"{type(error).__name__}: "
            reason = ours + " ".join(reason.split())
            text = f"{shown(self.reference)} cannot be loaded ({reason}); its own keys and scores are unchecked"
            self.root.fail("objective", text)
            return None

    def _data(self) -> str | None:
        if "data" not in self.root.nodes or self.root.nodes["data"].value is None:
            return None
        written = self.root.text("data", "")
        return self._path(written) if written else None

    def _metric(self) -> Metric:
        plain = isinstance(self.root.nodes.get("metric", Node(1, {})).value, str)
        section = self.root if plain else self.root.section("metric", ("name", "direction"))
        key = "metric" if plain else "name"
        if not plain and "metric" in self.root.nodes:
            section.require("name")
        known = measured(self.objective, section, key)
        name = section.text(key, "")  # no metric that checks could go on with
        if name.startswith("train."):
            section.fail(key, f"is {shown(name)}: trials are judged on validation rows; leave 'train.' out")
        if plain or "direction" not in section.nodes:
            return known or Metric(name, "maximize")
        written = section.text("direction", "", ("minimize", "maximize"))
        if known and written and written != known.direction:
            text = f"is {shown(written)}, but the objective says {known.direction} for {shown(name)}: leave it out"
            section.fail("direction", text)
        return known or Metric(name, "minimize" if written == "minimize" else "maximize")

    # -- the frame

    def _budget(self) -> Budget:
        section = self.root.section("budget", ("trials", "epochs", "hours", "max_trial_minutes"))
        if "budget" in self.root.nodes:
            section.require("trials", "epochs")
        limits: dict[str, float | None] = dict.fromkeys(("hours", "max_trial_minutes"))
        for key in limits:
            if key in section.nodes and section.nodes[key].value is not None:
                limits[key] = section.number(key, 1.0, above=0)
        # The stand-in for a bad number of epochs is large, so that nothing is compared with it in vain.
        return Budget(trials=section.integer("trials", 1, 1), epochs=section.integer("epochs", 10**9, 1), **limits)

    def _folds(self) -> Folds:
        section = self.root.section("folds", ("count", "search"))
        count = section.integer("count", 5, 2)
        search = section.integer("search", 0, 0)
        if search >= count:
            section.fail("search", f"is {search}: folds are numbered from 0 to {count - 1}")
        return Folds(count=count, search=search)

    def _validation(self, budget: Budget) -> Validation:
        section = self.root.section("validation", ("full_validation_every", "fast_share", "report_every"))
        every = section.integer("full_validation_every", Validation.full_validation_every, 1)
        if every > budget.epochs:
            text = f"is {every}, more than budget.epochs {budget.epochs}: only the last epoch would be comparable"
            section.fail("full_validation_every", text)
            every = 1  # its targets are no mistakes of their own
        return Validation(
            full_validation_every=every,
            fast_share=section.number("fast_share", Validation.fast_share, above=0, below=1),
            report_every=section.integer("report_every", Validation.report_every, 1),
        )

    def _promotion(self) -> Promotion:
        section = self.root.section("promotion", ("refit", "baseline"))
        return Promotion(
            refit=section.flag("refit", True),
            baseline=section.flag("baseline", True),
        )

    def _spec(self, key: str, default: str, known: Mapping[str, Mapping[str, Value]]) -> Spec:
        """`sampler: tpe` or `sampler: {name: tpe, startup_trials: 10}`."""
        if isinstance(self.root.nodes.get(key, Node(1, {})).value, str):
            name = self.root.text(key, default, known)
            return Spec(name=name, options=MappingProxyType(dict(known[name])))
        loose = self.root.section(key, None)
        name = loose.text("name", default, known)
        bad = "name" in loose.nodes and loose.nodes["name"].value != name
        section = loose if bad else self.root.section(key, ("name", *known[name]))
        if loose.nodes:
            loose.require("name")
        options: dict[str, Value] = {}
        for option, value in known[name].items():
            if isinstance(value, bool):
                options[option] = section.flag(option, value)
            elif isinstance(value, float):
                options[option] = section.number(option, value, above=0, below=100)
            else:
                options[option] = section.integer(option, int(value), OPTION_MINIMUM.get(option, 1))
        return Spec(name=name, options=MappingProxyType(options))

    def _pruner(self, fixed: Mapping[str, Value], space: Mapping[str, BaseDistribution], budget: Budget) -> Spec:
        spec = self._spec("pruner", "asha", PRUNERS)
        if "min_resource" not in spec.options:
            return spec
        options = dict(spec.options)
        if options["min_resource"] == 0:  # not in the file
            searched = space.get("stopping.min_epochs")
            first = searched.high if isinstance(searched, IntDistribution) else fixed.get("stopping.min_epochs", 1)
            options["min_resource"] = min(int(first), budget.epochs)
        elif int(options["min_resource"]) > budget.epochs:
            text = f"is {options['min_resource']}, more than budget.epochs {budget.epochs}: nothing would be pruned"
            self.root.section("pruner", None).fail("min_resource", f"{text}; lower it, or write pruner: none")
        return Spec(name=spec.name, options=MappingProxyType(options))
