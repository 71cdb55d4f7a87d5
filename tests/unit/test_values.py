#    Licensed under the Apache License, Version 2.0 (the "License"); you may
#    not use this file except in compliance with the License. You may obtain
#    a copy of the License at
#
#         http://www.apache.org/licenses/LICENSE-2.0
#
#    Unless required by applicable law or agreed to in writing, software
#    distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
#    WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
#    License for the specific language governing permissions and limitations
#    under the License.

"""Tests of what frozen values have in common: as of the standard ones."""

from __future__ import annotations

import copy
import dataclasses
import inspect

from fuel_agent_curl import values
from tests import base


@values.dataclass(frozen=True)
class Ours:
    """One of ours."""

    number: int
    text: str = 'text'
    secret: str = dataclasses.field(default='', repr=False)
    many: dict[int, str] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.number < 0:
            raise ValueError('negative')


@values.dataclass(frozen=True, kw_only=True)
class Named:
    """One whose fields are given by name."""

    number: int
    text: str | None = None


@values.dataclass(frozen=True)
class Odd:
    """One that says itself when it is the same."""

    number: int

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Odd) and not (self.number - other.number) % 2

    def __hash__(self) -> int:
        return self.number % 2

    def __repr__(self) -> str:
        return 'odd' if self.number % 2 else 'even'


class ValuesTest(base.TestCase):
    def test_made_by_place_and_by_name(self) -> None:
        self.assertEqual(Ours(1, 'a'), Ours(text='a', number=1))
        self.assertEqual((1, 'text', '', {}), dataclasses.astuple(Ours(1)))
        self.assertEqual((1, None), dataclasses.astuple(Named(number=1)))

    def test_what_cannot_be_made(self) -> None:
        for kind, given, named in (
            (Ours, (), {}),
            (Ours, (), {'text': 'a'}),
            (Ours, (1,), {'number': 1}),
            (Ours, (1,), {'other': 1}),
            (Ours, (1, 'a', '', {}, 2), {}),
            (Named, (1,), {}),
            (Named, (), {}),
        ):
            self.assertRaises(TypeError, kind, *given, **named)
        self.assertRaises(ValueError, Ours, -1)

    def test_each_has_a_default_of_its_own(self) -> None:
        self.assertIsNot(Ours(1).many, Ours(1).many)

    def test_equal_by_their_fields(self) -> None:
        self.assertNotEqual(Ours(1), Ours(2))
        self.assertNotEqual(Named(number=1), Ours(1))
        self.assertNotEqual(Named(number=1), 1)
        self.assertEqual({Named(number=1)}, {Named(number=1)})

    def test_what_it_says_itself_counts(self) -> None:
        self.assertEqual(Odd(1), Odd(3))
        self.assertEqual({Odd(1)}, {Odd(1), Odd(3)})
        self.assertEqual('odd', repr(Odd(1)))

    def test_shown(self) -> None:
        self.assertEqual(
            "Ours(number=1, text='a', many={})", repr(Ours(1, 'a', 'secret'))
        )

    def test_signature(self) -> None:
        for kind, expected in (
            (
                Ours,
                "(number: 'int', text: 'str' = 'text', secret: 'str' = '',"
                " many: 'dict[int, str]' = <class 'dict'>)",
            ),
            (Named, "(*, number: 'int', text: 'str | None' = None)"),
        ):
            self.assertEqual(expected, str(inspect.signature(kind)))

    def test_frozen(self) -> None:
        made = Ours(1)
        for change in (
            lambda: setattr(made, 'number', 2),
            lambda: setattr(made, 'other', 2),
            lambda: delattr(made, 'number'),
        ):
            self.assertRaises(dataclasses.FrozenInstanceError, change)
        self.assertEqual(Ours(1), made)

    def test_replaced_and_copied(self) -> None:
        made = Ours(1, many={1: 'one'})
        self.assertEqual(
            Ours(2, many={1: 'one'}), dataclasses.replace(made, number=2)
        )
        self.assertRaises(ValueError, dataclasses.replace, made, number=-1)
        self.assertEqual(made, copy.deepcopy(made))
        self.assertEqual(
            ['number', 'text', 'secret', 'many'],
            [field.name for field in dataclasses.fields(Ours)],
        )
