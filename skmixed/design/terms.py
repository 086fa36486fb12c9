"""What a user declares about the random part of a model."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RandomTerm:
    """Coefficients that vary, jointly, over the levels of one grouping factor.

    One bar of an lme4 formula, ``(1 + Days | Subject)``, with ``/`` and ``||`` expanded: the
    columns of a term have one covariance block, and different terms are independent. Raises
    ValueError without a grouping column or a column that varies, and for a repeated name.
    """

    group: tuple[str, ...]  # grouping columns; every combination that occurs is a level
    intercept: bool  # whether the constant varies over the levels
    slopes: tuple[str, ...] = ()  # terms that vary: "Days", "I(x ** 2)", "a:b"

    def __post_init__(self) -> None:
        if not self.group or not all(self.group):
            raise ValueError("a random term needs at least one grouping column, with a name")
        if len(set(self.group)) < len(self.group):
            raise ValueError(f"the random term '{self.name}' repeats a grouping column")
        if not self.intercept and not self.slopes:
            raise ValueError(
                f"the random term of '{self.name}' has no columns: "
                "give it an intercept ('1') or a slope"
            )
        if not all(slope.strip() for slope in self.slopes):
            raise ValueError(f"the random term of '{self.name}' has a slope without a name")
        if len(set(self.slopes)) < len(self.slopes):
            raise ValueError(f"the random term of '{self.name}' repeats a slope: {self.slopes}")

    @property
    def name(self) -> str:
        """lme4's name of the factor, such as ``"class:school"``."""
        return ":".join(self.group)

    @property
    def expression(self) -> str:
        """The left side of the bar, its intercept always explicit."""
        return " + ".join(("1" if self.intercept else "0", *self.slopes))
