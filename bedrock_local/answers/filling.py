"""Fill a JSON schema from the prompt: every required member, the right types, values from the text."""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bedrock_local.answers import clues, strings
from bedrock_local.answers.schema import Schema, kind, options, properties, required, resolved
from bedrock_local.answers.strings import Ground

_DEEPEST = 8
_NO = re.compile(
    r"\b(?:no|not|without|never|don't|disable|disabled|exclude|false|off)\W+(?:\w+\W+){0,2}\Z", re.IGNORECASE
)
_DENIED_AFTER = re.compile(r"\W*(?:is |are |= ?|: ?)?(?:false|off|no|disabled)\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Filled:
    value: Any
    grounded: bool  # whether the text gave the value, or it is only plausible


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    schema: Schema
    name: str
    depth: int
    sure: bool  # accept only what the text says of this very property


def _within(number: float, schema: Schema) -> bool:
    low, high = schema.get("minimum", -math.inf), schema.get("maximum", math.inf)
    above, below = schema.get("exclusiveMinimum", -math.inf), schema.get("exclusiveMaximum", math.inf)
    step = schema.get("multipleOf")
    return (
        low <= number <= high
        and above < number < below
        and (not step or math.isclose(number % step, 0, abs_tol=1e-9))
    )


def _nearest(schema: Schema) -> float | int:
    """Return the allowed number that is nearest to 0, as far as simple bounds tell."""
    step = schema.get("multipleOf", 1)
    low = [schema[key] for key in ("minimum", "exclusiveMinimum") if key in schema]
    high = [schema[key] for key in ("maximum", "exclusiveMaximum") if key in schema]
    start = max(low) if low and max(low) > 0 else min(high) if high and min(high) < 0 else 0
    base = math.ceil(start / step) * step if start >= 0 else math.floor(start / step) * step
    trials = [base, base + step, base - step, start, sum([*low[:1], *high[:1]]) / 2]
    return next((trial for trial in trials if _within(trial, schema)), base)


class _Filler:
    """Fill one value; numbers and strings of the text are handed out in order, each once."""

    def __init__(self, root: Schema, ground: Ground) -> None:
        self._root = root
        self._ground = ground
        self._numbers = clues.numbers(ground.text)
        self._used: list[str] = []
        self._by_type: Mapping[str, Callable[[_Place], _Filled]] = {
            "string": self._string, "integer": self._number, "number": self._number, "boolean": self._boolean,
            "array": self._array, "object": self._object, "null": self._null,
        }  # fmt: skip

    def fill(self, place: _Place) -> _Filled:
        schema = resolved(place.schema, self._root)
        here = _Place(schema=schema, name=place.name, depth=place.depth, sure=place.sure)
        if "const" in schema:
            return _Filled(value=schema["const"], grounded=False)
        if "enum" in schema:
            return self._enum(here)
        alternatives = options(schema, self._root)
        if alternatives:
            return self._alternative(here, alternatives)
        return self._by_type.get(kind(schema), self._string)(here)

    def _inside(self, place: _Place, schema: Any, name: str, sure: bool = False) -> _Filled:
        return self.fill(_Place(schema=schema, name=name, depth=place.depth + 1, sure=sure))

    def _enum(self, place: _Place) -> _Filled:
        members: Sequence[Any] = place.schema["enum"]
        text = self._ground.text.lower()
        said = (clues.said(place.name, self._ground.text) or "").lower()
        for where in (said, text):
            for member in members:
                word = re.escape(clues.spoken(str(member)))
                if member is not None and re.search(
                    rf"(?<!\w){word.replace(chr(92) + ' ', '[ _-]?')}(?!\w)", where
                ):
                    return _Filled(value=member, grounded=True)
        return _Filled(value=place.schema.get("default", members[0]), grounded=False)

    def _alternative(self, place: _Place, alternatives: Sequence[Schema]) -> _Filled:
        real = [option for option in alternatives if option.get("type") != "null"]
        if place.depth < _DEEPEST or len(real) == len(alternatives):
            tried = [self._inside(place, option, place.name, place.sure) for option in real]
            grounded = next((one for one in tried if one.grounded), None)
            if grounded is not None:
                return grounded
            if len(real) == len(alternatives) and tried:
                return tried[0]
        return _Filled(value=place.schema.get("default"), grounded=False)

    def _null(self, _: _Place) -> _Filled:
        return _Filled(value=None, grounded=False)

    def _string(self, place: _Place) -> _Filled:
        schema, name, ground = place.schema, place.name, self._ground
        shaped = strings.formatted(schema, ground)
        if shaped is not None:
            return _Filled(value=shaped[0], grounded=shaped[1])
        if place.sure:
            value = clues.said(name, ground.text)
        else:
            value = strings.found(name, str(schema.get("description", "")), ground, self._used)
        if value is None:
            made_up = str(schema.get("default") or strings.placeholder(name, ground))
            return _Filled(value=strings.bounded(made_up, schema), grounded=False)
        self._used.append(value)
        return _Filled(value=strings.bounded(value, schema), grounded=True)

    def _number(self, place: _Place) -> _Filled:
        whole = kind(place.schema) == "integer"

        def fits(number: float) -> bool:
            return _within(number, place.schema) and not (whole and isinstance(number, float))

        said = clues.number_of(place.name, self._ground.text)
        if said is not None and fits(said):
            if said in self._numbers:
                self._numbers.remove(said)
            return _Filled(value=said, grounded=True)
        position = next((i for i, number in enumerate(self._numbers) if fits(number)), None)
        if position is None or place.sure:
            number = place.schema.get("default", _nearest(place.schema))
            return _Filled(value=int(number) if whole else number, grounded=False)
        return _Filled(value=self._numbers.pop(position), grounded=True)

    def _boolean(self, place: _Place) -> _Filled:
        words = clues.spoken(place.name).removeprefix("is ").removeprefix("include ").removeprefix("has ")
        found = re.search(rf"\b{re.escape(words)}", self._ground.text, re.IGNORECASE)
        if found is None:
            return _Filled(value=bool(place.schema.get("default", False)), grounded=False)
        before, after = self._ground.text[: found.start()], self._ground.text[found.end() :]
        return _Filled(value=not (_NO.search(before) or _DENIED_AFTER.match(after)), grounded=True)

    def _array(self, place: _Place) -> _Filled:
        schema = place.schema
        fixed = [self._inside(place, item, place.name) for item in schema.get("prefixItems", ())]
        least, most = schema.get("minItems", 0), schema.get("maxItems", math.inf)
        found = list(fixed)
        while len(found) < most and "items" in schema and schema["items"] is not False:
            if len(found) >= least and (place.depth >= _DEEPEST or place.sure):
                break
            item = self._inside(place, schema["items"], place.name)
            fresh = all(item.value != other.value for other in found)
            if len(found) >= least and not (item.grounded and fresh):
                break
            found.append(item if fresh or not schema.get("uniqueItems") else self._different(place, found))
        return _Filled(value=[one.value for one in found], grounded=any(one.grounded for one in found))

    def _different(self, place: _Place, found: Sequence[_Filled]) -> _Filled:
        """Make an item that is not there yet, for arrays whose items must all differ."""
        item = resolved(place.schema["items"], self._root)
        if "enum" in item:
            rest = [member for member in item["enum"] if all(member != one.value for one in found)]
            return _Filled(value=(rest or item["enum"])[0], grounded=False)
        if kind(item) in {"integer", "number"}:
            return _Filled(value=max(one.value for one in found) + item.get("multipleOf", 1), grounded=False)
        return _Filled(value=f"{found[0].value} {len(found) + 1}", grounded=False)

    def _object(self, place: _Place) -> _Filled:
        members, needed = properties(place.schema), set(required(place.schema))
        filled: dict[str, _Filled] = {}
        for name, schema in members.items():
            if name in needed:
                filled[name] = self._inside(place, schema, name)
            elif place.depth < _DEEPEST and (one := self._inside(place, schema, name, sure=True)).grounded:
                filled[name] = one
        if members and not filled and place.depth == 0:
            filled = self._any_member(place, members)
        value = {name: one.value for name, one in filled.items()}
        return _Filled(value=value, grounded=any(one.grounded for one in filled.values()))

    def _any_member(self, place: _Place, members: Mapping[str, Any]) -> dict[str, _Filled]:
        """Fill the first member the text has a value for, when the schema requires none."""
        for name, schema in members.items():
            if (one := self._inside(place, schema, name)).grounded:
                return {name: one}
        return {}


def fill(schema: Schema, ground: Ground) -> Any:
    """Return a value that fits the schema; nothing is random, so the same prompt gets the same value."""
    return _Filler(schema, ground).fill(_Place(schema=schema, name="", depth=0, sure=False)).value
