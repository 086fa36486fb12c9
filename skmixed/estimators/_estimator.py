"""Base of all estimators of this package: one fitted state, and links to their documentation.

Everything that a fit has found is one immutable object, put in place by a single assignment. A
method reads it once and passes it on, so that it never mixes two fits, whatever other threads do
and wherever a fit is interrupted.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from copy import copy
from functools import cache
from inspect import signature
from operator import attrgetter
from pickle import PicklingError
from typing import Any, ClassVar, Generic, Literal, Self, TypeVar, overload

import numpy as np
from numpy.typing import NDArray
from sklearn import get_config
from sklearn.base import BaseEstimator
from sklearn.utils._param_validation import InvalidParameterError, validate_parameter_constraints
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from skmixed.estimators._storage import packed, restore, store, unpacked
from skmixed.estimators._wrong_parameters import meant
from skmixed.exceptions import shown

DOCUMENTATION = "https://scikit-mixed.readthedocs.io/en/stable/api/skmixed.{name}.html"
"""Address of the page of an estimator, which no other place spells out."""

SolverName = Literal["auto", "newton", "em", "iterative"]
UnknownLevels = Literal["population", "error", "nan"]

State = TypeVar("State")
Value = TypeVar("Value")
Function = TypeVar("Function", bound=Callable[..., Any])


def offered_if(check: Callable[[Any], bool]) -> Callable[[Function], Function]:
    """Make a method available only on estimators for which `check` is true."""
    decorator: Callable[[Function], Function] = available_if(check)
    return decorator


Averaging = Literal["integrate", "plug-in"]


def averaged_as(model: Any, averaging: Averaging) -> Any:
    """Return a fitted estimator that treats random effects in its predictions in another way."""
    check_choice("averaging", averaging, ("integrate", "plug-in"))
    other = copy(model)
    other.averaging = averaging
    return other


class Refused:
    """A method that similar estimators have and this one does not: accessing it says why."""

    def __init__(self, reason: str) -> None:
        self._reason = reason

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, estimator: Any, owner: type) -> Any:
        raise AttributeError(f"{owner.__name__} has no {self._name}: {self._reason}")


class FittedAttribute(Generic[Value]):
    """Public attribute read from the fitted state: `coef_` is its `coef`, or the value at a path.

    It does not exist before `fit`, nor, if optional, where the value is None or missing. It can be
    overwritten, as scikit-learn does with what it learns about X.
    """

    def __init__(self, path: str = "", *, optional: bool = False) -> None:
        self._path, self.optional = path, optional

    def __set_name__(self, owner: type, name: str) -> None:
        self._name, self._read = name, attrgetter(self._path or name.removesuffix("_"))

    @overload
    def __get__(self, estimator: None, owner: type) -> Self: ...

    @overload
    def __get__(self, estimator: FittedEstimator[Any], owner: type) -> Value: ...

    def __get__(self, estimator: FittedEstimator[Any] | None, owner: type) -> Self | Value:
        if estimator is None:
            return self
        value: Value = self._read(estimator._state())
        if value is None and self.optional:
            raise AttributeError(f"this {type(estimator).__name__} has no {self._name}")
        return value


class FittedEstimator(BaseEstimator, Generic[State]):
    """Estimator whose fitted state is a single object."""

    _state_type: ClassVar[type] = object  # what `from_dict` reads; `object` where it cannot
    _fitted: State | None = None  # assigned last in a fit
    _doc_link_module = "skmixed"
    _doc_link_template = DOCUMENTATION

    n_features_in_ = FittedAttribute[int]()
    feature_names_in_ = FittedAttribute[NDArray[np.object_]](optional=True)

    def _state(self) -> State:
        """Return the fitted state; NotFittedError before the first `fit`."""
        fitted = self._fitted
        if fitted is None:
            check_is_fitted(self)
        return fitted  # type: ignore[return-value]

    def __sklearn_is_fitted__(self) -> bool:
        """Tell scikit-learn whether the estimator is fitted."""
        return self._fitted is not None

    def __getstate__(self) -> dict[str, Any]:
        """Return parameters and fitted state, for pickle, copy and skops.

        Raises PicklingError for a lambda or an inner function in `context`, except for copies and
        for cloudpickle, which can handle them.
        """
        caller = sys._getframe(1).f_globals.get("__name__", "").rpartition(".")[2]
        if caller not in ("copy", "cloudpickle"):
            for name, value in (getattr(self, "context", None) or {}).items():
                if callable(value) and not _is_importable(value):
                    raise PicklingError(
                        f"context[{name!r}] of this {type(self).__name__} is {value!r}, which "
                        "pickle cannot find by name: define it with def at the top level of a "
                        "module"
                    )
        return packed(self)

    def _check_formulas(self, fitted: State) -> None:
        """Raise ValueError if formulas among the parameters contain what they may not contain."""

    def __setstate__(self, state: Any) -> None:
        """Restore the state that `__getstate__` returned, in this version or another."""
        self.__dict__.update(unpacked(type(self), state))

    @classmethod
    @cache
    def _get_param_names(cls) -> list[str]:
        """Return the names of the parameters, which scikit-learn looks up in every fit."""
        names: list[str] = super()._get_param_names()
        return names

    @classmethod
    @cache
    def _defaults(cls) -> dict[str, Any]:
        """Return the parameters of the constructor, with their defaults where they have any."""
        return {name: each.default for name, each in signature(cls).parameters.items()}

    def _validate_params(self) -> None:
        """Validate the parameters as scikit-learn does, except those left at their defaults.

        Defaults are valid, and checking them, like the further work of scikit-learn's decorator,
        would take longer than reading the data.
        """
        if get_config()["skip_parameter_validation"]:
            return
        defaults, params = self._defaults(), self.get_params(deep=False)
        given = {name: each for name, each in params.items() if each is not defaults[name]}
        try:
            validate_parameter_constraints(
                self._parameter_constraints, given, caller_name=type(self).__name__
            )
        except InvalidParameterError as error:
            text = str(error)
            for value in given.values():  # a column passed for its name is not printed
                text = text.replace(f"Got {value!r}", f"Got {shown(value)}")
            name = text.partition("'")[2].partition("'")[0]
            hint = meant(self, name, given.get(name), self._parameter_constraints.get(name, ()))
            raise InvalidParameterError(text + hint) from None

    def __dir__(self) -> list[str]:
        """Hide unavailable attributes: scikit-learn shows every name that ends in an underscore."""
        attributes = {name: getattr(type(self), name, None) for name in super().__dir__()}
        return [
            name
            for name, attribute in attributes.items()
            if not isinstance(attribute, FittedAttribute)
            or (self._fitted is not None and not (attribute.optional and not hasattr(self, name)))
        ]

    def to_dict(self) -> dict[str, Any]:
        """Return the fitted model as plain values, to be stored and read by later versions.

        A safe and durable alternative to pickle, which runs code when it is loaded and depends on
        the versions of all packages. :doc:`Saving models </guide/saving>` compares the two.

        Returns
        -------
        dict
            Parameters, labels, what formulas learned, and the fit, as None, booleans, numbers,
            strings, lists, dicts and numeric arrays; with the version, the schema number and a
            checksum. Arrays may be written as lists:
            ``json.dumps(model.to_dict(), default=lambda array: array.tolist())``.

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        TypeError
            If labels or parameters have types without a plain form, such as functions in `context`,
            or if the estimator contains estimators of other packages, as `GroupedModels` and
            `MixedEffectsRegressor` do.

        See Also
        --------
        from_dict : Restore the model.

        Notes
        -----
        The training data are not stored, but their group labels are.

        Examples
        --------
        >>> import json
        >>> from skmixed import MixedLinearRegressor
        >>> from skmixed.datasets import load_sleepstudy
        >>> X, y = load_sleepstudy(return_X_y=True)
        >>> model = MixedLinearRegressor("(1 + Days | Subject)").fit(X, y)
        >>> text = json.dumps(model.to_dict(), default=lambda array: array.tolist())
        >>> again = MixedLinearRegressor.from_dict(json.loads(text))
        >>> bool((again.predict(X) == model.predict(X)).all())
        True
        """
        self._refuse_to_store()
        return store(self, self._state())

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Self:
        """Restore a fitted model from the plain values of `to_dict`.

        Parameters
        ----------
        stored : dict
            Output of `to_dict`, of this or an earlier version; arrays may be lists.

        Returns
        -------
        estimator
            Fitted estimator with exactly the predictions of the stored one, which can be fitted to
            further rows if that could.

        Raises
        ------
        ValueError
            If it is not a stored model of this class, its schema or a type in it is unknown to this
            version, a formula contains what formulas may not contain, or the checksum reveals
            damage.
        TypeError
            If the class contains estimators of other packages.

        Notes
        -----
        Nothing stored is executed. Formulas are parsed again, as text, under the rules of `fit`,
        before a prediction evaluates them.

        Examples
        --------
        >>> from skmixed import MixedLinearRegressor
        >>> MixedLinearRegressor.from_dict({"format": "another"})
        Traceback (most recent call last):
            ...
        ValueError: this is not a stored model: its 'format' is not 'scikit-mixed model'
        """
        cls._refuse_to_store()
        return restore(cls, cls._state_type, stored)

    @classmethod
    def _refuse_to_store(cls) -> None:
        """Raise TypeError for a class whose fits hold estimators of other packages."""
        if cls._state_type is object:
            raise TypeError(
                f"a {cls.__name__} contains estimators of other packages, which have no plain "
                "form: use pickle, joblib or skops to store it"
            )

    def _doc_link_url_param_generator(self) -> dict[str, str]:
        """Return the fields of the documentation link."""
        return {"name": type(self).__name__}


def _is_importable(function: Any) -> bool:
    """Tell whether a function or class can be imported by its own name, or is another object."""
    name, module = getattr(function, "__qualname__", None), getattr(function, "__module__", None)
    if name is None or module is None:
        return True
    try:
        return attrgetter(name)(sys.modules[module]) is function
    except (AttributeError, KeyError):
        return False


def header_of(estimator: Any, fitted: Any) -> Any:
    """Return an estimator of the same class at a fitted state, which no other fit can change.

    scikit-learn compares the columns of X with those it has seen.
    """
    known = type(estimator)()
    known._fitted = fitted
    return known


def check_choice(name: str, value: Any, choices: tuple[str, str]) -> None:
    """Raise ValueError for a value that is neither of two choices."""
    if value not in choices:
        raise ValueError(f"{name}={value!r} is neither {choices[0]!r} nor {choices[1]!r}")


def refuse_beside_interval(random: Any, return_std: bool | None) -> None:
    """Raise ValueError for arguments of `predict` that cannot be combined with `interval`.

    `return_std` is None for a model without it.
    """
    if return_std:
        raise ValueError("return_std=True and interval cannot be combined: leave one of them out")
    if not (isinstance(random, str) and random == "all"):
        instead = "" if return_std is None else ", or use return_std=True"
        raise ValueError(
            f"random={random!r} cannot be combined with interval: a prediction interval includes "
            f"all random effects. Leave one of them out{instead}"
        )
